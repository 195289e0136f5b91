"""The measured processes: their answers arrive, a failure is told, and none survives."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from amint_mpc.bench import ours, workers
from amint_mpc.bench.workers import Worker, Workers
from amint_mpc.errors import AmintError
from amint_mpc.host import processes
from tests.pids import alive

WORKER = """
import os, sys
from contextlib import contextmanager
from amint_mpc.bench.worker import work
from amint_mpc.errors import UsageError

@contextmanager
def opened(settings):
    if settings.get("refuse"):
        raise UsageError("too small", "take more")
    print("a library speaks")
    yield lambda command: {"pid": os.getpid(), "said": command["say"] if "say" in command else sys.exit(7)}

work(opened)
"""


def light_workers(folder: Path, **settings: Mapping[str, Any]) -> Workers:
    """Workers that import no torch."""
    found = Workers({name: Worker("none", each) for name, each in settings.items()}, folder)
    found._commands = {name: [sys.executable, "-c", WORKER] for name in settings}
    return found


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "ECHO_S", 1.0)


def test_slices_share_the_steps() -> None:
    assert ours.slices(50) == [10] * 5
    assert ours.slices(7) == [2, 2, 1, 1, 1]
    assert ours.slices(2) == [1, 1]


def test_a_slice_lasts_until_its_last_process_is_done() -> None:
    assert workers.seconds({"a": {"start": 1.0, "end": 2.0}, "b": {"start": 1.5, "end": 4.0}}) == 3.0


def test_those_who_are_asked_answer_and_the_others_do_nothing(tmp_path: Path) -> None:
    with light_workers(tmp_path, a={}, b={}) as workers:
        both = workers.ask({"a": {"say": 1}, "b": {"say": 2}})
        one = workers.ask({"a": {"say": 3}})
    assert (both["a"]["said"], both["b"]["said"]) == (1, 2)
    assert one.keys() == {"a"}
    assert one["a"]["end"] >= one["a"]["start"] >= both["a"]["end"]
    assert one["a"]["peak_mb"] > 1
    assert one["a"]["cpu"] >= 0


def test_an_interrupt_ends_all_processes(tmp_path: Path) -> None:
    pids: list[int] = []

    def interrupted() -> None:
        with light_workers(tmp_path, a={}, b={}) as workers:
            pids.extend(answer["pid"] for answer in workers.ask({"a": {"say": 0}, "b": {"say": 0}}).values())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(pids) == 2
    assert not any(alive(pid) for pid in pids)


def test_what_a_process_refuses_is_told_and_nobody_survives(tmp_path: Path) -> None:
    workers = light_workers(tmp_path, a={}, b={"refuse": True})
    with pytest.raises(AmintError) as caught, workers:
        pass
    assert (caught.value.message, caught.value.hint, caught.value.exit_code) == ("b: too small", "take more", 2)
    assert all(child.poll() is not None for child in workers._children.values())


def test_a_process_that_dies_at_work_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AmintError, match="ended with code 7"), light_workers(tmp_path, a={}) as workers:
        workers.ask({"a": {}})


def test_a_process_ends_when_the_one_that_started_it_has_gone() -> None:
    done = subprocess.run([sys.executable, "-c", WORKER], input="{}\n", capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == '{"event": "ready"}'
