"""Folders from before each quantity had one name: `mint_accuracy` was the calibrated one in a summary, a comparison and
a study, and the one at 0.5 in an epoch and of the paper."""

import csv
import json
import shutil
from pathlib import Path

from amint_mpc.cli.compare import detectors_table
from amint_mpc.pages.page import make
from amint_mpc.pages.perspective import gather
from amint_mpc.pages.study import read_study
from amint_mpc.results import AT_HALF, CALIBRATED
from tests.pages.made_runs import plain

OLD = Path(__file__).parent / "assets" / "one-name-for-two"
"""What `amint-mpc compare --config smoke --set training.epochs=1` left then, without weights."""
RESULTS = Path(__file__).parents[2] / "docs" / "results"


def test_a_run_and_its_comparison() -> None:
    text = (OLD / "joint" / "summary.json").read_text() + (OLD / "comparison.json").read_text()
    assert '"mint_accuracy": ' in text
    assert CALIBRATED not in text
    audit = gather(OLD)
    figures, history = audit.figures, audit.history.figures
    assert (figures[CALIBRATED].value, figures[CALIBRATED].interval) == (0.578125, (0.515625, 0.640625))
    assert figures[AT_HALF].value == 0.5
    assert history[AT_HALF] == [(2, 0.5)]
    assert audit.comparison is not None
    assert audit.comparison.detectors[0].figures[CALIBRATED] == figures[CALIBRATED]
    assert not any("mint_accuracy" in names for names in (figures, history, audit.comparison.detectors[0].figures))
    assert "gave the right answer for <strong>57.8" in plain(make(OLD))
    assert detectors_table(audit.comparison).row_count == 14


def test_a_study(tmp_path: Path) -> None:
    shutil.copy(RESULTS / "study-mnist.csv", tmp_path / "study.csv")
    value = {"dataset": "mnist-5k", "backbone": "mobilenet", "taps": "entry", "mint_accuracy": 0.86}
    (tmp_path / "study.json").write_text(json.dumps({"name": "old", "paper": {"values": [value]}}))
    with (RESULTS / "study-mnist.csv").open(newline="") as file:
        (wanted,) = (row for row in csv.DictReader(file) if row["run"] == "runs/mobilenet-entry-s1")
    study = read_study(tmp_path)
    (row,) = (row for row in study.rows if row.run == "runs/mobilenet-entry-s1")
    assert str(row.mint_accuracy_calibrated) == wanted["mint_accuracy"]
    assert str(row.mint_accuracy_at_half) == wanted["mint_accuracy_at_half"]
    found = [each for section in study.sections for each in section.variants if each.paper is not None]
    assert [each.paper.mint_accuracy_at_half for each in found if each.paper] == [0.86]
    assert all(CALIBRATED in each.measures for each in found)
