"""Loops that are not ours, with a plaintext head: what autograd does with the membership loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import TensorDataset

from amint_mpc.amint.audit import Audit
from amint_mpc.amint.batches import Batch
from amint_mpc.amint.objective import MINT_START
from amint_mpc.amint.plaintext_head import PlaintextHead
from amint_mpc.amint.seat import Seat, Unwatched
from amint_mpc.config import Experiment
from amint_mpc.data.split import SETS
from amint_mpc.errors import ProtocolError, UsageError
from amint_mpc.events import EpochEvent, StepEvent
from amint_mpc.models import Features, init_head, seeded_normal

FEATURES = 2 * (6 + 8)


def agreed(features: int = FEATURES, **training: Any) -> Experiment:
    values = {"sealed_epochs": 0, "epochs": 2, "warmup_epochs": 0, "batch": 8, "evaluate_every": 0} | training
    return Experiment.model_validate(
        {
            "data": {"members": 24, "external": 32, "unseen": 12},
            "head": {"features": features, "hidden": 8, "learning_rate": 0.1},
            "training": values,
            "evidence": {"log": False},
        }
    )


class Net(nn.Module):
    """8x8 images -> logits; two stages to be tapped."""

    def __init__(self, checkpointed: bool = False, reentrant: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(6, 8, 3, stride=2), nn.ReLU())
        self.third = nn.Sequential(nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
        self._checkpointed, self._reentrant = checkpointed, reentrant

    def stages(self, images: Tensor) -> Tensor:
        found: Tensor = self.second(self.first(images))
        return found

    def forward(self, images: Tensor) -> Tensor:
        if self._checkpointed:
            images = images.requires_grad_(self._reentrant)
            maps = checkpoint(self.stages, images, use_reentrant=self._reentrant)
        else:
            maps = self.stages(images)
        logits: Tensor = self.third(maps)
        return logits


class Head(PlaintextHead):
    """Counts its steps, and keeps what it told."""

    def __init__(self) -> None:
        super().__init__(init_head(FEATURES, 8, seeded_normal(7)), 0.1)
        self.seen: list[Tensor] = []
        self.gradients: list[Tensor] = []

    def step(self, features: Tensor, members: int) -> Tensor:
        self.seen.append(features.clone())
        self.gradients.append(super().step(features, members))
        return self.gradients[-1]


class Kept(Unwatched):
    def __init__(self) -> None:
        self.events: list[StepEvent | EpochEvent] = []

    def tell(self, event: StepEvent | EpochEvent) -> None:
        self.events.append(event)


def sets(experiment: Experiment) -> list[TensorDataset]:
    random = torch.Generator().manual_seed(3)
    data = experiment.data
    return [
        TensorDataset(
            (torch.rand(count, 1, 8, 8, generator=random) * 255).to(torch.uint8),
            torch.randint(3, (count,), generator=random),
        )
        for count in (data.members, data.external, data.unseen)
    ]


def audited(
    net: nn.Module, head: Any, experiment: Experiment | None = None, names: tuple[str, ...] = ("first", "second")
) -> tuple[Audit, Any]:
    experiment = experiment or agreed()
    audit = Audit(experiment, lambda _: Seat(head, Kept()))
    audit.tap(net, *names)
    return audit, audit.loader(*sets(experiment))


def direct(net: Net, batch: Batch, gradient: Tensor) -> list[Tensor]:
    """Gradients with the head's gradient put into one graph by hand, at the place where the taps are."""
    features = Features("pooled", FEATURES)
    first = net.first(batch.images)
    second = net.second(first)
    found = features((first, second))
    loss = F.cross_entropy(net.third(second)[batch.members], batch.labels)
    torch.autograd.backward([loss, found], [None, gradient * (1 / MINT_START)])
    return grads(net)


def grads(net: nn.Module) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in net.parameters() if parameter.grad is not None]


def one_step(
    net: Net, run: Callable[[Tensor], Tensor] | None = None, **around: Any
) -> tuple[list[Tensor], Batch, Head]:
    head = Head()
    audit, loader = audited(net, head)
    batch = next(iter(loader))
    with around.get("context", nullcontext()):
        logits = (net if run is None else run)(batch.images)
    loss = F.cross_entropy(logits.float()[batch.members], batch.labels) + audit.loss()
    around.get("backward", lambda value: value.backward())(loss)
    audit.close_step()
    return grads(net), batch, head


