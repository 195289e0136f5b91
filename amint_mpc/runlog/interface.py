"""What a party's run tells of itself while it goes on; `runlog.recorder` writes it into a log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from cryptography import x509
from torch import Tensor

from amint_mpc.config import Role
from amint_mpc.results import Figure
from amint_mpc.transport.channel import Channel


@dataclass(frozen=True)
class NamedDealer:
    """The dealer of a run, as it told both parties; goes into the log's first entry.

    Args:
        certificate: whose key signs what was dealt.
        session: its number of the session, 16 bytes.
        seeds: SHA-256 (hex) of the seed that each of the two was given, by role.
    """

    certificate: x509.Certificate
    session: bytes
    seeds: Mapping[Role, str]


class RunLog(Protocol):
    """What a party's run calls. Of a run without a log, `NullRunLog`."""

    channel: Channel
    """The link to the other party for the head: what crosses it is what the digests of frames cover."""

    def step(self) -> None:
        """The head has taken its next training step."""

    def scored(self) -> None:
        """The sets that the schedule names next have been scored."""

    def checkpoint(
        self,
        backbone: Mapping[str, Tensor] | None,
        figures: Mapping[str, float],
        stop: bool = False,
        replay: str | None = None,
    ) -> None:
        """Before the first step and after each evaluation.

        Args:
            backbone: None at the auditor. replay: at the developer the digest of what it keeps, with `evidence.replay`.
        """

    def sealed(self) -> None:
        """The head has taken all steps of the sealed phase; none of them is told with `step`."""

    def dealt(self, blocks: int, chain: str, checked: int, signature: bytes) -> None:
        """What the dealer says that it dealt, right before `end`; nothing where the first entry names no dealer.

        Args:
            chain: of the blocks' digests, 64 hex digits. checked: how many blocks the two have checked.
            signature: the dealer's, over `evidence.entries.dealt_payload`.
        """

    def made(self, links: int, frames: tuple[str, str], kept: str | None) -> None:
        """Masks that the two parties made themselves, right before `end`; both have sent the last frame about them.

        Args:
            links: on which. frames: hashes of all that this party sent and received there (`transport.chained`).
            kept: at the developer, with `evidence.replay`, the digest of what it keeps of the masks.
        """

    def end(
        self,
        tensors: Mapping[str, Tensor],
        figures: Mapping[str, Figure],
        replay: str | None = None,
        files: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """The head has been opened.

        Args:
            tensors: the classifier, or at the auditor the head, as it was saved. replay: as `checkpoint`.
            files: what the files hold that `evidence.entries.FILES` names for this party: SHA-256 (hex) by file name.
        """


class NullRunLog:
    """A run that keeps no log."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    def step(self) -> None:
        """See `RunLog`."""

    def scored(self) -> None:
        """See `RunLog`."""

    def checkpoint(
        self,
        backbone: Mapping[str, Tensor] | None,
        figures: Mapping[str, float],
        stop: bool = False,
        replay: str | None = None,
    ) -> None:
        """See `RunLog`."""

    def sealed(self) -> None:
        """See `RunLog`."""

    def dealt(self, blocks: int, chain: str, checked: int, signature: bytes) -> None:
        """See `RunLog`."""

    def made(self, links: int, frames: tuple[str, str], kept: str | None) -> None:
        """See `RunLog`."""

    def end(
        self,
        tensors: Mapping[str, Tensor],
        figures: Mapping[str, Figure],
        replay: str | None = None,
        files: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """See `RunLog`."""
