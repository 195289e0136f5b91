"""Progress of a study: bars in a terminal, a line for each finished run elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from amint_mpc.cli.figures import duration
from amint_mpc.cli.screen import Progress as Story

if TYPE_CHECKING:
    from amint_mpc.study.pool import CellEnded, CellEvent, CellStarted
    from amint_mpc.study.results import Results


class StudyScreen:
    """Use as a context; `show` takes everything that a pool tells.

    Args:
        runs: of the whole study; `before` of them were finished before.
    """

    def __init__(self, console: Console, runs: int, before: int) -> None:
        self._console, self._runs, self._before = console, runs, before
        name, note = (TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[note]}"))
        columns = name, BarColumn(), MofNCompleteColumn(), note
        self._bars = Progress(*columns, console=console, transient=True) if console.is_terminal else None
        self._whole = self._bars.add_task("runs", total=runs, completed=before, note="") if self._bars else None
        self._tasks: dict[str, TaskID] = {}
        self._stories: dict[str, Story] = {}

    def show(self, event: CellStarted | CellEvent | CellEnded, left: float | None, results: Results) -> None:
        """Args: left: seconds of the study, None where they are not known yet; results: as they are now."""
        from amint_mpc.study.pool import CellEnded, CellStarted

        if isinstance(event, CellEnded):
            self._ended(event, left, results)
        elif self._bars is None:
            return
        elif isinstance(event, CellStarted):
            name = event.cell.name
            self._stories[name] = Story(name)
            self._tasks[name] = self._bars.add_task(name, total=None, note="starting")
        else:
            story = self._stories[event.cell.name]
            story.take(event.event)
            self._bars.update(
                self._tasks[event.cell.name], total=story.steps or None, completed=story.step, note=story.story
            )

    def _ended(self, event: CellEnded, left: float | None, results: Results) -> None:
        name, counts = event.cell.name, results.counts
        over = counts["done"] + counts["failed"]
        time_left = "" if left is None or over == self._runs else f"about {duration(left)} left"
        row = next(row for row in results.rows if row.run.endswith(f"/{name}"))
        found = {"MINT": row.mint_accuracy_calibrated, "task": row.task_accuracy}
        told = [f"{what} {value:.3f}" for what, value in found.items() if value is not None]
        if event.error is not None:
            told = [f"failed: {event.error.message}"]
        line = ", ".join([f"{name}: " + ", ".join(told), duration(event.seconds)])
        self._console.print(
            f"{over} of {self._runs}  {'; '.join(filter(None, [line, time_left]))}", markup=False, soft_wrap=True
        )
        if self._bars is not None and self._whole is not None:
            self._bars.remove_task(self._tasks.pop(name))
            failed = f"{counts['failed']} failed" if counts["failed"] else ""
            self._bars.update(self._whole, completed=over, note=", ".join(filter(None, [failed, time_left])))

    def __enter__(self) -> StudyScreen:
        self._console.print(f"{self._runs} runs, {self._before} finished before", markup=False)
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bars is not None:
            self._bars.stop()
