"""A training loop of one's own, run again against the log of its run.

The loop gets an `Audit` as in the run. Behind it is the developer's side of the head on the frames that were kept
(`played`), and at each checkpoint all that the audit knows of the training is compared with what was kept there. So the
whole loop is done again from its beginning: preprocessing, augmentation and whatever else stands in it.

1. The evidence of the run is verified; the images that the loop brings are those that it committed to.
2. The loop runs. Its features are what went into the head, its checkpoints those of the log, its end the log's end.

Edge cases
    The loop must do the same again: set its seeds in it, and build its model in it.
    As for `replay`: the same machine and device give the same bits, others a difference that is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from amint_mpc.afterwards.checkpoints import (
    check_one_teacher,
    difference,
    points_of,
    state_at,
    threads_of,
)
from amint_mpc.afterwards.proving import Prover
from amint_mpc.afterwards.replay import Replayed, ReplayHead, assumed, replayed_head
from amint_mpc.amint.audit import Audit
from amint_mpc.amint.seat import Seat, Unwatched
from amint_mpc.amint.snapshot import BACKBONE
from amint_mpc.data.split import SplitImages, load_split
from amint_mpc.events import EpochEvent, StepEvent
from amint_mpc.evidence.verify import Verified, verify
from amint_mpc.results import Figure
from amint_mpc.runlog.expected import ExpectedEntries


class ReplayedAudit(Audit):
    """An audit of a finished run. Attributes: replayed: after `finish`, what follows of it."""

    replayed: Replayed


@contextmanager
def replaying(run: Path | str, data: Path | str | None = None) -> Iterator[ReplayedAudit]:
    """The audit of a finished run, for the same training loop again.

    Args:
        run: the developer's folder, of a run with `evidence.replay`. data: where image files lie, for a loader without
            datasets of one's own.

    Raises:
        EvidenceError: the evidence does not hold, or the loop does not come to what the log says; names the place.
        DataError: the loop's images are not those that the run committed to.
        UsageError: nothing was kept to replay.
    """
    folder = Path(run)
    found = verify(folder, ExpectedEntries)
    points = points_of(found)
    check_one_teacher(folder, points)
    with ExitStack() as stack:
        stack.enter_context(threads_of(folder))

        def take_seat(images: SplitImages) -> Seat:
            prover = Prover.of(folder, found, images)
            head = stack.enter_context(replayed_head(prover, 0))
            stack.callback(audit.close)
            return Seat(head, _Compared(folder, found, head, audit), head.order)

        def read() -> SplitImages:
            return load_split(found.experiment, None if data is None else Path(data))

        audit = ReplayedAudit(found.experiment, take_seat, read)
        yield audit
        audit.check_finished()


class _Compared(Unwatched):
    """Compares what the audit knows with what was kept at the checkpoints."""

    def __init__(self, run: Path, found: Verified, head: ReplayHead, audit: ReplayedAudit) -> None:
        self._run, self._found, self._head, self._audit = run, found, head, audit
        self._points, self._next, self._worst = points_of(found), 0, 0.0

    def ready(self) -> None:
        """See `Watch`."""
        if self._points[0].epoch == 0:
            self._compare()

    def tell(self, event: StepEvent | EpochEvent) -> None:
        """See `Watch`."""
        point = self._points[self._next]
        if isinstance(event, EpochEvent) and event.epoch == point.epoch and not point.last:
            self._compare()

    def finish(self) -> dict[str, Figure]:
        """See `Watch`."""
        self._head.end()
        self._compare()
        worst = max(self._worst, self._head.difference)
        self._audit.replayed = Replayed(
            0,
            self._points[-1].step - 1,
            len(self._points) - 1,
            worst == 0 and self._head.exact,
            worst,
            self._points[0].frames,
            assumed(self._points[0], True, self._found.log.made is not None),
        )
        return {}

    def _compare(self) -> None:
        """At the next point; the steps that follow are expected then."""
        point = self._points[self._next]
        mine = self._audit.state()
        if point.last:
            mine = {name: value for name, value in mine.items() if name.startswith(BACKBONE)}
        self._worst = max(self._worst, difference(point, mine, state_at(self._run, point)))
        self._next += 1
        if not point.last:
            self._head.expect(point, self._points[self._next])
