"""Where a run's masks came from, as its log is told at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from amint_mpc.mpc.correlations.base import MaskSource
from amint_mpc.runlog.interface import RunLog


class QueryMasks(MaskSource, Protocol):
    """Masks of one query."""

    def finish(self) -> None:
        """After the last step."""


class MasksEnded(Protocol):
    """What is known of all masks once the last step has been taken."""

    def note(self, log: RunLog) -> None:
        """Write it into the log."""


Finish = Callable[[], "MasksEnded | None"]
"""Called after the last step of a run."""


def nothing_dealt() -> None:
    """Where nobody says anything of the masks."""


class Dealt(NamedTuple):
    """What a dealer signed at the end; see `RunLog.dealt`."""

    blocks: int
    chain: str
    checked: int
    signature: bytes

    def note(self, log: RunLog) -> None:
        """See `MasksEnded`."""
        log.dealt(*self)


class MadeByPair(NamedTuple):
    """What crossed the links on which the two parties made their masks; see `RunLog.made`."""

    links: int
    frames: tuple[str, str]
    kept: str | None

    def note(self, log: RunLog) -> None:
        """See `MasksEnded`."""
        log.made(*self)
