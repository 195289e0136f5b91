"""benchmarks/on_gpu.py: what would not fit is left out, what fails is told, and the others go on."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def on_gpu() -> Any:
    spec = importlib.util.spec_from_file_location("on_gpu", ROOT / "benchmarks" / "on_gpu.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["on_gpu"] = module
    spec.loader.exec_module(module)
    return module


def test_every_row_ends_somehow_and_stands_in_the_table_and_the_file(on_gpu: Any, tmp_path: Path) -> None:
    report = on_gpu.Report(tmp_path / "results" / "it.json", 100.0, {"dry": True})

    def works(found: dict[str, Any]) -> None:
        found["result"] = "seven"

    def breaks(found: dict[str, Any]) -> None:
        found["result"] = "half"
        raise ValueError("no such\nthing | here")

    def hangs(found: dict[str, Any]) -> None:
        found["result"] = "so far"
        time.sleep(30)

    report.row("works", 1, 1.0, works)
    report.row("breaks", 1, 1.0, breaks)
    report.row("does not fit", 50, 0.3, works)
    start = time.monotonic()
    report.start -= 9.8  # of the 10 seconds that this share is
    report.row("hangs", 0, 0.1, hangs)
    assert time.monotonic() - start < 10
    report.row("goes on", 1, 1.0, works)
    assert [row["status"] for row in report.rows] == ["done", "failed", "skipped", "cut short", "done"]
    assert report.rows[2]["why"] == "50 s needed, 30 left"
    assert "result" not in report.rows[2]
    stored = json.loads(report.path.read_text())
    assert stored["rows"] == report.rows
    lines = on_gpu.table(report).splitlines()
    assert len(lines) == 2 + 5
    assert len({line.count("|") for line in lines}) == 1
    assert lines[3].endswith("| failed: ValueError: no such thing / here half |")
    assert lines[5].endswith("| cut short: its time of 0 s was over so far |")


def test_broken_tests_are_named(on_gpu: Any, tmp_path: Path) -> None:
    tests = tmp_path / "test_it.py"
    tests.write_text(
        "import os\n"
        "def test_device(): assert os.environ['AMINT_MPC_TEST_DEVICE'] == 'cpu'\n"
        "def test_broken(): assert False\n"
    )
    found: dict[str, Any] = {}
    on_gpu.run_tests((str(tests),), "cpu", found)
    assert found["tests"] == {"failed": 1, "passed": 1}
    assert found["status"] == "failed"
    assert [name.rsplit("/")[-1] for name in found["broken"]] == ["test_it.py::test_broken"]
    assert any("assert False" in line for line in found["output"])


def test_tests_that_are_cut_short_are_counted_as_far_as_they_came(on_gpu: Any) -> None:
    lines = [
        "[gw0] [ 10%] PASSED tests/a.py::test_a[PASSED-1]",
        "tests/a.py::test_b SKIPPED (no such device) [ 20%]",
        "tests/a.py::test_c FAILED                   [ 30%]",
        "FAILED tests/a.py::test_c - AssertionError",
        "tests/a.py::test_d ",
    ]
    assert on_gpu.counted(lines) == {
        "tests": {"passed": 1, "skipped": 1, "failed": 1},
        "broken": ["tests/a.py::test_c"],
        "result": "1 passed, 1 skipped, 1 failed",
    }


@pytest.mark.long
@pytest.mark.timeout(360)
def test_a_dry_run_runs_through(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHON": sys.executable, "OUT": str(tmp_path)}
    command = [str(ROOT / "benchmarks" / "on_gpu.sh"), "--carried", str(tmp_path / "nothing"), "--dry"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=350)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "on_gpu.json").read_text())
    tests, bench, training = found["rows"]
    assert [row["status"] for row in found["rows"]] == ["done"] * 3
    assert tests["tests"]["passed"] >= 3
    assert bench["bench"]["overhead"] > 0
    assert bench["bench"]["experiment"] == "noise"
    assert 0 <= training["mint_auc"] <= 1
    assert 0 <= training["task_accuracy"] <= 1
    assert training["seconds_per_epoch"] > 0
    assert training["figures_are"] == "on report images"
    assert done.stdout.count("\n| ") == 4