@pytest.mark.parametrize("checkpointed", [False, True])
def test_gradients_are_those_of_one_graph_bit_for_bit(checkpointed: bool) -> None:
    found, batch, head = one_step(Net(checkpointed))
    wanted = direct(Net(), batch, head.gradients[0])
    assert len(head.seen) == 1, "a forward pass that a checkpoint does again takes no step"
    assert len(found) == len(wanted) == 10
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


def test_a_checkpoint_counts_a_batch_once_in_the_running_statistics() -> None:
    means = []
    for checkpointed in (False, True):
        net = Net(checkpointed)
        audit, loader = audited(net, Head())
        batch = next(iter(loader))
        (F.cross_entropy(net(batch.images)[batch.members], batch.labels) + audit.loss()).backward()
        means.append({name: value for name, value in audit.weights().items() if name.startswith("features.")})
    assert int(means[0]["features.standardise.num_batches_tracked"]) == 1
    assert all(torch.equal(means[0][name], means[1][name]) for name in means[0])


def test_a_checkpoint_that_reenters_is_refused() -> None:
    net = Net(True, reentrant=True)
    audit, loader = audited(net, Head())
    batch = next(iter(loader))
    net(batch.images)
    with pytest.raises(UsageError, match="no graph") as error:
        audit.loss()
    assert "use_reentrant=False" in error.value.hint


@pytest.mark.filterwarnings("ignore")
def test_under_compile() -> None:
    net = Net()
    found, batch, head = one_step(net, torch.compile(net, backend="aot_eager"))
    wanted = direct(Net(), batch, head.gradients[0])
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_compiled_model_is_tapped_by_the_models_own_names() -> None:
    compiled = torch.compile(Net(), backend="aot_eager")
    audit, _ = audited(compiled, Head())
    assert "backbone.first.0.weight" in audit.weights()


def test_under_autocast_features_are_float32() -> None:
    found, batch, head = one_step(Net(), context=torch.autocast("cpu", torch.bfloat16))
    assert head.seen[0].dtype == torch.float32
    wanted = direct(Net(), batch, head.gradients[0])
    one, other = (torch.cat([each.flatten() for each in many]) for many in (found, wanted))
    assert F.cosine_similarity(one, other, dim=0) > 0.99


def test_a_scaler_scales_both_losses() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    found, batch, head = one_step(Net(), backward=lambda loss: scaler.scale(loss).backward())
    wanted = direct(Net(), batch, head.gradients[0])
    assert all(torch.equal(one, other * 2**10) for one, other in zip(found, wanted, strict=True))


def test_accumulated_gradients_add_up() -> None:
    net, head = Net(), Head()
    audit, loader = audited(net, head)
    batches = []
    for batch in loader:
        ((F.cross_entropy(net(batch.images)[batch.members], batch.labels) + audit.loss()) / 4).backward()
        batches.append(batch)
    other, wanted = Net(), []
    for batch, gradient in zip(batches, head.gradients, strict=True):
        direct(other, batch, gradient)
        wanted = grads(other)
    assert len(batches) == 3
    for one, two in zip(grads(net), wanted, strict=True):
        torch.testing.assert_close(one * 4, two, rtol=1e-4, atol=1e-6)


