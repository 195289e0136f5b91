"""What both directions of a link share: the wire, whose end it leads to, and what to say when it breaks."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from amint_mpc.errors import AmintError, DataError, Interrupted, PeerError, ProtocolError
from amint_mpc.transport.wire import Wire

MIB = 1 << 20
INLINE_BYTES = 32768  # larger frames go to the sender thread, which encrypts them while the caller computes
LAST_WORDS_S = 1.0  # how long to look for the peer's reason once it is gone
JOIN_S = 10.0

# Why a peer stopped, by the code in its abort frame. Codes, not text: a peer's text never reaches the screen.
REASONS = {
    "interrupted": "was stopped by its user",
    "protocol": "received a message that the protocol does not allow, or met a value out of range",
    "peer": "lost another party, or does not agree to the terms",
    "data": "could not read its data",
    "failed": "stopped because of an error of its own",
    "unknown": "stopped for an unknown reason",
}


class SilenceError(PeerError):
    """The peer sends nothing."""


@dataclass
class LinkState:
    """Args: wire: ordered bytes to and from the peer; peer: its role; closing: this end has begun to let go."""

    wire: Wire
    peer: str
    closing: bool = False

    def closed(self) -> PeerError:
        return PeerError(f"the link to the {self.peer} is closed")

    def lost(self, error: OSError | None) -> PeerError:
        detail = f": {error.strerror or type(error).__name__}" if error else ""
        return PeerError(
            f"the {self.peer} was lost{detail}",
            f"Look at the {self.peer}'s screen or log, then start all parties again",
        )

    def silent(self, seconds: float | None) -> SilenceError:
        return SilenceError(
            f"the {self.peer} was lost: silent for {seconds or 0:g} s",
            f"See whether the {self.peer} still runs and can be reached; idle_timeout_s in the party file is the limit",
        )

    def took_nothing(self, seconds: float | None) -> PeerError:
        return PeerError(
            f"the {self.peer} was lost: it took no data for {seconds or 0:g} s",
            f"See whether the {self.peer} still runs and can be reached",
        )

    def stopped(self, code: str) -> PeerError:
        reason = code if code in REASONS else "unknown"
        hint = f"The {self.peer}'s own screen or log says more"
        return PeerError(f"the {self.peer} {REASONS[reason]}", hint, peer=self.peer, reason=reason)

    def ended(self, tag: str) -> PeerError:
        return PeerError(
            f"the {self.peer} ended the session while '{tag}' was expected",
            f"Look at what the {self.peer} last said, then start all parties again",
        )


def abort_code(error: BaseException) -> str:
    """The key of `REASONS` for an exception that ends this party."""
    if isinstance(error, (Interrupted, KeyboardInterrupt)):
        return "interrupted"
    codes = {ProtocolError: "protocol", PeerError: "peer", DataError: "data"}
    return next((code for kind, code in codes.items() if isinstance(error, kind)), "failed")


def again(error: AmintError) -> AmintError:
    """The same error, to be raised once more without the first one's traceback."""
    return copy.copy(error)
