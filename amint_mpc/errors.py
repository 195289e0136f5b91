"""Every error that a user can meet, in one tree.

An error carries a message (what happened), a hint (what to do next) and the exit code of the process:

    code  meaning
    0     success
    2     usage: a wrong option, configuration key or value; a folder that exists
    3     peer or identity: absent, lost, not the expected certificate, other terms
    4     protocol: a message that breaks the protocol, a value outside its range
    5     data: missing, damaged or too small
    6     evidence: a log, a statement or a proof does not hold, or is of a newer version
    130   interrupted by the user
"""

from __future__ import annotations

from amint_mpc.printable import printable


class AmintError(Exception):
    """Base of all errors that are shown to a user without a traceback.

    Args:
        message: what happened, one sentence, no secrets.
        hint: what the user can do next.

    Both may repeat what a file or a peer said: they are escaped here, so that they can be printed anywhere.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        self.message, self.hint = printable(message), printable(hint)
        super().__init__(self.message)


class UsageError(AmintError):
    """A wrong option, a wrong setting, or a file that must not be overwritten."""

    exit_code = 2


class PeerError(AmintError):
    """A peer is absent, was lost, or did not agree to the same terms.

    Args:
        peer: the role that stopped on purpose and said so, else empty.
        reason: the code that it gave.
    """

    exit_code = 3

    def __init__(self, message: str, hint: str = "", *, peer: str = "", reason: str = "") -> None:
        super().__init__(message, hint)
        self.peer = peer
        self.reason = reason


class IdentityError(PeerError):
    """A key is missing or a peer showed a certificate that is not the pinned one."""


class ProtocolError(AmintError):
    """A peer sent what the protocol does not allow, or a value left its exact range."""

    exit_code = 4


class DataError(AmintError):
    """Images are missing, damaged, or fewer than the experiment asks for."""

    exit_code = 5


class EvidenceError(AmintError):
    """What was signed, logged or committed to does not hold; the message names the first place where it fails."""

    exit_code = 6


class Interrupted(AmintError):
    """The user stopped the program."""

    exit_code = 130
