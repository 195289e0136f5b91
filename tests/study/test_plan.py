"""What a study file asks for: every cell an experiment, baselines shared only where they would run the same."""

from pathlib import Path

import pytest
import torch

from amint_mpc.config import Data, Experiment, list_studies, load_experiment
from amint_mpc.data.registry import dataset
from amint_mpc.errors import UsageError
from amint_mpc.models import BACKBONES, build_classifier
from amint_mpc.study.baselines import shared_baseline
from amint_mpc.study.check import check
from amint_mpc.study.plan import load_study, make_plan
from tests.study.studies import plan_of

WIDTHS = [
    {"name": "narrow", "set": {"model.backbone": "resnet-mini", "model.width": 4}},
    {"name": "wide", "set": {"model.backbone": "resnet-mini", "model.width": 8}},
]


def test_a_grid_is_every_combination_seed_after_seed(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, grid={"backbone": WIDTHS, "model.taps": ["entry", "middle"]}, seeds=[1, 7])
    assert [cell.name for cell in plan.cells] == [
        *("narrow-entry-s1", "narrow-middle-s1", "wide-entry-s1", "wide-middle-s1"),
        *("narrow-entry-s7", "narrow-middle-s7", "wide-entry-s7", "wide-middle-s7"),
    ]
    last = plan.cells[-1].experiment
    assert (last.model.width, last.model.taps, last.seed, last.training.batch) == (8, "middle", 7, 32)
    assert last.name == plan.cells[-1].variant == "wide-middle"


def test_numbers_take_the_name_of_their_key(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, grid={"training.mint_weight": [0.2, 1]})
    assert [cell.variant for cell in plan.cells] == ["mint-weight-0-2", "mint-weight-1"]


def test_a_secure_cell_and_its_twin_are_one_experiment(tmp_path: Path) -> None:
    twin, secure = plan_of(tmp_path, grid={"model.taps": ["entry"]}, mode=["plaintext", "secure"]).cells
    assert (twin.name, secure.name) == ("entry-s1", "entry-secure-s1")
    assert twin.experiment.digest() == secure.experiment.digest()


