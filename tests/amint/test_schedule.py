"""The list that both parties walk."""

from __future__ import annotations

from amint_mpc.amint import SCORE_BATCH, ScoreSets, TrainStep, schedule
from amint_mpc.amint.schedule import score_batches
from amint_mpc.config import Experiment
from amint_mpc.data import SETS, set_counts


def settings(epochs: int, evaluate_every: int, warmup: int = 2) -> Experiment:
    return Experiment.model_validate(
        {
            "data": {"members": 21, "external": 30, "unseen": 11},
            "training": {
                "epochs": epochs,
                "warmup_epochs": warmup,
                "batch": 5,
                "evaluate_every": evaluate_every,
                "sealed_epochs": 0,
            },
        }
    )


def test_steps_are_numbered_and_warm_up_has_none() -> None:
    steps = [item for item in schedule(settings(3, 1)) if isinstance(item, TrainStep)]
    assert [step.index for step in steps] == list(range(12))
    assert [step.epoch for step in steps] == [3] * 4 + [4] * 4 + [5] * 4


def test_scoring_times() -> None:
    scored = [item for item in schedule(settings(6, 2)) if isinstance(item, ScoreSets)]
    assert [(item.epoch, item.final) for item in scored] == [(4, False), (6, False), (8, True)]
    assert scored[0].sets == (("members_calibration", 10), ("unseen_calibration", 5))
    assert dict(scored[-1].sets) == set_counts(settings(6, 2).data)
    assert tuple(name for name, _ in scored[-1].sets) == SETS


def test_report_halves_are_read_once_at_the_end() -> None:
    for every in (0, 1, 4):
        items = schedule(settings(5, every))
        reports = [at for at, item in enumerate(items) if isinstance(item, ScoreSets) and len(item.sets) == 5]
        assert reports == [len(items) - 1]


def test_never_means_only_at_the_end() -> None:
    assert sum(isinstance(item, ScoreSets) for item in schedule(settings(5, 0))) == 1


def test_score_batches_cover_a_set() -> None:
    assert score_batches(600) == [200, 200, 200]
    assert score_batches(601) == [201, 201, 201], "all of one size: the last two rows stand for no image"
    assert score_batches(SCORE_BATCH) == [SCORE_BATCH]
    assert score_batches(1) == [1]
