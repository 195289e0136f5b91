"""The folder of a run: complete, private, never overwritten, and marked where it is insecure."""

import json
import stat
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from amint_mpc.config import Experiment, load_experiment
from amint_mpc.errors import UsageError
from amint_mpc.eventlines import from_record, to_line
from amint_mpc.events import EpochEvent, Notice, StepEvent
from amint_mpc.runfolder import RunFolder

SAFE = load_experiment("smoke")
UNSAFE = load_experiment("smoke", ["security.correlations=insecure-embedded-dealer"])
EVENTS = [
    Notice("waiting"),
    StepEvent(1, 2, 1, "joint", 0.5, {"task": 0.25}, 0.125, 9, 1000),
    EpochEvent(1, 2, "joint", 0.5, {"mint_auc": 0.75}),
]


def run_folder(root: Path, experiment: Experiment) -> Path:
    with RunFolder.create(root, experiment, "developer", "one") as folder:
        for event in EVENTS:
            folder.record(event)
        folder.save_tensors("backbone.safetensors", {"w": torch.ones(2, 3).T})
        folder.finish({"steps": 2})
    return folder.path


def test_a_run_folder_holds_what_was_agreed_and_what_happened(tmp_path: Path) -> None:
    path = run_folder(tmp_path, SAFE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert load_experiment(path / "experiment.yaml") == SAFE
    assert SAFE.digest() in (path / "experiment.yaml").read_text()
    assert json.loads((path / "versions.json").read_text())["torch"] == torch.__version__.partition("+")[0]
    records = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert [from_record(record) for record in records] == EVENTS
    summary = json.loads((path / "summary.json").read_text())
    assert (summary["steps"], summary["role"], summary["digest"]) == (2, "developer", SAFE.digest())
    assert "waiting" in (path / "log.txt").read_text()
    assert list((path / "tensorboard").iterdir())
    assert not list(path.glob("*.part"))
    assert "INSECURE" not in "".join(file.read_text(errors="replace") for file in path.glob("*.*"))


def test_an_insecure_run_says_so_everywhere(tmp_path: Path) -> None:
    path = run_folder(tmp_path, UNSAFE)
    assert path.name == "one-insecure"
    for file in path.iterdir():
        if file.is_file():
            assert "INSECURE" in file.read_text(errors="replace"), file.name
    with safe_open(path / "backbone.safetensors", "pt") as tensors:
        assert tensors.metadata()["insecure"].startswith("INSECURE")


def test_a_run_folder_is_never_overwritten(tmp_path: Path) -> None:
    path = run_folder(tmp_path, SAFE)
    before = {file: file.read_bytes() for file in path.iterdir() if file.is_file()}
    with pytest.raises(UsageError, match="exists already"):
        RunFolder.create(tmp_path, SAFE, "developer", "one")
    assert {file: file.read_bytes() for file in path.iterdir() if file.is_file()} == before


@pytest.mark.parametrize("name", ["../out", "a/b", ".", "", "x" * 101, "a\n"])
def test_a_name_stays_inside_the_folder(tmp_path: Path, name: str) -> None:
    if name:
        with pytest.raises(UsageError, match="not a name for a run"):
            RunFolder.create(tmp_path, SAFE, "developer", name)
        assert not list(tmp_path.iterdir())
    else:  # none given: one is made
        with RunFolder.create(tmp_path, SAFE, "developer", name) as folder:
            assert folder.path.name.startswith("smoke-developer-")


def test_a_run_that_fails_leaves_its_reason_and_no_summary(tmp_path: Path) -> None:
    with pytest.raises(UsageError), RunFolder.create(tmp_path, SAFE, "dealer", "one") as folder:
        raise UsageError("the link broke")
    assert "the link broke" in (folder.path / "log.txt").read_text()
    assert not (folder.path / "summary.json").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot make"):
        RunFolder.create(tmp_path / "file", SAFE, "dealer", "one")


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_survives_its_line(event: Notice | StepEvent | EpochEvent) -> None:
    assert from_record(json.loads(to_line(event))) == event


def test_a_line_is_strict_json() -> None:
    line = to_line(StepEvent(1, 1, 1, "joint", 0.1, {"task": float("nan")}))
    assert json.loads(line, parse_constant=pytest.fail)["losses"] == {"task": None}


def test_what_comes_after_the_end_is_dropped(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, Experiment(), "auditor", "late")
    folder.finish({})
    before = (folder.path / "metrics.jsonl").read_bytes()
    folder.record(Notice("a stranger was refused"))
    assert (folder.path / "metrics.jsonl").read_bytes() == before
