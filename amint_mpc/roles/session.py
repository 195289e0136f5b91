"""What developer and auditor have in common around a run: links that end in order, masks, a common session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TypeVar, cast

import torch
from torch import Tensor

from amint_mpc.config import ROLES, Experiment, Role
from amint_mpc.errors import PeerError
from amint_mpc.memory import keep_freed
from amint_mpc.mpc.channel import Channel, FramedChannel, abort_code
from amint_mpc.mpc.correlations.base import AUDITOR, Plan, corrected
from amint_mpc.mpc.correlations.feed import Supply
from amint_mpc.mpc.prg import SEED_BYTES, SecretStream
from amint_mpc.roles import engine, handshake

DEALT = "dealt masks"
SECOND = "second-link"
SESSION_BYTES = 16
AHEAD_MB = 16.0
"""Read ahead on the link of developer and auditor where nothing else would notice a loss for seconds."""

AnyChannel = TypeVar("AnyChannel", bound=Channel)


class Links:
    """The links of one party: each shaken hands on, all closed with a goodbye, or, after an error, with its reason."""

    def __init__(self, experiment: Experiment, role: Role, say: Callable[[str], None]) -> None:
        self._experiment, self._role, self._say = experiment, role, say
        self._channels: list[Channel] = []
        self.sessions: dict[Role, handshake.Session] = {}  # what was agreed, by the peer's role
        keep_freed()

    def add(self, channel: AnyChannel) -> AnyChannel:
        """Take charge of a link and compare terms on it.

        Raises:
            PeerError: the peer has another experiment or version, or software that the experiment does not allow.
        """
        self._channels.append(channel)
        peer = cast(Role, channel.peer)
        session = self.sessions[peer] = handshake.handshake(channel, self._role, peer, self._experiment)
        code = session.software[peer].code[:12]
        self._say(
            f"connected to the {peer}; same experiment {self._experiment.digest()[:12]}, "
            + (f"same code {code}" if session.same_code else f"OTHER CODE {code}")
        )
        return channel

    def also(self, channel: AnyChannel) -> AnyChannel:
        """Take charge of a second link to a peer of `add`, of the same run.

        Raises:
            PeerError: the peer opened it for another run.
        """
        self._channels.append(channel)
        number = self.sessions[cast(Role, channel.peer)].id.hex()
        channel.send_json(SECOND, number)
        if channel.receive_json(SECOND) != number:
            raise PeerError(f"the {channel.peer}'s second link is of another run", "start both parties again")
        return channel

    def __enter__(self) -> Links:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for channel in self._channels:
            if error is None:
                channel.close()
            else:
                channel.abort(abort_code(error))


def receive_seed(dealer: Channel) -> tuple[bytes, SecretStream]:
    """The dealer's session number, and this party's stream of masks."""
    number, seed = dealer.receive("seed", 0, (torch.uint8, (SESSION_BYTES,)), (torch.uint8, (SEED_BYTES,)))
    return number.numpy().tobytes(), SecretStream(seed.numpy().tobytes(), DEALT)


def same_session(peer: Channel, number: bytes) -> None:
    """Developer and auditor make sure that one dealer serves both, in one session.

    Raises:
        PeerError: the other party is with another dealer, or in another session of it.
    """
    mine = torch.frombuffer(bytearray(number), dtype=torch.uint8)
    peer.send("session", 0, mine)
    (theirs,) = peer.receive("session", 0, (torch.uint8, (SESSION_BYTES,)))
    if not torch.equal(mine, theirs):
        raise PeerError(
            f"the {peer.peer} is connected to another dealer, or to another session of it",
            "start all three parties again, with the same dealer",
        )


@contextmanager
def standing(role: Role) -> Iterator[None]:
    """Around what follows once all three are connected; `role` is ours.

    A peer that then ends because it "lost another party" has lost the third one, for we are still here: which of the
    two links broke first is chance, but the error names who was lost at every party.
    """
    try:
        yield
    except PeerError as error:
        if error.reason != "peer":
            raise
        (third,) = set(ROLES) - {role, error.peer}
        hint = f"look at the {third}'s screen or log, then start all parties again"
        raise PeerError(f"the {error.peer} lost the {third}", hint) from None


class WatchedSupply(Supply):
    """The auditor's masks. Nothing comes from the dealer's link after the seed; a loss of it ends the run."""

    def __init__(self, stream: SecretStream, dealer: FramedChannel) -> None:
        super().__init__(stream, AUDITOR)
        self._dealer = dealer

    def take(self, step: int, plan: Plan) -> dict[str, dict[str, Tensor]]:
        """See `Supply.take`.

        Raises:
            PeerError: the dealer was lost before it had dealt everything.
        """
        self._dealer.check()
        return super().take(step, plan)


def train_bytes(experiment: Experiment) -> int:
    """Bytes of corrections that the dealer sends for one training step."""
    plan = next(iter(engine.plans(experiment)))
    sent = [field.correction for _, _, field in corrected(plan)]
    return sum(torch.Size(shape).numel() * dtype.itemsize for dtype, shape in sent)
