"""What the two ends of a link know of their session once they have shaken hands (`amint_mpc.roles.handshake`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from amint_mpc.config import Role
from amint_mpc.evidence.software_digests import Software


@dataclass(frozen=True)
class AgreedSession:
    """One session, as both ends agreed on it; the first entry of a log names it.

    Args:
        id: 32 bytes, equal at both ends, never the same twice. Not a secret.
        peer: role of the other end.
        software: what each end says it runs, by role; this end's record is the one that it sent.
    """

    id: bytes = field(repr=False)
    peer: Role
    software: Mapping[Role, Software] = field(repr=False)

    @property
    def same_code(self) -> bool:
        """Whether both ends say that they run the same code."""
        return len({each.code for each in self.software.values()}) == 1
