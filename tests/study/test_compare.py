"""The whole comparison on the smoke experiment: what it writes, what it takes from a finished run, what it refuses."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from amint_mpc.amint import metrics
from amint_mpc.amint.attacks import ATTACKS
from amint_mpc.amint.detectors import detector_figures
from amint_mpc.amint.image_changes import IMAGE_CHANGES
from amint_mpc.amint.model_changes import MODEL_CHANGES
from amint_mpc.cli import main
from amint_mpc.config import load_experiment

SMOKE = ("--config", "smoke", "--set", "training.epochs=1")


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory):
    patch = pytest.MonkeyPatch()
    patch.chdir(tmp_path_factory.mktemp("compare"))
    for name in [name for name in os.environ if name.startswith("AMINT_MPC")]:
        patch.delenv(name)
    patch.setattr(metrics, "RESAMPLES", 20)

    def invoke(*arguments: str) -> Result:
        result = CliRunner().invoke(main, arguments)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "Traceback" not in result.output
        return result

    yield invoke
    patch.undo()


@pytest.fixture(scope="module")
def compared(cli: Callable[..., Result]) -> tuple[dict[str, Any], Path]:
    result = cli("compare", *SMOKE, "--name", "whole", "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1]), Path.cwd() / "runs/whole"


def test_the_record_has_everything(compared: tuple[dict[str, Any], Path]) -> None:
    told, folder = compared
    record = json.loads((folder / "comparison.json").read_text())
    assert told == record | {"folder": "runs/whole"}
    experiment = load_experiment("smoke", SMOKE[3:])
    assert (record["experiment"], record["digest"]) == ("smoke", experiment.digest())
    assert (record["method"], record["seed"], record["shadows"]) == ("amint", 1, 4)
    assert set(record["classifiers"]) == {"joint", "plain"}
    found = [(row["name"], row["on"], row["needs"]) for row in record["detectors"]]
    needs = {0: "outputs", 1: "outputs and 1 shadow model", None: "outputs and 4 shadow models"}
    expected = {("active", "joint", "head"), ("blind", "untrained", "head"), ("blind-memory", "untrained", "head")}
    expected |= {(name, on, "head") for name in ("passive", "passive-held-out") for on in ("joint", "plain")}
    expected |= {(attack.name, on, needs[attack.shadows]) for attack in ATTACKS for on in ("joint", "plain")}
    assert set(found) == expected
    assert len(found) == len(expected)
    for row in record["detectors"]:
        assert {"mint_auc", "mint_accuracy_calibrated", "tpr_at_1pct_fpr"} <= set(row["figures"])
        assert ("mint_accuracy_at_half" in row["figures"]) == (row["needs"] == "head")
        assert set(row["figures"]["mint_auc"]) == {"value", "low", "high"}
        assert row["title"]
        assert row["citation"]
    auc = {(row["name"], row["on"]): row["figures"]["mint_auc"]["value"] for row in record["detectors"]}
    assert [row["name"] for row in record["price"]] == ["passive", "passive-held-out", *(each.name for each in ATTACKS)]
    for row in record["price"]:
        assert row["auc_joint"] == auc[row["name"], "joint"]
        assert row["auc_plain"] == auc[row["name"], "plain"]
        assert row["difference"]["value"] == pytest.approx(row["auc_joint"] - row["auc_plain"])
    names = ["none", *(change.name for change in IMAGE_CHANGES), *MODEL_CHANGES]
    assert [row["name"] for row in record["robustness"]] == names
    for row in record["robustness"]:
        assert {"members_found", "false_positives", "mint_auc"} <= set(row["figures"])
        assert all(set(each) == {"value", "low", "high"} for each in row["figures"].values())


def test_the_active_row_is_the_twins_own_result(compared: tuple[dict[str, Any], Path]) -> None:
    record, folder = compared
    summary = json.loads((folder / "joint/summary.json").read_text())
    active = record["detectors"][0]["figures"]
    for name in ("mint_auc", "mint_accuracy_calibrated", "tpr_at_1pct_fpr"):
        assert active[name]["value"] == pytest.approx(summary["figures"][name]["value"], abs=1e-3)
    assert record["classifiers"]["joint"]["task_accuracy"] == pytest.approx(summary["figures"]["task_accuracy"])
    alone = json.loads((folder / "plain/summary.json").read_text())
    assert alone["method"] == "task"
    assert record["classifiers"]["plain"]["task_accuracy"] == pytest.approx(alone["figures"]["task_accuracy"])


def test_figures_follow_from_the_kept_scores(compared: tuple[dict[str, Any], Path]) -> None:
    record, folder = compared
    kept = load_file(folder / "scores.safetensors")
    for row in record["detectors"]:
        start = f"{row['name']}.{row['on']}."
        own = {name.removeprefix(start): value for name, value in kept.items() if name.startswith(start)}
        again = detector_figures(own, record["seed"], probabilities=False)
        assert again["mint_auc"].value == row["figures"]["mint_auc"]["value"]
        assert again["mint_accuracy_calibrated"].value == row["figures"]["mint_accuracy_calibrated"]["value"]


def test_a_finished_run_saves_the_training_and_gives_the_same(
    cli: Callable[..., Result], compared: tuple[dict[str, Any], Path]
) -> None:
    record, folder = compared
    result = cli("compare", "--run", str(folder / "joint"), "--name", "again")
    assert result.exit_code == 0, result.stderr
    for text in (
        "Active MINT",
        "Blind control",
        "LiRA, online",
        "RMIA, offline",
        "JPEG, quality 50",
        "Weights in int8",
    ):
        assert text in result.stdout
    again = json.loads(Path("runs/again/comparison.json").read_text())
    assert not Path("runs/again/joint").exists()
    for part in ("detectors", "price", "robustness", "classifiers", "digest"):
        assert again[part] == record[part]


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (("--shadows", "3"), "shadow models", 2),
        (("--shadows", "2"), "shadow models", 2),
        (("--set", "training.mint_weight=0"), "no head", 2),
        (("--run", "absent"), "not a run folder", 2),
        (("--run", "absent", "--config", "smoke"), "not a finished run", 2),
    ],
)
def test_refusals(cli: Callable[..., Result], arguments: tuple[str, ...], message: str, code: int) -> None:
    result = cli("compare", *(() if "--run" in arguments else SMOKE), *arguments, "--name", f"refused-{len(arguments)}")
    assert (result.exit_code, message in result.stderr) == (code, True), result.stderr
    assert "\nhint:  " in result.stderr
    assert not Path(f"runs/refused-{len(arguments)}").exists()


def test_a_run_that_does_not_fit_is_refused(cli: Callable[..., Result], compared: tuple[dict[str, Any], Path]) -> None:
    _, folder = compared
    other = cli("compare", *SMOKE, "--set", "seed=2", "--run", str(folder / "joint"), "--name", "refused")
    assert (other.exit_code, "another experiment" in other.stderr) == (2, True)
    headless = Path(shutil.copytree(folder / "joint", "headless"))
    (headless / "head.safetensors").unlink()
    told = cli("compare", "--run", str(headless), "--name", "refused-too")
    assert (told.exit_code, "has no head" in told.stderr) == (2, True)
    for name in ("backbone", "head"):
        damaged = Path(shutil.copytree(folder / "joint", f"damaged-{name}"))
        (damaged / f"{name}.safetensors").write_bytes(b"nothing")
        told = cli("compare", "--run", str(damaged), "--name", f"refused-{name}")
        assert (told.exit_code, "cannot be read" in told.stderr) == (5, True)
    other_size = load_file(folder / "joint/head.safetensors")
    other_size["w1"] = other_size["w1"][:-1].contiguous()
    small = Path(shutil.copytree(folder / "joint", "small"))
    save_file(other_size, small / "head.safetensors")
    told = cli("compare", "--run", str(small), "--name", "refused-small")
    assert (told.exit_code, "features" in told.stderr) == (5, True)
    swapped = Path(shutil.copytree(folder / "joint", "swapped"))
    shutil.copy(folder / "plain/backbone.safetensors", swapped / "backbone.safetensors")
    told = cli("compare", "--run", str(swapped), "--name", "refused-swapped")
    assert (told.exit_code, "another experiment" in told.stderr) == (5, True)
    assert not list(Path("runs").glob("refused*"))
