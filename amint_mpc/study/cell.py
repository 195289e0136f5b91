"""One cell of a study, run in a process of its own: it may fail, or run out of memory, without the others."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType

from amint_mpc.config import Party
from amint_mpc.errors import AmintError
from amint_mpc.eventlines import json_line, to_line
from amint_mpc.events import Event
from amint_mpc.results import SecureRun, Summary
from amint_mpc.study.folder import SUMMARY, write
from amint_mpc.study.plan import Cell


@dataclass(frozen=True)
class Place:
    """Where a cell runs.

    Args:
        data: where image files lie.
        threads: of torch.
        accelerator: which of several; None: whatever there is.
    """

    runs: Path
    data: Path | None
    threads: int
    accelerator: int | None = None


def work(cell: Cell, place: Place, told: Connection) -> None:
    """Run one cell, as the whole of a child process.

    Args:
        told: gets each event as a JSON line (`eventlines`), and one of the kind "error" if the cell fails.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which then ends us in order
    try:
        signal.signal(signal.SIGTERM, _stop)
        threading.Thread(target=_end_with_parent, daemon=True).start()
        _work(cell, place, told)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing is left to be put in order
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _work(cell: Cell, place: Place, told: Connection) -> None:
    if place.accelerator is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(place.accelerator)
    try:
        run(cell, place, lambda event: told.send_bytes(to_line(event).encode()))
    except AmintError as error:
        told.send_bytes(_error(error.message, error.hint, error.exit_code))
    except Exception as error:
        path = place.runs / cell.name / "traceback.txt"
        write(path, traceback.format_exc())
        told.send_bytes(
            _error(f"{type(error).__name__}: {error}"[:1000], f"a bug, or a machine's limit; see {path}", 1)
        )
    finally:
        told.close()


def run(cell: Cell, place: Place, on_event: Callable[[Event], None]) -> None:
    """Run one cell in this process; its folder then holds a summary."""
    import torch

    torch.set_num_threads(place.threads)
    if cell.mode == "secure":
        _secure(cell, place, on_event)
    else:
        _plaintext(cell, place, on_event)


def _plaintext(cell: Cell, place: Place, on_event: Callable[[Event], None]) -> None:
    from amint_mpc import plaintext_run
    from amint_mpc.runfolder import RunFolder

    party = Party(role="developer", data=place.data)
    with RunFolder.create(place.runs, cell.experiment, "twin", cell.name) as folder:

        def both(event: Event) -> None:
            folder.record(event)
            on_event(event)

        plaintext_run.run(cell.experiment, party, folder, both)


def _secure(cell: Cell, place: Place, on_event: Callable[[Event], None]) -> None:
    from amint_mpc.host import processes

    path = place.runs / cell.name
    path.mkdir(parents=True, mode=0o700)

    def developers(role: str, event: Event) -> None:
        if role == "developer":
            on_event(event)

    with tempfile.TemporaryDirectory(prefix="amint-mpc-study-") as keys:
        done = processes.run(Path(keys), cell.experiment, place.data, path, developers, place.threads)
    write(path / SUMMARY, json_line(_joined(cell, done).as_json()) + "\n")


def _joined(cell: Cell, done: SecureRun) -> Summary:
    """One summary of three: costs as the developer saw them, bytes of each."""
    developer = done.reports["developer"]
    return Summary(
        role="secure",
        name=developer.name,
        method=developer.method,
        digest=developer.digest,
        steps=developer.steps,
        seconds=developer.seconds,
        seconds_per_step=developer.seconds_per_step,
        rounds_per_step=developer.rounds_per_step,
        images=developer.images,
        mb_sent_per_step={role: done.reports[role].own_mb_sent or 0 for role in cell.experiment.roles},
        figures=done.figures,
    )


def _error(message: str, hint: str, code: int) -> bytes:
    return json_line({"event": "error", "message": message, "hint": hint, "code": code}).encode()


def _stop(signum: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: what follows ends the cell's own processes
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
