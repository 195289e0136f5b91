"""A head whose masks come from a dealer, a third party that sees no message between the two."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

from amint_mpc import identity
from amint_mpc.config import PARTIES, Party
from amint_mpc.errors import IdentityError, PeerError, UsageError
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import Plan
from amint_mpc.mpc.correlations.checking import Block, Stretch, blocks
from amint_mpc.mpc.correlations.prg import SecretStream
from amint_mpc.mpc.correlations.supply import Supply
from amint_mpc.roles.backends.base import Asked, Backing, Connected
from amint_mpc.roles.heads import shared_head
from amint_mpc.roles.links import name_lost_third_party
from amint_mpc.roles.plans import scoring_stretch, stretches_of
from amint_mpc.roles.seeds import DEALT, Session, check_same_session, named, receive_seed, receive_sign_off, tell_count
from amint_mpc.transport.channel import FramedChannel

WATCHED_BYTES = 4096
"""Read ahead of the auditor's link to the dealer, although nothing comes before the end: so its loss is noticed."""


class WithDealer:
    """See `Backend`."""

    read_ahead_mb = 0.0
    links_to_peer = 1

    def check(self, party: Party) -> None:
        """See `Backend.check`."""
        if party.dealer is None:
            raise UsageError(
                "the party file has no address of a dealer",
                "Add dealer: {host: ..., port: ...}; or do without one: give --set security.correlations=two-party to "
                "both parties",
            )

    @contextmanager
    def developer(self, at: Connected) -> Iterator[Backing]:
        """See `Backend.developer`."""
        with _backing(at, developers_supply(at, stretches_of(at.experiment))) as backing:
            yield backing

    @contextmanager
    def auditor(self, at: Connected) -> Iterator[Backing]:
        """See `Backend.auditor`."""
        with _backing(at, auditors_supply(at, stretches_of(at.experiment))) as backing:
            yield backing

    @contextmanager
    def query(self, at: Connected) -> Iterator[Asked]:
        """See `Backend.query`."""
        counted: list[int] = []  # read with the first block
        needed = (scoring_stretch(at.experiment, images) for images in counted)
        supply_of = developers_supply if at.own.role == "developer" else auditors_supply
        dealing = supply_of(at, needed)

        def tell(images: int) -> None:
            counted.append(images)
            tell_count(dealing.link, images)

        with name_lost_third_party(at.own.role):
            yield Asked(dealing.supply, tell)


@dataclass(frozen=True)
class Dealing:
    """One session with a dealer. Args: link: to it. supply: of this party."""

    link: FramedChannel
    session: Session
    supply: Supply


@contextmanager
def _backing(at: Connected, dealing: Dealing) -> Iterator[Backing]:
    role, certificate = at.own.role, identity.trusted(at.party.keys, "dealer")
    party = PARTIES.index(role)
    with name_lost_third_party(role):
        yield Backing(
            lambda channel: shared_head(at.experiment, channel, party, dealing.supply),
            named(dealing.session, certificate),
            lambda: receive_sign_off(dealing.link, at.experiment, dealing.session, certificate, dealing.supply),
        )


def developers_supply(at: Connected, needed: Iterable[Stretch]) -> Dealing:
    """Connect to the dealer: the developer's part of a session.

    Args:
        needed: of the whole session.
    """
    with hint_without_dealer():
        dealer = at.to_dealer(at.party.idle_timeout_s, int(at.party.dealer_memory_mb * 2**20))
    session, seed = receive_seed(dealer, DEVELOPER)
    check_same_session(at.peer, session)
    if at.kept is not None:
        at.kept.seed(seed)
    source = dealer if at.kept is None else at.kept.source(dealer)
    stream = SecretStream(seed, DEALT)
    return Dealing(dealer, session, Supply(stream, DEVELOPER, source, blocks(needed, at.coin), at.peer))


def auditors_supply(at: Connected, needed: Iterable[Stretch]) -> Dealing:
    """Connect to the dealer: the auditor's part of a session. Args: as `developers_supply`."""
    with hint_without_dealer():
        dealer = at.to_dealer(None, WATCHED_BYTES)
    session, seed = receive_seed(dealer, AUDITOR)
    check_same_session(at.peer, session)
    return Dealing(dealer, session, WatchedSupply(SecretStream(seed, DEALT), dealer, blocks(needed, at.coin), at.peer))


class WatchedSupply(Supply):
    """The auditor's masks. From the dealer nothing but the seed comes before the end; its loss ends the run."""

    def __init__(
        self, stream: SecretStream, dealer: FramedChannel, order: Iterator[Block], developer: FramedChannel
    ) -> None:
        super().__init__(stream, AUDITOR, None, order, developer)
        self._dealer = dealer

    def take(self, step: int, plan: Plan) -> dict[str, dict[str, Tensor]]:
        """See `Supply.take`.

        Raises:
            PeerError: the dealer was lost before it had dealt everything.
        """
        self._dealer.check()
        return super().take(step, plan)


@contextmanager
def hint_without_dealer() -> Iterator[None]:
    """Around connecting to a dealer: who has none is told of the way without one."""
    try:
        yield
    except IdentityError:
        raise  # there is a dealer
    except PeerError as error:
        hint = (
            f"{error.hint}\nOr do without a dealer: give --set security.correlations=two-party to developer and auditor"
        )
        raise PeerError(error.message, hint) from None
