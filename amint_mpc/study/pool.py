"""Several cells at once, each a process of its own; none is left alive at the end, whatever happened.

Processes are forked from a server that has imported torch, which would take each of them seconds.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any

from amint_mpc.errors import AmintError
from amint_mpc.eventlines import from_record
from amint_mpc.events import Event
from amint_mpc.host import ending
from amint_mpc.study.cell import Place, work
from amint_mpc.study.folder import StudyFolder
from amint_mpc.study.plan import Cell

GRACE_S = 10.0  # for a cell that was asked to stop; a secure one stops three processes first
_CONTEXT = multiprocessing.get_context("forkserver")
_IMPORTED = ("amint_mpc.plaintext_run", "amint_mpc.host.processes", "amint_mpc.runfolder")
_LATER = ("torch._dynamo", "sklearn.metrics")  # what Adam and the thresholds import when they are used, seconds as well
_CONTEXT.set_forkserver_preload([*_IMPORTED, *_LATER])


@dataclass(frozen=True)
class CellStarted:
    """A cell that begins."""

    cell: Cell


@dataclass(frozen=True)
class CellEvent:
    """What a running cell tells."""

    cell: Cell
    event: Event


@dataclass(frozen=True)
class CellEnded:
    """A cell that is over; `error` is None when it went well."""

    cell: Cell
    seconds: float
    error: AmintError | None


@dataclass
class _Child:
    cell: Cell
    process: BaseProcess
    told: Connection
    slot: int
    start: float = field(default_factory=time.monotonic)
    error: AmintError | None = None


class Pool:
    """Use as a context; `run` goes through the cells. A failed cell is noted in its folder and stops no other.

    Args:
        jobs: how many cells at once.
        accelerators: how many there are; the jobs take turns with them.
    """

    def __init__(self, folder: StudyFolder, jobs: int, data: Path | None, accelerators: int = 0) -> None:
        self._folder, self._jobs, self._data, self._accelerators = folder, jobs, data, accelerators
        self._children: list[_Child] = []

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop()

    def run(self, cells: Sequence[Cell]) -> Iterator[CellStarted | CellEvent | CellEnded]:
        """Run the cells, in their order as far as several go at once."""
        waiting = deque(cells)
        while waiting or self._children:
            while waiting and len(self._children) < self._jobs:
                yield self._start(waiting.popleft())
            wait([child.told for child in self._children])
            for child in list(self._children):
                yield from self._hear(child)

    def _start(self, cell: Cell) -> CellStarted:
        self._folder.clear(cell)
        slot = min(set(range(self._jobs)) - {child.slot for child in self._children})
        accelerator = slot % self._accelerators if self._accelerators > 1 else None
        place = Place(
            self._folder.runs.absolute(), self._data and self._data.absolute(), threads(self._jobs), accelerator
        )
        told, end = _CONTEXT.Pipe(duplex=False)
        process = _CONTEXT.Process(target=work, args=(cell, place, end), name=cell.name)
        with _sigint_blocked():  # in the server, too, which starts with the first: Ctrl-C is the parent's to answer
            process.start()
        end.close()  # ours; when the child ends, reading then ends too
        self._children.append(_Child(cell, process, told, slot))
        return CellStarted(cell)

    def _hear(self, child: _Child) -> Iterator[CellEvent | CellEnded]:
        try:
            while child.told.poll():
                record = json.loads(child.told.recv_bytes())
                if record["event"] == "error":
                    child.error = _error(record)
                else:
                    yield CellEvent(child.cell, from_record(record))
        except EOFError:
            yield self._ended(child)

    def _ended(self, child: _Child) -> CellEnded:
        child.process.join(GRACE_S)
        if child.process.exitcode is None:
            child.process.kill()
            child.process.join()
        child.told.close()
        self._children.remove(child)
        code = child.process.exitcode
        if child.error is None and self._folder.summary(child.cell) is None:
            child.error = AmintError(f"its process ended with code {code}", "Was there too little memory?")
        if child.error is not None:
            self._folder.fail(child.cell, child.error)
        return CellEnded(child.cell, time.monotonic() - child.start, child.error)

    def _stop(self) -> None:
        try:
            ending.end([child.process for child in self._children], GRACE_S)
        finally:
            for child in self._children:
                child.told.close()
            self._children.clear()


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    resource_tracker.ensure_running()  # the first process needs it, and its start would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def threads(jobs: int) -> int:
    """Threads of torch for each of several jobs: the cores, shared out, and no more than torch would take (it reads
    OMP_NUM_THREADS)."""
    import torch

    return max(1, min(torch.get_num_threads(), (os.cpu_count() or 1) // jobs))


def accelerators() -> int:
    """How many CUDA devices this machine has."""
    import torch

    return torch.cuda.device_count()


def _error(record: dict[str, Any]) -> AmintError:
    error = AmintError(str(record["message"]), str(record["hint"]))
    error.exit_code = int(record["code"])
    return error
