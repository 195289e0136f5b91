"""Sealed epochs: a frozen classifier, a fresh head, and nothing opened to the developer."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from amint_mpc.amint.optimizers import plaintext_optimizer
from amint_mpc.amint.plaintext_head import PlaintextHead
from amint_mpc.amint.schedule import ShareFeatures, TrainStep, schedule
from amint_mpc.amint.sealing import mixed_rows, rounded
from amint_mpc.amint.trainer import Trainer
from amint_mpc.bench.estimate import estimate
from amint_mpc.bench.inprocess import parties
from amint_mpc.config import Experiment, load_experiment
from amint_mpc.data.split import load_split
from amint_mpc.events import StepEvent
from amint_mpc.evidence.files import LOG
from amint_mpc.evidence.log import read
from amint_mpc.evidence.verify import verify
from amint_mpc.limits import PARTS
from amint_mpc.models.head_weights import HeadWeights, init_head, seeded_normal
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.roles.heads import head_kind, secure_optimizer
from amint_mpc.roles.plans import targets
from amint_mpc.runlog.expected import ExpectedEntries
from tests.device import DEVICE
from tests.mpc.views import p_value
from tests.roles.memory_runs import Secure, secure_run

SEALED = [
    "security.correlations=dealer",
    *("data.members=48", "data.external=48", "data.unseen=40", "training.batch=12", "training.epochs=2"),
    *(
        "training.sealed_epochs=3",
        "training.sealed_batch=12",
        "training.sealed_learning_rate=0.03",
        "training.evaluate_every=1",
        "head.learning_rate=0.03",
    ),
    "security.checked_blocks=0",  # a twin has no blocks, and takes all rows
]
LONG = ["training.epochs=12", "training.warmup_epochs=0"]
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
    items = schedule(experiment)
    steps = [item for item in items if isinstance(item, TrainStep)]
    assert [item.sealed for item in steps] == [False] * 8 + [True] * 12
    assert [item.number for item in steps] == [*range(8), *range(12)]
    assert [item.epoch for item in steps if item.sealed] == [4] * 4 + [5] * 4 + [6] * 4
    shared = [number for number, item in enumerate(items) if isinstance(item, ShareFeatures)]
    assert [items[number + 1] for number in shared] == [steps[8]]
    assert items[-1].epoch == experiment.last_epoch


def test_the_secure_run_is_its_twin(experiment: Experiment, first: HeadWeights, secure: Secure) -> None:
    def head() -> PlaintextHead:
        return PlaintextHead(first, plaintext_optimizer(experiment.head))

    twin = head()
    twin.fresh = head
    trainer = Trainer(experiment, load_split(experiment, None), twin, DEVICE)
    phases = [event.phase for event in trainer.run()]
    assert phases.count("sealed") == 12 + 3, "steps and epochs"
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


def test_the_log_has_the_sealed_phase_as_one_entry(secure: Secure) -> None:
    found = verify(secure.folders["auditor"], ExpectedEntries)
    assert found.log.steps == 20
    kinds = [entry.kind for entry in read(secure.folders["auditor"] / LOG)]
    assert (kinds.count("step"), kinds.count("sealed"), kinds.count("dealt")) == (8, 1, 1)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_sealed_step_sends_the_developer_no_gradient_and_the_auditor_no_features(
    optimizer: str, experiment: Experiment
) -> None:
    """What each sends in a sealed step is what is sent in a joint one, less the gradient and the features."""
    head = experiment.head.model_copy(update={"optimizer": optimizer})
    changed = experiment.model_copy(update={"head": head})
    kind, steps, rows = head_kind(changed), secure_optimizer(changed), mixed_rows(changed, 0)
    labels, sent = targets(rows.batch), []
    x = torch.randn((96, kind.inputs), generator=torch.Generator().manual_seed(1), dtype=torch.float64).clamp(-3, 3)
    with parties(kind, steps) as three:
        links = three.to_auditor.stats, three.to_developer.stats
        three.share_features(rounded(x))
        for step in (lambda: three.train_on_shared(rows, labels, steps), lambda: three.train(x[: rows.rows], labels)):
            before = [link.bytes_sent for link in links]
            step()
            sent.append([link.bytes_sent - earlier for link, earlier in zip(links, before, strict=True)])
    sealed, joint = sent
    headers = 64
    assert 0 <= joint[DEVELOPER] - sealed[DEVELOPER] - rows.rows * (kind.inputs + 1) * 8 <= headers
    assert 0 <= joint[AUDITOR] - sealed[AUDITOR] - rows.rows * kind.inputs * 4 <= headers


def test_the_table_is_opened_once_under_its_mask(experiment: Experiment) -> None:
    """All that the auditor has of the features, in all steps, is X - A, uniform; all combinations follow from it."""
    kind, steps = head_kind(experiment), secure_optimizer(experiment)
    x, seen = torch.ones(96, kind.inputs, dtype=torch.float64), []
    with parties(kind, steps) as three:
        three.share_features(x)
        for number in range(3):
            rows = mixed_rows(experiment, number)
            three.train_on_shared(rows, targets(rows.batch), steps)
            seen.append(three.auditor._table)  # type: ignore[attr-defined]
        here = three.developer._table  # type: ignore[attr-defined]
    assert all(torch.equal(each, seen[0]) for each in seen)
    assert torch.equal(here[0], here[1]), "the same features"
    assert not torch.equal(seen[0][0], seen[0][1]), "under masks of their own"
    assert p_value(seen[0], 64) > 1e-6


def test_a_sealed_step_changes_the_weights_as_an_open_one(experiment: Experiment) -> None:
    kind, steps = head_kind(experiment), secure_optimizer(experiment)
    rows = [mixed_rows(experiment, number) for number in range(5)]
    x = torch.randn((96, kind.inputs), generator=torch.Generator().manual_seed(1), dtype=torch.float64).clamp(-3, 3)
    x, labels, weights = rounded(x), targets(rows[0].batch), kind.first_weights(seeded_normal(3))
    moved = []
    for sealed in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(kind), "first_weights", lambda *_: dict(weights))
            with parties(kind, steps) as three:
                if sealed:
                    three.share_features(x)
                for each in rows:
                    three.train_on_shared(each, labels, steps) if sealed else three.train(each(x) / PARTS, labels)
                moved.append(three.together(three.developer.open_weights, three.auditor.open_weights)[1])
    for name in weights:
        assert torch.allclose(moved[0][name], moved[1][name], atol=2e-3), name


def test_the_estimate_counts_sealed_steps(experiment: Experiment) -> None:
    found = estimate(experiment, repeats=1)
    assert found["steps"] == 20


def test_a_run_that_stops_early_seals_its_best_classifier(tmp_path: Path, first: HeadWeights) -> None:
    experiment = load_experiment("smoke", [*SEALED, "training.patience=1", "training.learning_rate=1e-6", *LONG])
    run = secure_run(experiment, tmp_path, first.tensors(), logged=True)
    assert run.summaries["auditor"].stopped_epoch is not None
    for role in ("developer", "auditor"):
        phases = [event.phase for event in run.events[role] if isinstance(event, StepEvent)]
        assert phases.count("sealed") == experiment.sealed_steps
        assert verify(run.folders[role], ExpectedEntries).log.stopped == run.summaries["auditor"].stopped_epoch


def test_a_loop_of_ones_own_is_sealed_when_its_sets_are_scored(tmp_path: Path) -> None:
    settings = ["head.features=8", "training.evaluate_every=0", "evidence.log=false", "training.warmup_epochs=0"]
    experiment = load_experiment("smoke", [*SEALED, *settings])
    assert (experiment.sealed_steps, experiment.training.epochs * experiment.steps_per_epoch) == (12, 8)


def test_the_convolutional_head_is_sealed_as_well(tmp_path: Path) -> None:
    small = (
        "security.correlations=dealer",
        "head.input=conv",
        "head.filters=1",
        "head.hidden=2",
        "model.width=1",
        "training.batch=12",
    )
    sizes = (
        "data.members=48",
        "data.external=24",
        "data.unseen=16",
        "training.epochs=1",
        "training.sealed_epochs=1",
        "security.checked_blocks=0",
    )
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
    head.seal(torch.zeros(4, 96))
    assert not torch.allclose(before, head.weights.w1)
