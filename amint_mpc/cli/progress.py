"""Progress of a measurement: a bar in a terminal, lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from amint_mpc.events import OnProgress


@contextmanager
def progress(console: Console) -> Iterator[OnProgress]:
    """Gives a function that is told what is done, how much of it, of how much."""
    if not console.is_terminal:
        yield lambda what, done, of: console.print(f"{what}: {done} of {of}" if done else what)
        return
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("")
        yield lambda what, done, of: bar.update(task, description=what, completed=done, total=of)
