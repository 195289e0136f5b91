"""Cells as processes: several at once, one that fails, a study that is cut short and goes on."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from amint_mpc.cli import main
from amint_mpc.study import pool
from amint_mpc.study.folder import StudyFolder
from amint_mpc.study.pool import CellEnded, CellEvent, CellStarted, Pool
from tests.study.studies import TINY, plan_of

DIVERGES = {"name": "diverges", "set": {"training.learning_rate": 1e30}}


@pytest.mark.timeout(300)
def test_two_at_once_and_one_that_fails_stops_no_other(tmp_path: Path) -> None:
    axis = [{"name": "good", "set": {}}, DIVERGES, {"name": "better", "set": {}}]
    plan = plan_of(tmp_path, grid={"axis": axis})
    folder, running, most = StudyFolder(tmp_path / "out"), 0, 0
    ended: dict[str, CellEnded] = {}
    told = set()
    with folder.locked(plan), Pool(folder, 2, None) as some:
        for event in some.run(plan.cells):
            running += isinstance(event, CellStarted) - isinstance(event, CellEnded)
            most = max(most, running)
            if isinstance(event, CellEnded):
                ended[event.cell.variant] = event
            elif isinstance(event, CellEvent):
                told.add(event.cell.variant)
    assert (most, running) == (2, 0)
    assert told == set(ended) == {"good", "diverges", "better"}
    good, bad, better = plan.cells
    assert ended["good"].error is None
    assert folder.summary(good).figures == folder.summary(better).figures  # the same experiment
    error = ended["diverges"].error
    assert error is not None
    assert error.exit_code == 4  # the head refused what is not a number
    assert folder.failure(bad).message == error.message
    assert not folder.summary(bad)


def test_a_bug_is_a_failure_with_its_traceback_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(tmp_path, grid={"model.taps": ["entry"]})
    folder = StudyFolder(tmp_path / "out")
    monkeypatch.setattr(pool, "work", _killed)
    with folder.locked(plan), Pool(folder, 1, None) as some:
        last = list(some.run(plan.cells))[-1]
    assert isinstance(last, CellEnded)
    assert "ended with code -9" in last.error.message
    assert "memory" in last.error.hint


def _killed(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


STOPPED = """
import os, signal, sys, threading
from pathlib import Path
from amint_mpc.study import cell

def stop(*_): os.kill(os.getpid(), signal.SIGTERM)

class Told:
    def send_bytes(self, data): print("told")
    def close(self): pass

cell.run = lambda *_: None
{moment}
cell.work(None, cell.Place(Path(), None, 1), Told())
"""


@pytest.mark.parametrize("moment", ["threading.Thread.start = stop", "cell.run = stop", "Told.close = stop"])
def test_a_cell_that_is_stopped_ends_without_a_traceback(moment: str) -> None:
    command = [sys.executable, "-c", STOPPED.format(moment=moment)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


FIRST_CHILD = """
import os
from amint_mpc.study import pool

pool._CONTEXT.set_forkserver_preload([])
process = pool._CONTEXT.Process(target=os.execlp, args=("grep", "grep", "SigBlk", "/proc/self/status"))
with pool._sigint_blocked():
    process.start()
process.join()
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads what Linux tells of a process")
def test_ctrl_c_at_a_terminal_never_reaches_a_cell() -> None:
    """A terminal sends it to all of its processes; a cell has it blocked from the beginning, the first one, too."""
    done = subprocess.run([sys.executable, "-c", FIRST_CHILD], capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout.split()[1], 16) >> (signal.SIGINT - 1) & 1, done


@pytest.mark.timeout(300)
def test_a_study_that_is_cut_short_goes_on_and_says_what_failed(tmp_path: Path) -> None:
    axis = [{"name": "one", "set": {}}, {"name": "two", "set": {}}, DIVERGES]
    plan = plan_of(tmp_path, grid={"axis": axis}, baselines=["task-alone"])
    out = tmp_path / "out"
    arguments = ["study", "--config", str(tmp_path / "tiny.yaml"), "--out", str(out), "--json"]
    first = out / "runs" / plan.cells[0].name / "summary.json"
    command = [sys.executable, "-m", "amint_mpc", *arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job hands down that it is ignored
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            while not first.exists():
                assert child.poll() is None, child.communicate()
                time.sleep(0.02)
            child.send_signal(signal.SIGINT)
            stdout, stderr = child.communicate(timeout=60)
        finally:  # whatever the test does
            child.kill()
    assert (child.returncode, stdout) == (130, ""), stderr
    assert "Traceback" not in stderr
    assert "goes on from here" in stderr
    before = first.stat().st_mtime_ns
    statuses = _statuses(out)
    assert statuses[plan.cells[0].name] == "done"
    assert "pending" in statuses.values()

    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 4, again.output
    told = json.loads(again.stdout)
    assert told["runs"] == {"done": 4, "failed": 1, "pending": 0}
    assert "1 of 5 runs failed\n       runs/diverges-s1: " in again.stderr
    assert first.stat().st_mtime_ns == before
    assert sorted(_statuses(out).values()) == ["done"] * 4 + ["failed"]
    assert all(Path(path).is_file() for path in told["files"])

    third = CliRunner().invoke(main, [*arguments[:-1], "--dry-run", "--json"])
    assert [run["run"] for run in json.loads(third.stdout)["runs"] if not run["done"]] == ["diverges-s1"]


def _statuses(out: Path) -> dict[str, str]:
    with (out / "study.csv").open(newline="") as file:
        return {row["run"].removeprefix("runs/"): row["status"] for row in csv.DictReader(file)}


DEALT = {**TINY, "training.evaluate_every": 0, "security.correlations": "dealer"}


@pytest.mark.timeout(300)
def test_a_secure_cell_is_three_processes_and_one_summary(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, grid={"model.taps": ["entry"]}, mode="secure", set=DEALT)
    folder = StudyFolder(tmp_path / "out")
    with folder.locked(plan), Pool(folder, 1, None) as some:
        last = list(some.run(plan.cells))[-1]
    assert isinstance(last, CellEnded)
    assert last.error is None
    (cell,) = plan.cells
    summary = folder.summary(cell)
    assert {"mint_accuracy_calibrated", "mint_auc", "task_accuracy"} <= set(summary.figures)
    assert set(summary.mb_sent_per_step) == {"developer", "auditor", "dealer"}
    assert summary.rounds_per_step > 0
    assert (folder.run(cell) / "auditor/head.safetensors").is_file()
    assert {path.name for path in folder.path.rglob("*.key")} == {"commitment.key"}  # no party's
