"""Sealed epochs: a frozen classifier, a fresh head, and nothing opened to the developer."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from amint_mpc.amint.optimizers import plaintext_optimizer
from amint_mpc.amint.plaintext_head import PlaintextHead
from amint_mpc.amint.schedule import TrainStep, schedule
from amint_mpc.amint.trainer import Trainer
from amint_mpc.bench.estimate import estimate
from amint_mpc.bench.inprocess import parties
from amint_mpc.config import Experiment, load_experiment
from amint_mpc.data.split import load_split
from amint_mpc.errors import UsageError
from amint_mpc.evidence.verify import verify
from amint_mpc.models.head_weights import HeadWeights, init_head, seeded_normal
from amint_mpc.roles.heads import head_kind, secure_optimizer
from amint_mpc.roles.plans import targets
from amint_mpc.runlog.expected import ExpectedEntries
from tests.device import DEVICE
from tests.roles.memory_runs import Secure, secure_run

SEALED = [
    *("data.members=48", "data.external=48", "data.unseen=40", "training.batch=12", "training.epochs=2"),
    *("training.sealed_epochs=3", "training.evaluate_every=1", "head.learning_rate=0.03"),
]
OPTIMIZERS = ("sgd", "momentum", "novograd")


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    torch.set_num_threads(1)
    return load_experiment("smoke", SEALED)


@pytest.fixture(scope="module")
def first(experiment: Experiment) -> HeadWeights:
    return init_head(head_kind(experiment).inputs, experiment.head.hidden, seeded_normal(7))


@pytest.fixture(scope="module")
def secure(experiment: Experiment, first: HeadWeights, tmp_path_factory: pytest.TempPathFactory) -> Secure:
    return secure_run(experiment, tmp_path_factory.mktemp("sealed"), first.tensors(), logged=True)


def test_the_schedule_begins_again_with_a_fresh_head(experiment: Experiment) -> None:
    steps = [item for item in schedule(experiment) if isinstance(item, TrainStep)]
    assert [item.sealed for item in steps] == [False] * 8 + [True] * 12
    assert [item.number for item in steps] == [*range(8), *range(12)]
    assert [item.index for item in steps if item.fresh_head] == [8]
    final = schedule(experiment)[-1]
    assert final.epoch == experiment.last_epoch


def test_the_secure_run_is_its_twin(experiment: Experiment, first: HeadWeights, secure: Secure) -> None:
    def head() -> PlaintextHead:
        return PlaintextHead(first, plaintext_optimizer(experiment.head))

    twin = head()
    twin.fresh = head
    trainer = Trainer(experiment, load_split(experiment, None), twin, DEVICE)
    phases = [event.phase for event in trainer.run()]
    assert phases.count("sealed") == 12 + 3
    stored = load_file(secure.folders["auditor"] / "head.safetensors")
    for name, value in twin.weights.tensors().items():
        assert torch.allclose(stored[name], value, atol=2e-3), name
    scores = load_file(secure.folders["auditor"] / "scores.safetensors")
    for name, value in trainer.scores.items():
        assert torch.allclose(scores[name], value, atol=5e-3), name
    assert not torch.allclose(twin.weights.w1, first.w1, atol=1e-5), "the fresh head has learned"


def test_the_classifier_stays_what_it_was_before(experiment: Experiment, first: HeadWeights) -> None:
    found = []
    for sealed in (0, 3):
        training = experiment.training.model_copy(update={"sealed_epochs": sealed})
        changed = experiment.model_copy(update={"training": training})
        head = PlaintextHead(first, plaintext_optimizer(changed.head), lambda: PlaintextHead(first, 0.03))
        trainer = Trainer(changed, load_split(changed, None), head, DEVICE)
        for _ in trainer.run():
            pass
        found.append(trainer.backbone.weights())
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name]), name


def test_the_log_has_every_sealed_step(secure: Secure) -> None:
    found = verify(secure.folders["auditor"], ExpectedEntries)
    assert found.log.steps == 20


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_sealed_step_sends_the_developer_no_gradient(optimizer: str, experiment: Experiment) -> None:
    head = experiment.head.model_copy(update={"optimizer": optimizer})
    changed = experiment.model_copy(update={"head": head})
    kind, steps = head_kind(changed), secure_optimizer(changed)
    inputs, labels = kind.inputs, targets(6)
    x = torch.randn((12, inputs), generator=torch.Generator().manual_seed(1), dtype=torch.float64).clamp(-3, 3)
    opened: dict[bool, Any] = {}
    for open_gradient in (True, False):
        with parties(kind, steps) as three:
            sent = three.to_developer.stats.bytes_sent
            gradient = three.train(x, labels, open_gradient)
            opened[open_gradient] = (gradient, three.to_developer.stats.bytes_sent - sent)
    assert opened[True][0] is not None
    assert opened[False][0] is None
    assert opened[True][1] - opened[False][1] >= 12 * inputs * 4  # the auditor's part of it, int32


def test_a_sealed_step_changes_the_weights_as_an_open_one(experiment: Experiment) -> None:
    kind, steps = head_kind(experiment), secure_optimizer(experiment)
    labels = targets(6)
    x = torch.randn((12, kind.inputs), generator=torch.Generator().manual_seed(1), dtype=torch.float64).clamp(-3, 3)
    weights = kind.first_weights(seeded_normal(3))
    moved = []
    for open_gradient in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(kind), "first_weights", lambda *_: dict(weights))
            with parties(kind, steps) as three:
                for _ in range(5):
                    three.train(x, labels, open_gradient)
                moved.append(three.together(three.developer.open_weights, three.auditor.open_weights)[1])
    for name in weights:
        assert torch.allclose(moved[0][name], moved[1][name], atol=2e-3), name


def test_the_estimate_counts_sealed_steps(experiment: Experiment) -> None:
    found = estimate(experiment, repeats=1)
    assert found["steps"] == 20


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["training.patience=2"], "patience goes back to a head that sealed_epochs throws away"),
        (["head.features=8", "training.evaluate_every=0", "evidence.log=false"], "this program's own loop"),
    ],
)
def test_what_cannot_be_sealed_is_refused(settings: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_experiment("smoke", ["training.sealed_epochs=1", "training.evaluate_every=1", *settings])


def test_the_convolutional_head_is_sealed_as_well(tmp_path: Path) -> None:
    small = ("head.input=conv", "head.filters=1", "head.hidden=2", "model.width=1", "training.batch=12")
    sizes = ("data.members=48", "data.external=24", "data.unseen=16", "training.epochs=1", "training.sealed_epochs=1")
    experiment = load_experiment("smoke", [*small, *sizes])
    kind = head_kind(experiment)
    first = kind.first_weights(seeded_normal(3))
    run = secure_run(experiment, tmp_path, first)
    twin = kind.plaintext(first, experiment.head)
    twin.fresh = lambda: kind.plaintext(first, experiment.head)
    trainer = Trainer(experiment, load_split(experiment, None), twin, DEVICE)
    for _ in trainer.run():
        pass
    stored = load_file(run.folders["auditor"] / "head.safetensors")
    for name, value in twin.weights.tensors().items():
        assert torch.allclose(stored[name].double(), value.double(), atol=5e-3), name


def test_the_twins_fresh_head_is_another_one(tmp_path: Path) -> None:
    from amint_mpc.plaintext_run import _head

    experiment = load_experiment("smoke", SEALED)
    head = _head(experiment)
    before = head.weights.w1.clone()
    assert isinstance(head, PlaintextHead)
    head.restart()
    assert not torch.allclose(before, head.weights.w1)
