"""The links of one party: each shaken hands on, all ended in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TypeVar, cast

from amint_mpc.config import ROLES, Experiment, Role
from amint_mpc.errors import PeerError
from amint_mpc.evidence.session import AgreedSession
from amint_mpc.roles.handshake import handshake
from amint_mpc.transport.channel import Channel, abort_code

SECOND = "second-link"
COMPARE = (
    "amint-mpc attest --json > software.json at one party and amint-mpc attest --check software.json at the other name "
    "the files: another version, a change, or line endings that git rewrote"
)

AnyChannel = TypeVar("AnyChannel", bound=Channel)


class Links:
    """The links of one party: each shaken hands on, all closed with a goodbye, or, after an error, with its reason."""

    def __init__(self, experiment: Experiment, role: Role, on_notice: Callable[[str], None]) -> None:
        self._experiment, self._role, self._on_notice = experiment, role, on_notice
        self._channels: list[Channel] = []
        self.sessions: dict[Role, AgreedSession] = {}  # what was agreed, by the peer's role
        self.to: dict[Role, Channel] = {}

    def add(self, channel: AnyChannel) -> AnyChannel:
        """Take charge of a link and compare terms on it.

        Raises:
            PeerError: the peer has another experiment or version, or software that the experiment does not allow.
        """
        self._channels.append(channel)
        peer = cast(Role, channel.peer)
        self.to[peer] = channel
        session = self.sessions[peer] = handshake(channel, self._role, peer, self._experiment)
        code = session.software[peer].code[:12]
        self._on_notice(
            f"connected to the {peer}; same experiment {self._experiment.digest()[:12]}, "
            + (f"same code {code}" if session.same_code else f"OTHER CODE {code} ({COMPARE})")
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
            raise PeerError(f"the {channel.peer}'s second link is of another run", "Start both parties again")
        return channel

    @property
    def bytes_sent(self) -> int:
        """So far, on all links."""
        return sum(channel.stats.bytes_sent for channel in self._channels)

    def __enter__(self) -> Links:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for channel in self._channels:
            if error is None:
                channel.close()
            else:
                channel.abort(abort_code(error))


@contextmanager
def name_lost_third_party(role: Role) -> Iterator[None]:
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
        hint = f"Look at the {third}'s screen or log, then start all parties again"
        raise PeerError(f"the {error.peer} lost the {third}", hint) from None
