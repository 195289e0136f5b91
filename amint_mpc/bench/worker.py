"""The inside of a process that is measured: it takes commands as JSON lines on stdin and answers each on stdout.

A worker does nothing between two commands, so that others can be measured meanwhile.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from amint_mpc.errors import AmintError

Handler = Callable[[dict[str, Any]], dict[str, Any]]


def work(opened: Callable[[dict[str, Any]], AbstractContextManager[Handler]]) -> None:
    """Serve until stdin closes.

    Args:
        opened: makes the worker ready from its settings, the first line, and gives what answers a command.
    """
    settings = sys.stdin.readline()
    if not settings:
        return
    try:
        with opened(json.loads(settings)) as handle:
            _write({"event": "ready"})
            while command := sys.stdin.readline():
                _write({"event": "done", **_measured(handle, json.loads(command))})
    except AmintError as error:
        _write({"event": "error", "message": error.message, "hint": error.hint, "code": error.exit_code})
        raise SystemExit(error.exit_code) from None


def _measured(handle: Handler, command: dict[str, Any]) -> dict[str, Any]:
    """The answer, with start and end (s, a clock that all processes of a machine share) and this process's own cost."""
    start, busy = time.monotonic(), time.process_time()
    answer = handle(command)
    return {
        "start": start,
        "end": time.monotonic(),
        "cpu": time.process_time() - busy,
        "peak_mb": peak_mb(),
        **answer,
    }


def peak_mb() -> float:
    """The most memory that this process has had so far, in MB (a million bytes)."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage starts at the size of the process that started us
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _write(record: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()
