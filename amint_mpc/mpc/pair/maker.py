"""One party's maker of the material of plans: all kinds of a plan side by side, in the same exchanges of one link.

    1. each party draws its fields that are not corrected from a secret stream of its own, as it would with a dealer.
    2. the parties see that there are enough transfers for the plan (`Transfers.refill`).
    3. the kinds (kinds.py) make the rest. One that needs a mask of another waits for it by yielding (making.py).
Who learns what: nothing of the other one's material; every message is uniform, given one's own.
Exchanges: those of the longest kind, the ReLU's, after those of the transfers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from amint_mpc.errors import UsageError
from amint_mpc.mpc.correlations.base import Correlation, Field, Memory, Plan, keep
from amint_mpc.mpc.correlations.prg import SecretStream
from amint_mpc.mpc.ot.transfers import Transfers
from amint_mpc.mpc.pair.kinds import KINDS, Kind
from amint_mpc.mpc.pair.making import Making
from amint_mpc.mpc.pair.matrices import MatrixProducts
from amint_mpc.mpc.protocols.linear import LinearMasks
from amint_mpc.mpc.protocols.rounds import Rounds, side_by_side
from amint_mpc.transport.channel import Channel

Kinds = Mapping[type[Correlation], Kind]


def check_supported(plan: Plan, kinds: Kinds = KINDS) -> None:
    """Raises: UsageError: the plan needs a dealer."""
    for name, correlation in plan.items():
        if type(correlation) not in kinds:
            raise UsageError(
                f"the two parties cannot make the masks {name!r} themselves ({type(correlation).__name__})",
                "Set security.correlations to dealer; without one the head is trained by sgd or momentum",
            )


def transfers_needed(plan: Plan, kinds: Kinds = KINDS) -> tuple[int, int]:
    """In how many transfers of a plan the developer, and the auditor, chooses."""
    needed = [kinds[type(correlation)].transfers(correlation) for correlation in plan.values()]
    return sum(developer for developer, _ in needed), sum(auditor for _, auditor in needed)


def opens_a_gradient(plan: Plan) -> bool:
    """Whether it is of a step that opens one: its products are encrypted under a key of their own, for a malicious
    developer could have such a key shown in the gradient. It would not be that of a head whose steps are sealed."""
    return any(isinstance(each, LinearMasks) and "sr" in each.fields for each in plan.values())


class PairMaker:
    """Makes plans with the other party's maker at the other end of a link.

    Args:
        channel: a link of its own to that maker.
        party: DEVELOPER or AUDITOR.
        secret: this party's own randomness, at least 32 bytes; no other maker has the same.
        memory: masks that later plans link to; common to all makers of a party.
        link: "lan" or "wan": what is cheapest there.
        kinds: how correlations are made. transfers, products: on the rounds of the link. Others than the defaults are
            for tests.
    """

    def __init__(
        self,
        channel: Channel,
        party: int,
        secret: bytes,
        memory: Memory | None = None,
        link: str = "lan",
        kinds: Kinds = KINDS,
        transfers: Callable[[Rounds], Transfers] = Transfers,
        products: Callable[[Rounds, bytes, str], MatrixProducts] = MatrixProducts,
    ) -> None:
        self.party = party
        self._rounds = Rounds(channel, party)
        self._transfers = transfers(self._rounds)
        self._stream = SecretStream(secret, "masks of two parties")
        self._products = {opened: products(self._rounds, secret + bytes([opened]), link) for opened in (False, True)}
        self._memory = Memory() if memory is None else memory
        self._kinds = kinds

    def __repr__(self) -> str:
        return f"PairMaker(party={self.party})"

    def set_up(self) -> None:
        """Once, before the first plan, at both parties."""
        self._rounds.begin(0)
        self._rounds.run(self._transfers.set_up())
        self._rounds.run(side_by_side(*(each.set_up() for each in self._products.values())))

    def make(self, number: int, plan: Plan) -> dict[str, dict[str, Tensor]]:
        """This party's material of one plan. Both parties call it with the same arguments.

        Args:
            number: greater than in the call before.

        Returns:
            as a dealer's `Supply.take`.

        Raises:
            UsageError: the plan needs a dealer.
            ProtocolError: the number was used before, or the other party does something else.
            PeerError: the other party is gone.
        """
        check_supported(plan, self._kinds)
        rounds = self._rounds
        rounds.begin(number)
        products = self._products[opens_a_gradient(plan)]
        making = Making(rounds, self._transfers, self._drawn(number, plan), self._memory, products)
        rounds.run(self._transfers.refill(*transfers_needed(plan, self._kinds)))
        for name, correlation in plan.items():
            made = self._kinds[type(correlation)].made
            for key, field in correlation.fields.items():
                if not field.corrected and key not in made:
                    for holder in field.holders:
                        making.tell(name, key, holder, making.material[name].get(key))
        started = [rounds.start(self._kinds[type(c)].make(making, name, c)) for name, c in plan.items()]
        while not all(protocol.ended for protocol in started):
            rounds.exchange()
        keep(plan, self.party, making.material, self._memory)
        return {name: {key: making.material[name][key] for key, _ in _held(c, self.party)} for name, c in plan.items()}

    def _drawn(self, number: int, plan: Plan) -> dict[str, dict[str, Tensor]]:
        wanted = [
            (name, key, field)
            for name, correlation in plan.items()
            for key, field in _held(correlation, self.party)
            if not field.corrected
        ]
        drawn = self._stream.draw(number, [field.spec for _, _, field in wanted])
        material: dict[str, dict[str, Tensor]] = {name: {} for name in plan}
        for (name, key, _), tensor in zip(wanted, drawn, strict=True):
            material[name][key] = tensor
        return material


def _held(correlation: Correlation, party: int) -> list[tuple[str, Field]]:
    """The fields that a party has a share of."""
    return [(key, field) for key, field in correlation.fields.items() if party in field.holders]
