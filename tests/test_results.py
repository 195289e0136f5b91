"""Figures, summaries and what a notebook shows of them; one name for each quantity, also in what was written before."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from amint_mpc.config import Experiment
from amint_mpc.results import Difference, EpochFigures, Figure, Outcome, SecureRun, Summary
from amint_mpc.runfolder import RunFolder

DIGEST = "0" * 64
AUC = Figure(value=0.75, low=0.7, high=0.8)
TASK = Figure(value=0.9, low=0.85, high=0.94)


def summary(**more: Any) -> dict[str, Any]:
    return {"role": "twin", "digest": DIGEST, "seconds": 1.5, **more}


def test_a_figure_without_an_interval_has_none() -> None:
    alone = Figure(value=0.75)
    assert (alone.low, alone.high, alone.interval, alone.ends) == (None, None, None, (0.75, 0.75))
    assert (str(alone), alone.as_json()) == ("0.750", {"value": 0.75})
    assert (str(AUC), AUC.as_json()) == ("0.750 (0.700 to 0.800)", {"value": 0.75, "low": 0.7, "high": 0.8})
    assert (AUC.interval, AUC.ends) == ((0.7, 0.8), (0.7, 0.8))
    assert Difference(value=-0.5, low=-0.6, high=0.1).interval == (-0.6, 0.1)


@pytest.mark.parametrize(
    "found",
    [
        {"value": 1.01},
        {"value": -0.5},
        {"value": "0.5"},
        {"value": True},
        {"value": float("nan")},
        {"value": 0.5, "low": 0.4},
        {"value": 0.5, "high": 0.6},
        {"value": 0.5, "low": 0.6, "high": 0.4},
        {"low": 0.4, "high": 0.6},
    ],
)
def test_what_is_no_figure_is_refused(found: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Summary.model_validate(summary(figures={"mint_auc": found}))


@pytest.mark.parametrize(
    "more",
    [
        {"seconds": float("inf")},
        {"steps": 1.5},
        {"steps": -1},
        {"digest": "0" * 63},
        {"role": "judge"},
        {"threshold": 2.0},
        {"images": "x"},
        {"duplicates": {"x" * 301: 1}},
        {"figures": {"x" * 301: {"value": 0.5}}},
        {"mb_sent_per_step": {"developer": "1"}},
    ],
)
def test_a_summary_is_bounded(more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Summary.model_validate(summary(**more))


def test_keys_that_we_do_not_know_are_left_out() -> None:
    found = Summary.model_validate(summary(colour="blue", figures={"beauty": {"value": 0.5, "colour": "blue"}}))
    assert found.as_json() == summary(figures={"beauty": {"value": 0.5}})


def test_the_old_name_means_calibrated_in_a_summary_and_half_in_an_epoch() -> None:
    found = Summary.model_validate(
        summary(figures={"mint_accuracy": {"value": 0.9}, "mint_accuracy_at_half": {"value": 0.8}})
    )
    assert {name: figure.value for name, figure in found.figures.items()} == {
        "mint_accuracy_calibrated": 0.9,
        "mint_accuracy_at_half": 0.8,
    }
    epoch = TypeAdapter(EpochFigures).validate_python
    assert epoch({"mint_accuracy": 0.8, "mint_accuracy_calibrated": 0.9}) == {
        "mint_accuracy_at_half": 0.8,
        "mint_accuracy_calibrated": 0.9,
    }
    assert epoch({"mint_auc": 0.7, "mint_accuracy_at_half": 0.8}) == {"mint_auc": 0.7, "mint_accuracy_at_half": 0.8}


def test_outcomes_are_joined_and_the_last_word_counts() -> None:
    found = Outcome(steps=3, seconds=1.0) | Outcome() | Outcome(seconds=2.0, figures={"mint_auc": AUC})
    assert found == Outcome(steps=3, seconds=2.0, figures={"mint_auc": AUC})
    assert found.as_json() == {"steps": 3, "seconds": 2.0, "figures": {"mint_auc": AUC.as_json()}}
    assert Outcome(mb_sent_per_step=0.5).own_mb_sent == 0.5
    assert Outcome(mb_sent_per_step={"developer": 0.5}).own_mb_sent is None


@pytest.mark.parametrize("role", ["developer", "auditor", "dealer", "twin", "comparison"])
def test_what_a_run_writes_is_what_is_read(tmp_path: Path, role: str) -> None:
    outcome = Outcome(steps=2, seconds=1.5, duplicates={}, figures={"mint_accuracy_calibrated": AUC})
    with RunFolder.create(tmp_path, Experiment(), role, "one") as folder:
        told = folder.finish(outcome)
    text = (folder.path / "summary.json").read_text()
    assert Summary.model_validate_json(text) == told
    agreed = {"role": role, "name": "quickstart", "method": Experiment().method, "digest": Experiment().digest()}
    assert json.loads(text) == agreed | outcome.as_json() == told.as_json()


def run_of(auditors: dict[str, Figure], **paths: Path) -> SecureRun:
    figures = {"auditor": auditors, "developer": {"task_accuracy": TASK}}
    reports = {role: Summary.model_validate(summary(role=role, figures=figures[role])) for role in figures}
    return SecureRun(reports, paths)


def test_a_secure_run_has_the_figures_of_both() -> None:
    assert run_of({"mint_auc": AUC}).figures == {"mint_auc": AUC, "task_accuracy": TASK}
    assert run_of({}).figures == {"task_accuracy": TASK}


def test_a_notebook_shows_a_table_and_no_markup_of_others() -> None:
    evil = "<script>alert(1)</script>"
    shown = Summary.model_validate(summary(name=evil, figures={"mint_auc": AUC, evil: {"value": 0.5}}))._repr_html_()
    assert "<script" not in shown
    assert "<tr><td>mint_auc</td><td>0.7500</td><td>0.7000</td><td>0.8000</td></tr>" in shown
    assert "<tr><td>&lt;script&gt;alert(1)&lt;/script&gt;</td><td>0.5000</td><td></td><td></td></tr>" in shown
    assert "<tr><td>seconds</td><td>1.5000</td></tr>" in shown
    secure = run_of({"mint_auc": AUC}, auditor=Path("runs/<b>"))._repr_html_()
    assert "<tr><td>task_accuracy</td><td>0.9000</td><td>0.8500</td><td>0.9400</td></tr>" in secure
    assert "<p>auditor: runs/&lt;b&gt;</p>" in secure
