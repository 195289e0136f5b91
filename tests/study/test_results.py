"""What a study shows of run folders: every number from a summary, the paper's beside it, the spread over seeds."""

import csv
import json
from pathlib import Path

import pytest

from amint_mpc.errors import DataError
from amint_mpc.pages.study import PaperValue
from amint_mpc.study import paper, rows
from amint_mpc.study.folder import StudyFolder
from amint_mpc.study.plan import StudyPlan
from amint_mpc.study.results import rebuild
from amint_mpc.study.timing import Pace, expect
from tests.study.studies import finish, plan_of


@pytest.fixture(autouse=True)
def undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take most of the time; one test looks at them."""
    if "figures" not in request.node.name:
        monkeypatch.setattr("amint_mpc.study.results.draw", lambda *_: [])


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder(tmp_path / "out")


def table(folder: StudyFolder) -> dict[str, dict[str, str]]:
    with (folder.path / "study.csv").open(newline="") as file:
        return {row["run"].removeprefix("runs/"): row for row in csv.DictReader(file)}


def two_seeds(tmp_path: Path, folder: StudyFolder) -> StudyPlan:
    """Two taps, two seeds: MINT .9 and .92, task .8 and .84 at entry; nothing at output in seed 2; task alone .85."""
    plan = plan_of(tmp_path, grid={"model.taps": ["entry", "output"]}, seeds=[1, 2], baselines=["task-alone"])
    for cell in plan.cells:
        if cell.baseline:
            finish(folder, cell, 0.85)
        elif cell.name == "output-s1":
            finish(folder, cell, 0.9, 0.7)
        elif cell.name == "output-s2":
            folder.fail(cell, DataError("no images", "buy some"))
        else:
            seed = cell.experiment.seed
            finish(folder, cell, 0.8 + 0.04 * (seed - 1), 0.9 + 0.02 * (seed - 1))
    return plan


def test_the_table_has_a_row_a_run(tmp_path: Path, folder: StudyFolder) -> None:
    plan = two_seeds(tmp_path, folder)
    rebuild(plan, folder, "amint-mpc study")
    found = table(folder)
    assert list(found) == [cell.name for cell in plan.cells]
    one = found["entry-s2"]
    assert list(one) == list(rows.COLUMNS)
    expected = {
        **{"backbone": "resnet-mini", "variant": "entry", "taps": "entry", "dataset": "mnist-5k", "mint_weight": "1.0"},
        **{"head_input": "pooled", "mode": "plaintext", "method": "amint", "seed": "2", "status": "done"},
        **{"mint_accuracy_calibrated": "0.92", "mint_accuracy_calibrated_low": "0.87"},
        **{"mint_accuracy_calibrated_high": "0.97", "mint_auc": "0.94"},
        **{"mint_accuracy_at_half": "0.82", "task_accuracy": "0.84", "task_accuracy_without_mint": "0.85"},
        **{"tpr_at_1pct_fpr": "", "rounds_per_step": "", "seconds": "12.0", "ms_per_step": "25.0", "message": ""},
        **{"task_accuracy_with_distillation_alone": "", "run": "runs/entry-s2", "members": "64"},
    }
    assert {key: one[key] for key in expected} == expected
    assert (found["output-s2"]["status"], found["output-s2"]["message"]) == ("failed", "no images")
    (alone,) = (row for name, row in found.items() if name.startswith("task-alone") and row["seed"] == "1")
    assert (alone["method"], alone["taps"], alone["head_input"], alone["task_accuracy"]) == ("task", "", "", "0.85")


def test_the_page_gives_mean_spread_and_price(tmp_path: Path, folder: StudyFolder) -> None:
    rebuild(two_seeds(tmp_path, folder), folder, "amint-mpc study --config tiny")
    page = (folder.path / "study.md").read_text()
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    head, _, entry, output = lines[:4]
    assert dict(zip(head, entry, strict=True)) == {
        **{"backbone": "resnet-mini", "taps": "entry", "MINT accuracy, calibrated": "**.910 ± .014**"},
        **{"at 0.5": "**.810 ± .014**", "AUC": "**.930 ± .014**", "found at 1 % false alarms": "-"},
        **{"task accuracy": ".820 ± .028", "task alone": ".850 ± .000", "price, points": "3.0 ± 2.8"},
        **{"s a run": "12", "runs": "2"},
    }
    found = dict(zip(head, output, strict=True))
    assert (found["MINT accuracy, calibrated"], found["task accuracy"]) == (".700", "**.900**")
    assert (found["price, points"], found["runs"]) == ("**-5.0**", "1")
    assert "5 done, 1 failed" in page
    assert "- runs/output-s2: no images" in page
    assert "fewer than five seeds" in page
    assert "paper" not in page.lower()  # it has no resnet-mini


def test_the_papers_value_stands_beside_its_own_method_alone(
    tmp_path: Path, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(paper._table(), ("MNIST", "resnet-mini", "entry"), (0.86, 0.96))
    grid = {"model.taps": ["entry"], "training.distillation": [0, 1]}
    plan = plan_of(tmp_path, grid=grid, set={"training.warmup_epochs": 1})
    for cell in plan.cells:
        finish(folder, cell, 0.8, 0.9)
    rebuild(plan, folder, "amint-mpc study")
    page = (folder.path / "study.md").read_text()
    own, varied = page.split("## mnist-5k, plaintext, method ")[1:]
    assert own.startswith("`amint`\n")
    assert "| .86 |" in own
    assert "| .96 |" in own
    assert varied.startswith("`amint-kd`\n")
    assert "paper" not in varied.partition("## How")[0]
    assert "mnist-5k: 64 members, 96 external and 64 unseen images, 3 epochs; resnet-mini (size full, width 8" in page
    assert "MNIST: 25,000 members" in page
    about = json.loads((folder.path / "study.json").read_text())
    assert about["paper"]["values"] == [
        {
            "dataset": "mnist-5k",
            "backbone": "resnet-mini",
            "taps": "entry",
            "mint_accuracy_at_half": 0.86,
            "task_accuracy": 0.96,
        }
    ]
    assert (about["name"], about["title"], about["command"]) == ("tiny", "Tiny", "amint-mpc study")
    assert about["versions"]["torch"]
    for result in about["results"]:
        assert result["mint_accuracy_calibrated"] == {"mean": 0.9, "deviation": None}


def test_variants_that_no_column_tells_apart_are_named(tmp_path: Path, folder: StudyFolder) -> None:
    plan = plan_of(tmp_path, grid={"training.epochs": [1, 2]})
    for cell in plan.cells:
        finish(folder, cell, 0.8, 0.9)
    rebuild(plan, folder, "amint-mpc study")
    page = (folder.path / "study.md").read_text()
    assert "| resnet-mini | middle | epochs-1 |" in page
    assert "One seed: no spread" in page


def test_a_secure_run_tells_its_costs(tmp_path: Path, folder: StudyFolder) -> None:
    plan = plan_of(tmp_path, grid={"model.taps": ["entry"]}, mode="secure")
    sent = {"developer": 0.5, "auditor": 0.25, "dealer": 1.5}
    finish(folder, plan.cells[0], 0.8, 0.9, rounds_per_step=9.0, mb_sent_per_step=sent)
    rebuild(plan, folder, "amint-mpc study")
    row = table(folder)["entry-secure-s1"]
    keys = ("mode", "rounds_per_step", "mb_sent_developer", "mb_sent_auditor", "mb_dealer")
    assert [row[key] for key in keys] == ["secure", "9.0", "0.5", "0.25", "1.5"]


def test_nothing_has_run_yet(tmp_path: Path, folder: StudyFolder) -> None:
    plan = plan_of(tmp_path, grid={"model.taps": ["entry"]})
    results = rebuild(plan, folder, "amint-mpc study")
    assert results.counts == {"pending": 1}
    assert table(folder)["entry-s1"]["status"] == "pending"


def test_figures_are_drawn_twice_alike(tmp_path: Path, folder: StudyFolder) -> None:
    plan = two_seeds(tmp_path, folder)
    (svg,) = (path for path in rebuild(plan, folder, "a").files if path.suffix == ".svg")
    first = svg.read_bytes()
    assert first.startswith(b"<?xml")
    assert svg.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    rebuild(plan, folder, "a")
    assert svg.read_bytes() == first


def test_the_papers_table_is_whole() -> None:
    found = paper._table()
    assert len(found) == 4 * 6 * 3
    one, other = (
        paper.paper_value("mnist-5k", "densenet121", "entry"),
        paper.paper_value("mnist", "resnet101", "output"),
    )
    assert one == PaperValue(
        dataset="mnist-5k", backbone="densenet121", taps="entry", mint_accuracy_at_half=0.82, task_accuracy=0.99
    )
    assert other is not None
    assert (other.dataset, other.mint_accuracy_at_half, other.task_accuracy) == ("mnist", 0.77, 0.80)
    assert paper.paper_value("fashion-mnist", "vit", "entry") is None
    assert {dataset for dataset, _, _ in found} == set(paper.SIZES)


def test_cells_that_take_as_long_are_timed_once(tmp_path: Path) -> None:
    grid = {"model.taps": ["entry", "middle"], "training.mint_weight": [0.2, 1]}
    plan = plan_of(tmp_path, grid=grid, seeds=[1, 2], mode=["plaintext", "secure"], baselines=["task-alone"])
    timed = []
    found = expect(plan.cells, lambda cell: timed.append(cell.name) or 2.0, lambda *_: None)
    assert len(timed) == 2 * 2 + 1  # taps and mode; the baseline
    assert found == dict.fromkeys((cell.name for cell in plan.cells), 2.0)


def test_the_time_left_comes_from_cells_of_the_same_kind(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, grid={"model.taps": ["entry", "middle"]}, seeds=[1, 2], baselines=["task-alone"])
    pace = Pace(plan.cells, jobs=2)
    assert pace.left() is None
    pace.ended(plan.cells[0], 10.0)  # a baseline: the others count like it so far
    assert pace.left() == 5 * 10 / 2
    pace.ended(plan.cells[1], 30.0)
    assert pace.left() == (3 * 30 + 10) / 2
