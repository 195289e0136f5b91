"""Ending child processes: asked first, then made to, so that none outlives us."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from typing import Any

Child = subprocess.Popen[Any] | BaseProcess


def end(children: Sequence[Child], grace_s: float) -> None:
    """Ask all of them to stop (SIGTERM); kill those that still live after `grace_s`. None is left, nor a zombie."""
    deadline = time.monotonic() + grace_s
    try:
        for child in children:
            child.terminate()
        for child in children:
            _wait(child, max(0.0, deadline - time.monotonic()))
    finally:  # also when a second Ctrl-C cuts the waiting short
        for child in children:
            child.kill()
            _wait(child, None)


def _wait(child: Child, timeout: float | None) -> None:
    if isinstance(child, BaseProcess):
        child.join(timeout)
    else:
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout)