def test_maps_that_a_loop_gives_itself() -> None:
    class Both(Net):
        def forward(self, images: Tensor) -> Any:
            first = self.first(images)
            second = self.second(first)
            return self.third(second), (first, second)

    head, net = Head(), Both()
    audit, loader = audited(net, head, names=())
    batch = next(iter(loader))
    logits, maps = net(batch.images)
    (F.cross_entropy(logits[batch.members], batch.labels) + audit.loss(maps)).backward()
    wanted = direct(Net(), batch, head.gradients[0])
    for one, other in zip(grads(net), wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_the_head_works_while_the_task_goes_back() -> None:
    """Its step ends only once the last layer has its gradient: a backward that waited earlier would never end."""
    import threading

    net, there = Net(), threading.Event()

    class Patient(Head):
        def step(self, features: Tensor, members: int) -> Tensor:
            assert there.wait(20)
            return super().step(features, members)

    net.third[-1].weight.register_hook(lambda _: there.set())
    audit, loader = audited(net, Patient())
    batch = next(iter(loader))
    (F.cross_entropy(net(batch.images)[batch.members], batch.labels) + audit.loss()).backward()
    assert there.is_set()


def trained(net: nn.Module, audit: Audit, loader: Any) -> Iterator[Batch]:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    audit.keep(optimizer)
    for _ in range(audit.epochs):
        for batch in loader:
            loss = F.cross_entropy(net(batch.images)[batch.members], batch.labels) + audit.loss()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield batch


@pytest.mark.parametrize("workers", [0, 2])
def test_a_whole_training_follows_the_schedule(workers: int) -> None:
    experiment = agreed(warmup_epochs=1, evaluate_every=1, sealed_epochs=1, distillation=0.5)
    head, net = Head(), Net()
    head.fresh = Head
    watch = Kept()
    audit = Audit(experiment, lambda _: Seat(head, watch))
    audit.tap(net, "first", "second")
    loader = audit.loader(*sets(experiment), num_workers=workers)
    assert len(loader) == 3
    batches = list(trained(net, audit, loader))
    assert [batch.phase for batch in batches] == ["warm-up"] * 3 + ["joint"] * 6
    assert len(batches[0].images) == 8
    assert batches[0].soft_labels is None
    assert len(batches[3].images) == 16
    assert batches[3].soft_labels is not None
    assert net.training
    audit.finish()
    assert set(audit.scores) == set(SETS)
    steps = [event for event in watch.events if isinstance(event, StepEvent)]
    assert [(event.step, event.steps) for event in steps[3:]] == [(n, 7) for n in range(1, 8)]
    epochs = [event for event in watch.events if isinstance(event, EpochEvent)]
    assert [(event.epoch, event.phase) for event in epochs] == [
        (1, "warm-up"),
        (2, "joint"),
        (3, "joint"),
        (4, "sealed"),
    ]
    assert "mint_auc" in epochs[1].figures
    assert not list(loader), "nothing is left"


def test_evaluation_leaves_modes_as_they_were() -> None:
    experiment, net = agreed(evaluate_every=1), Net()
    net.first.eval()
    audit, loader = audited(net, Head(), experiment)
    list(trained(net, audit, loader))
    assert not net.first.training
    assert net.third.training


class Bad:
    """Loops that do not do what they should: each ends with one message."""

    @staticmethod
    def start(net: nn.Module | None = None, **training: Any) -> tuple[nn.Module, Audit, Any]:
        net = net or Net()
        audit, loader = audited(net, Head(), agreed(**training))
        return net, audit, loader


def test_a_module_that_does_not_exist() -> None:
    with pytest.raises(UsageError, match="no module 'frist'") as error:
        audited(Net(), Head(), names=("frist", "second"))
    assert "first" in error.value.hint


@pytest.mark.parametrize(
    ("model", "names", "features", "message"),
    [
        (Net(), ("first", "second"), 30, "the tapped maps give 28 features, the experiment has 30"),
        (nn.Sequential(Net(), nn.Unflatten(1, (3, 1))), ("0.first", "0.second"), FEATURES, "no class logits"),
        (nn.ModuleDict({"net": Net(), "idle": nn.Linear(2, 2)}), ("net.first", "idle"), FEATURES, "come by idle"),
    ],
)
def test_what_does_not_fit_is_said_before_anybody_is_asked(
    model: nn.Module, names: tuple[str, ...], features: int, message: str
) -> None:
    def asked(_: Any) -> Seat:
        raise AssertionError

    audit = Audit(agreed(features), asked)
    audit.tap(model, *names, forward=model["net"] if isinstance(model, nn.ModuleDict) else None)
    with pytest.raises(UsageError, match=message):
        audit.loader(*sets(agreed()))


def test_a_step_without_its_loss() -> None:
    net, _, loader = Bad.start()
    steps = iter(loader)
    net(next(steps).images).sum().backward()
    with pytest.raises(UsageError, match=r"without audit.loss"):
        next(steps)


def test_a_loss_without_backward() -> None:
    net, audit, loader = Bad.start()
    steps = iter(loader)
    net(next(steps).images)
    audit.loss()
    with pytest.raises(UsageError, match="no backward pass"):
        next(steps)


def test_a_loss_that_is_taken_twice() -> None:
    net, audit, loader = Bad.start()
    net(next(iter(loader)).images)
    audit.loss()
    with pytest.raises(UsageError, match="twice"):
        audit.loss()


def test_a_batch_that_is_passed_through_twice() -> None:
    net, _, loader = Bad.start()
    batch = next(iter(loader))
    net(batch.images)
    with pytest.raises(UsageError, match="run twice"):
        net(batch.images)


def test_half_a_batch() -> None:
    net, _, loader = Bad.start()
    batch = next(iter(loader))
    with pytest.raises(UsageError, match="the batch has 16 images"):
        net(batch.images[batch.members])


def test_eval_mode_takes_no_step() -> None:
    net, audit, loader = Bad.start()
    net.eval()
    batch = next(iter(loader))
    net(batch.images)
    with pytest.raises(UsageError, match="no graph"):
        audit.loss()


def test_a_loss_without_a_batch() -> None:
    _, audit, _ = Bad.start()
    with pytest.raises(UsageError, match=r"without a batch of audit.loader"):
        audit.loss()


@pytest.mark.parametrize("taken", [0, 1, 3, 4])
def test_a_loop_that_ends_early(taken: int) -> None:
    net, audit, loader = Bad.start()
    steps = trained(net, audit, loader)
    for _ in range(taken):
        next(steps)
    steps.close()
    with pytest.raises(UsageError, match=f"ended after {max(0, taken - 1)} of 6 steps"):
        audit.finish()


def test_there_is_one_loader_and_one_end() -> None:
    net, audit, loader = Bad.start()
    with pytest.raises(UsageError, match="the loader exists already"):
        audit.loader(*sets(agreed()))
    list(trained(net, audit, loader))
    audit.finish()
    with pytest.raises(UsageError, match="called before"):
        audit.finish()


def test_an_epoch_that_is_left() -> None:
    net, audit, loader = Bad.start()
    for batch in loader:
        (net(batch.images).sum() + audit.loss()).backward()
        break
    with pytest.raises(UsageError, match="of 6 steps"):
        next(iter(loader))


class Odd(Net):
    def __init__(self, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.change = change

    def forward(self, images: Tensor) -> Any:
        first = self.first(images)
        second = self.second(first)
        return self.third(second), (first, self.change(second) if self.training else second)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda maps: maps.detach().numpy(), "numpy.ndarray, not a tensor"),
        (lambda maps: maps.long(), "int64 numbers"),
        (lambda maps: maps[:-1], "the batch has 16 images"),
        (lambda maps: maps[:, :4], "20 features, the experiment has 28"),
        (lambda maps: maps.flatten(), "the batch has 16 images"),
    ],
)
def test_maps_that_are_none(change: Callable[[Tensor], Any], message: str) -> None:
    net = Odd(change)
    audit, loader = audited(net, Head(), names=())
    _, maps = net(next(iter(loader)).images)
    with pytest.raises(UsageError, match=message):
        audit.loss(maps)


def test_features_that_are_not_finite() -> None:
    net = Odd(lambda maps: maps * float("nan"))
    audit, loader = audited(net, Head(), names=())
    batch = next(iter(loader))
    logits, maps = net(batch.images)
    with pytest.raises(ProtocolError, match="not finite"):
        (logits.sum() + audit.loss(maps)).backward()


def test_sets_that_are_not_as_agreed() -> None:
    experiment = agreed()
    members, external, unseen = sets(experiment)
    audit = Audit(experiment, lambda _: Seat(None, Unwatched()))
    with pytest.raises(UsageError, match="no model has been tapped"):
        audit.loader(members, external, unseen)
    audit.tap(Net(), "first", "second")
    with pytest.raises(UsageError, match="32 members, the experiment has 24"):
        audit.loader(external, external, unseen)
    with pytest.raises(UsageError, match="the unseen are no dataset"):
        audit.loader(members, external, iter(()))
