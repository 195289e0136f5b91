"""Patience, and the way back to the best evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc import plaintext_run
from amint_mpc.amint import Trainer, schedule
from amint_mpc.amint.metrics import calibrated_accuracy
from amint_mpc.amint.stopping import Patience, Rewind, Stopping, told
from amint_mpc.config import Experiment
from amint_mpc.data import SETS
from amint_mpc.errors import UsageError
from amint_mpc.events import EpochEvent, StepEvent
from amint_mpc.results import Outcome
from tests.amint.test_trainer import Watched, pictures, same, settings
from tests.device import DEVICE


@pytest.mark.parametrize(
    ("patience", "figures", "ends_at"),
    [
        (1, [0.5, 0.6, 0.6], 2),
        (2, [0.5, 0.6, 0.6, 0.59], 3),
        (2, [0.9, 0.5, 0.95, 0.1, 0.94], 4),
        (3, [0.5, 0.4, 0.4, 0.4], 3),
        (2, [0.1, 0.2, 0.3, 0.4], None),
    ],
)
def test_it_ends_after_so_many_that_were_no_better(patience: int, figures: list[float], ends_at: int | None) -> None:
    """And the state that comes back is that of the best one, the first of equals."""
    waiting, states = Patience(patience), iter(range(99))
    back: list[int] = []
    rewind = Rewind(patience, lambda: next(states), back.append)
    ends = []
    for figure in figures:
        rewind.keep()
        ends.append(waiting.ends(figure))
    assert ends == [at == ends_at for at in range(len(figures))]
    if ends_at is not None:
        rewind.go_back()
        assert back == [figures.index(max(figures))]


def test_the_figure_is_the_best_balanced_accuracy_on_calibration_images_alone() -> None:
    scores = {"members_calibration": torch.tensor([0.2, 0.6, 0.9]), "unseen_calibration": torch.tensor([0.1, 0.5])}
    assert calibrated_accuracy(scores) == pytest.approx((2 / 3 + 1) / 2)
    assert calibrated_accuracy({name: values / 10 for name, values in scores.items()}) == pytest.approx(5 / 6)


class Scripted(Watched):
    """A head whose evaluations come out as written; `at` keeps its weights of each."""

    def __init__(self, experiment: Experiment, figures: list[float]) -> None:
        super().__init__(experiment)
        self.figures, self.at = figures, []
        self.patience = Patience(experiment.training.patience)

    def stopper(self, patience: int) -> Stopping[Any]:
        def decide(scores: Mapping[str, Tensor], figures: dict[str, float]) -> bool:
            assert set(scores) == {"members_calibration", "unseen_calibration"}
            self.at.append(self.weights)
            return self.patience.ends(self.figures[len(self.at) - 1])

        return Stopping(decide, Rewind(patience, lambda: self.weights, lambda old: setattr(self, "weights", old)))


def walked(experiment: Experiment, figures: list[float]) -> tuple[Trainer, Scripted, list[Any]]:
    head = Scripted(experiment, figures)
    stopper = head.stopper(experiment.training.patience)
    trainer = Trainer(experiment, pictures(experiment), head, DEVICE, stopper=stopper)
    return trainer, head, list(trainer.run())


def test_classifier_and_head_go_back_to_the_best_evaluation() -> None:
    experiment = settings(epochs=9, evaluate_every=2, patience=2, precision="float32")
    trainer, head, events = walked(experiment, [0.6, 0.8, 0.7, 0.8])
    best = settings(epochs=4, evaluate_every=0)  # the same training, ended there: warm-up, then four epochs
    shorter = Trainer(best, pictures(best), other := Watched(best), DEVICE)
    list(shorter.run())
    assert same(trainer, shorter)
    assert torch.equal(head.weights.w1, other.weights.w1)
    assert head.weights is head.at[1]
    assert all(torch.equal(trainer.scores[name], shorter.scores[name]) for name in SETS)
    assert trainer.stopped == 9
    assert told(experiment, trainer.stopped) == Outcome(stopped_epoch=9, best_epoch=5)
    ends = [(event.epoch, event.phase) for event in events if isinstance(event, EpochEvent)][-2:]
    assert ends == [(9, "joint"), (9, "score")]
    assert sum(isinstance(event, StepEvent) and event.phase == "joint" for event in events) == 8 * 2


def test_a_run_that_reaches_its_end_keeps_its_last_weights() -> None:
    experiment = settings(epochs=4, patience=2)
    trainer, head, _ = walked(experiment, [0.9, 0.5, 0.95])  # the last epoch has the final scoring alone
    plain = settings(epochs=4, patience=0)
    other = Trainer(plain, pictures(plain), Watched(plain), DEVICE)
    list(other.run())
    assert trainer.stopped is None
    assert told(experiment, None) == Outcome()
    assert same(trainer, other)
    assert len(head.at) == 3


def test_without_patience_nothing_asks_to_stop() -> None:
    trainer, head, _ = walked(settings(epochs=4), [0.9, 0.5, 0.5, 0.5])
    assert trainer.stopped is None
    assert head.at == []


def test_patience_leaves_the_schedule_as_it_is() -> None:
    assert schedule(settings(epochs=6)) == schedule(settings(epochs=6, patience=2))


def test_patience_without_evaluations_is_refused() -> None:
    with pytest.raises(ValueError, match="patience counts evaluations"):
        settings(evaluate_every=0, patience=1)


def test_the_twin_stops_by_its_scores_and_says_so(tmp_path: Any) -> None:
    from amint_mpc.config import Party, load_experiment
    from amint_mpc.runfolder import RunFolder

    overrides = ["training.epochs=30", "training.patience=2", "training.learning_rate=1e-5", "training.warmup_epochs=0"]
    experiment = load_experiment("smoke", overrides)
    told_to: list[Any] = []
    with RunFolder.create(tmp_path, experiment, "twin", "twin") as folder:
        summary = plaintext_run.run(experiment, Party(role="developer", device=DEVICE), folder, told_to.append)
    figures = {
        event.epoch: event.figures["mint_accuracy_calibrated"]
        for event in told_to
        if isinstance(event, EpochEvent) and event.phase == "joint"
    }
    assert summary.stopped_epoch == max(figures) < 30
    assert figures[summary.best_epoch] == max(figures.values())
    assert summary.best_epoch == summary.stopped_epoch - 2
    assert summary.steps == 4 * summary.stopped_epoch
    baselines = plaintext_run.baselines(experiment)
    assert {each.training.patience for each in baselines.values()} == {0}
    with pytest.raises(UsageError):
        load_experiment("smoke", ["training.patience=-1"])