def test_a_base_is_a_name_a_file_beside_the_study_or_written_out(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("model: {width: 5}\n")
    grid = {"model.taps": ["entry"]}
    for base, width in (("smoke", 8), ("own.yaml", 5), ({"model": {"width": 6}}, 6)):
        assert plan_of(tmp_path, base=base, grid=grid).cells[0].experiment.model.width == width


def test_baselines_are_run_once_for_all_that_share_them(tmp_path: Path) -> None:
    grid = {"backbone": WIDTHS, "model.taps": ["entry", "middle", "output"], "head.input": ["pooled", "maps"]}
    plan = plan_of(tmp_path, grid=grid, seeds=[1, 2], baselines=["task-alone", "task-with-distillation"])
    shared = [cell for cell in plan.cells if cell.baseline]
    assert len(plan.cells) == 2 * 3 * 2 * 2 + len(shared)
    assert len(shared) == 2 * 2 * 2  # width, seed, kind
    for cell in plan.cells:
        if not cell.baseline:
            for kind in ("task-alone", "task-with-distillation"):
                baseline = next(each for each in shared if each.name == plan.baseline_of[cell.name, kind])
                assert baseline.experiment.model.width == cell.experiment.model.width
                assert baseline.experiment.seed == cell.experiment.seed
                assert plan.cells.index(baseline) < plan.cells.index(cell)
    methods = {cell.variant: cell.experiment.method for cell in shared}
    assert methods == {"task-alone": "task", "task-with-distillation": "task-kd"}


@pytest.mark.parametrize(
    "change", ["data.external=17", "data.members=17", "training.epochs=3", "model.width=4", "seed=2"]
)
def test_a_baseline_that_would_train_otherwise_is_not_shared(change: str) -> None:
    one, other = (shared_baseline(load_experiment("smoke", changes), "task-alone") for changes in ([], [change]))
    assert one[0] != other[0]
    assert one[1].digest() != other[1].digest()


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_taps_say_where_a_backbone_is_cut_and_nothing_else(name: str) -> None:
    """Why taps may share a baseline: same first weights, same logits, same gradients."""
    size = "small" if "small" in BACKBONES[name].widths else "full"
    shape, found = dataset(Data()).shape, []
    images = torch.rand(4, *shape, generator=torch.Generator().manual_seed(1))
    for taps in ("entry", "middle", "output"):
        experiment = Experiment.model_validate({"model": {"backbone": name, "size": size, "taps": taps}})
        model = build_classifier(experiment, shape, 10)
        torch.manual_seed(1)  # for what drops units at random
        logits = model.logits(images)
        logits.square().sum().backward()
        found.append([logits, *(weight.grad for weight in model.parameters())])
    for other in found[1:]:
        assert len(other) == len(found[0])
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize(
    ("settings", "message", "hint"),
    [
        ({"grid": {"model.tabs": ["entry"]}}, "entry: model.tabs is not a known key", "Did you mean model.taps?"),
        ({"grid": {"model.taps": ["entry", "late"]}}, 'late: model.taps: "late" is none of', ""),
        ({"grid": {"training.batch": [8, 4000, 5000]}}, "batch-4000, batch-5000: training.batch must not", ""),
        ({"grid": {"model.taps": ["entry"]}, "seeds": [1, 1]}, "1 stands twice", ""),
        ({"grid": {"model.taps": ["entry", "entry"]}}, "entry stands twice", ""),
        ({"grid": {"model.taps": "entry"}}, "should be a list", ""),
        ({"grid": {"model.taps": []}}, "should be a list", ""),
        ({"grid": {}}, "grid", ""),
        ({"grid": {"seed": [1, 2]}}, "seed cannot be set here", ""),
        ({"grid": {"a": [{"name": "x", "set": {"name": "y"}}]}}, "name cannot be set here", ""),
        ({"grid": {"a": [{"name": "X/..", "set": {}}]}}, "grid.a.0.name", ""),
        ({"grid": {"a": [{"name": "x"}]}}, "grid.a.0.set is missing", ""),
        ({"grid": {"model.taps": ["entry"]}, "set": {"seed.x": 1}}, "seed.x cannot be set here", ""),
        ({"grid": {"model.taps": ["entry"]}, "mode": "secret"}, "plaintext or secure", ""),
        ({"grid": {"model.taps": ["entry"]}, "baselines": ["none"]}, "task-alone or task-with-distillation", ""),
        ({"grid": {"model.taps": ["entry"]}, "seed": [1]}, "seed is not a known key", "Did you mean seeds?"),
        ({"grid": {"model.taps": ["entry"]}, "base": "nope"}, 'no experiment "nope"', "quickstart"),
        (
            {
                "grid": {"model.taps": ["entry"]},
                "set": {"head.features": 3, "training.evaluate_every": 0, "evidence.log": False},
            },
            "a training loop of your own",
            "",
        ),
        ({"grid": {"head.hidden": list(range(1, 200)), "training.epochs": list(range(1, 200))}}, "39601 runs", ""),
        (
            {"grid": {"model.taps": ["entry"]}, "set": {"security.correlations": "insecure-embedded-dealer"}},
            "without security",
            "",
        ),
    ],
)
def test_a_wrong_study_is_said_in_words(tmp_path: Path, settings: dict, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan_of(tmp_path, **settings)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_all_that_cannot_run_is_told_at_once(tmp_path: Path) -> None:
    grid = {"model.backbone": ["resnet-mini", "nope"], "data.dataset": ["mnist-5k", "nil"], "data.unseen": [64, 5000]}
    plan = plan_of(tmp_path, grid=grid)
    with pytest.raises(UsageError) as caught:
        check(plan, None)
    assert "nope-mnist-5k-unseen-64, nope-mnist-5k-unseen-5000: there is no backbone 'nope'" in caught.value.message
    assert "there is no dataset 'nil'" in caught.value.message
    assert "resnet-mini-mnist-5k-unseen-5000: mnist-5k has 5000 images" in caught.value.message


@pytest.mark.parametrize("name", list_studies())
def test_each_study_that_comes_with_the_program_can_run(name: str) -> None:
    study, path = load_study(name)
    check(make_plan(study, path.parent), None, images=False)
