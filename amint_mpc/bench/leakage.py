"""What the opened gradients give away: a developer tries to rebuild the auditor's head, in three arms.

    own        A head of its own: trained on its own features with its own knowledge of who is a member, just as the
               auditor's head is. Needs nothing.
    gradients  The same head, then fitted to the gradients that were opened to it in the last joint epochs: weights such
               that each row's gradient with respect to the features is the one that came, in direction and size.
    sealed     Both of these against the head of sealed epochs, of which no gradient was opened.

How near each comes is measured on the report images, where the developer knows everything but the head:

    agreement    share of images on which both decide alike, each at its own best threshold on the calibration halves
    correlation  of the logits, over members and unseen images, and over unseen images alone
    evasion      share of the members that the auditor's head finds, which it no longer finds once their features were
                 moved by `BUDGETS` of their length against the rebuilt head's gradient

White box (the developer has the head) and random moves bound the evasion. Only differences from `own` say something of
the gradients: two heads for the same question on the same features are alike anyway.

The training is the plaintext twin's: its gradients are the secure run's but for rounding (gradient cosine >= 0.999). A
better attack may exist: what stands here is what this one reaches, and no bound.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amint_mpc.afterwards.query import features_of
from amint_mpc.amint.metrics import best_threshold, membership_figures
from amint_mpc.amint.optimizers import plaintext_optimizer
from amint_mpc.amint.plaintext_head import HeadWrapper, PlaintextHead
from amint_mpc.amint.sealing import mixed_rows, rounded
from amint_mpc.amint.trainer import Trainer
from amint_mpc.config import Experiment
from amint_mpc.data.order import epoch_orders
from amint_mpc.data.split import SETS, load_split
from amint_mpc.errors import UsageError
from amint_mpc.events import EpochEvent, OnProgress
from amint_mpc.limits import FEATURE_LIMIT
from amint_mpc.models.head_weights import HeadWeights, init_head, seeded_normal
from amint_mpc.plaintext_run import FRESH

BUDGETS = (0.05, 0.1, 0.2)
SEEN_EPOCHS = 2  # the last joint epochs, whose gradients are fitted: before them the head was another one
FIT_STEPS = 1500
FIT_RATE = 2e-3
ATTACKER = 2**32  # seeds of the developer's own heads, apart from all others


@dataclass(frozen=True)
class OpenedStep:
    """Of one joint step: features [n, F], opened gradients of L_mint by them [n, F], number of members."""

    features: Tensor
    gradients: Tensor
    members: int


class ObservedHead(HeadWrapper):
    """The head of a plaintext run, and what a developer sees of it."""

    def __init__(self, head: PlaintextHead, steps: int) -> None:
        super().__init__(head)
        self.head = head
        self.seen: deque[OpenedStep] = deque(maxlen=steps)
        self.joint: HeadWeights | None = None

    def step(self, features: Tensor, members: int) -> Tensor:
        """See `MintHead.step`."""
        gradients = self.head.step(features, members)
        self.seen.append(OpenedStep(features.float(), gradients, members))
        return gradients

    def seal(self, features: Tensor) -> None:
        """See `MintHead.seal`."""
        self.joint = self.head.weights.clone()
        self.head.seal(features)


def measure(
    experiment: Experiment,
    sealed_epochs: int,
    attackers: int = 3,
    data: Path | None = None,
    on_progress: OnProgress = lambda *_: None,
) -> dict[str, Any]:
    """Train once, and attack.

    Args:
        sealed_epochs: for the third arm. attackers: heads of the developer's own, with seeds of their own.

    Returns:
        MINT figures of both heads, and for each arm mean and standard deviation over the attackers.
    """
    head = experiment.head
    if head.features is not None or head.input == "conv" or experiment.training.mint_weight == 0:
        raise UsageError("this takes an experiment with this program's own loop and a dense head")
    if sealed_epochs < 1 or attackers < 1:
        raise UsageError("there is at least one sealed epoch, and one attacker")
    changes = {"sealed_epochs": sealed_epochs, "patience": 0}
    training = experiment.training.model_copy(update=changes)
    experiment = experiment.model_copy(update={"training": training})
    opened, features = _trained(experiment, data, on_progress)
    assert opened.joint is not None
    heads = {"joint": opened.joint, "sealed": opened.head.weights}
    result: dict[str, Any] = {
        "experiment": experiment.name,
        "sealed_epochs": sealed_epochs,
        "attackers": attackers,
        "budgets": list(BUDGETS),
        "fit": {},
        "mint": {name: _mint(weights, features, experiment.seed) for name, weights in heads.items()},
    }
    found: dict[str, list[dict[str, float]]] = {}
    for attacker in range(attackers):
        on_progress("attackers", attacker, attackers)
        for name, weights in heads.items():
            own = own_head(experiment, features, ATTACKER + attacker, name)
            fitted, result["fit"][name] = fit_to_gradients(own, list(opened.seen))
            for arm, rebuilt in (("own", own), ("gradients", fitted)):
                found.setdefault(f"{arm}, {name}", []).append(nearness(rebuilt, weights, features))
    on_progress("attackers", attackers, attackers)
    for name, weights in heads.items():
        found[f"white box, {name}"] = [nearness(weights, weights, features)]
        found[f"random, {name}"] = [_random_moves(weights, features)]
    result["arms"] = {arm: _spread(rows) for arm, rows in found.items()}
    return result


def own_head(experiment: Experiment, features: Mapping[str, Tensor], seed: int, like: str) -> HeadWeights:
    """A head that the developer trains on its own, on the finished classifier's features.

    Args:
        like: "joint": as long as the joint head. "sealed": as the sealed head is trained, mixing and all.
    """
    members = torch.cat([features["members_calibration"], features["members_report"]])
    first = init_head(members.shape[1], experiment.head.hidden, seeded_normal(seed))
    head = PlaintextHead(first, plaintext_optimizer(experiment.head))
    own = experiment.model_copy(update={"seed": seed % 2**31})
    if like == "sealed":
        head.fresh = lambda: head
        head.seal(rounded(torch.cat([members, features["external"]])))
        for number in range(own.sealed_steps):
            head.fit(mixed_rows(own, number))
        return head.weights
    orders = epoch_orders(own)
    for _ in range(experiment.training.epochs):
        for inside, outside in zip(*next(orders), strict=True):
            batch = torch.cat([members[torch.from_numpy(inside)], features["external"][torch.from_numpy(outside)]])
            head.step(batch, len(inside))
    return head.weights


def fit_to_gradients(start: HeadWeights, seen: Sequence[OpenedStep]) -> tuple[HeadWeights, dict[str, float]]:
    """Weights near `start` whose gradients with respect to the features are those that were seen, row by row.

    Returns:
        the weights, and the relative squared error of the rows' gradients before and after.
    """
    x = torch.cat([step.features for step in seen])
    g = torch.cat([step.gradients for step in seen])
    labels = torch.cat([(torch.arange(len(step.features)) < step.members).float() for step in seen])
    rows = torch.cat([torch.full((len(step.features),), float(step.members)) for step in seen])
    size = g.square().sum(1)
    size = size.clamp(min=1e-3 * float(size.mean()))
    weights = [value.float().clone().requires_grad_() for value in start.tensors().values()]
    optimizer = torch.optim.Adam(weights, lr=FIT_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, FIT_STEPS)

    def error() -> Tensor:
        w1, b1, w2, b2 = weights
        y = x @ w1 + b1
        z = y.relu() @ w2 + b2
        gz = (z.sigmoid() - labels) / rows
        mine = (gz[:, None] * w2 * (y > 0)) @ w1.T
        return ((mine - g).square().sum(1) / size).mean()

    first = float(error().detach())
    for _ in range(FIT_STEPS):
        optimizer.zero_grad()
        loss = error()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    names = start.tensors()
    fitted = HeadWeights(**{name: value.detach().double() for name, value in zip(names, weights, strict=True)})
    return fitted, {"error_before": first, "error_after": float(error().detach())}


def nearness(rebuilt: HeadWeights, head: HeadWeights, features: Mapping[str, Tensor]) -> dict[str, float]:
    """How near a rebuilt head comes to the auditor's; see the module."""
    mine, theirs = ({name: each.logits(features[name]) for name in SETS} for each in (rebuilt, head))
    decided = []
    for logits in (mine, theirs):
        threshold = best_threshold(logits["members_calibration"], logits["unseen_calibration"])
        decided.append(torch.cat([logits[name] >= threshold for name in ("members_report", "unseen_report")]))
    report = ("members_report", "unseen_report")
    found = {
        "agreement": float((decided[0] == decided[1]).double().mean()),
        "correlation": _correlation(*(torch.cat([each[name] for name in report]) for each in (mine, theirs))),
        "correlation_unseen": _correlation(mine["unseen_report"], theirs["unseen_report"]),
    }
    x = features["members_report"]
    return found | _evasion(head, features, -_direction(rebuilt, x))


def _evasion(head: HeadWeights, features: Mapping[str, Tensor], moves: Tensor) -> dict[str, float]:
    """Args: moves: of the members' report features, rows of length 1."""
    x = features["members_report"].double()
    threshold = best_threshold(
        head.logits(features["members_calibration"]), head.logits(features["unseen_calibration"])
    )
    found = head.logits(x) >= threshold
    shares = {}
    for budget in BUDGETS:
        moved = (x + budget * x.norm(dim=1, keepdim=True) * moves).clamp(-FEATURE_LIMIT, FEATURE_LIMIT)
        still = head.logits(moved) >= threshold
        shares[f"evasion_{budget:g}"] = float((found & ~still).double().sum() / found.double().sum().clamp(min=1))
    return shares


def _direction(head: HeadWeights, x: Tensor) -> Tensor:
    """Gradient of the logit by the features, rows of length 1."""
    gradient: Tensor = ((head.hidden(x) > 0) * head.w2) @ head.w1.T
    lengths: Tensor = gradient.norm(dim=1, keepdim=True)
    return gradient / lengths.clamp(min=1e-12)


def _random_moves(head: HeadWeights, features: Mapping[str, Tensor]) -> dict[str, float]:
    random = torch.Generator().manual_seed(1)
    moves = torch.randn(features["members_report"].shape, generator=random, dtype=torch.float64)
    return _evasion(head, features, moves / moves.norm(dim=1, keepdim=True))


def _correlation(a: Tensor, b: Tensor) -> float:
    """0 where one of them says the same of all."""
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1].nan_to_num())


def _mint(head: HeadWeights, features: Mapping[str, Tensor], seed: int) -> dict[str, float]:
    figures = membership_figures({name: head.logits(features[name]).sigmoid() for name in SETS}, seed)
    return {"accuracy": figures.mint_accuracy_calibrated.value, "auc": figures.mint_auc.value}


def _spread(rows: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    found = {}
    for key in rows[0]:
        values = np.array([row[key] for row in rows])
        found[key] = {"mean": float(values.mean()), "sd": float(values.std(ddof=1)) if len(rows) > 1 else 0.0}
    return found


def _trained(
    experiment: Experiment, data: Path | None, on_progress: OnProgress
) -> tuple[ObservedHead, dict[str, Tensor]]:
    """A finished plaintext run with sealed epochs, and the features of all sets."""
    images = load_split(experiment, data)
    fresh = iter(_seeds(experiment))

    def drawn() -> PlaintextHead:
        first = init_head(trainer.backbone.features.count, experiment.head.hidden, seeded_normal(next(fresh)))
        return PlaintextHead(first, plaintext_optimizer(experiment.head), drawn)

    trainer = Trainer(experiment, images, None)
    opened = ObservedHead(drawn(), SEEN_EPOCHS * experiment.steps_per_epoch)
    trainer.head = opened
    for event in trainer.run():
        if isinstance(event, EpochEvent):
            on_progress("epochs", event.epoch, event.epochs)
    features = {
        name: torch.cat([features_of(trainer.backbone, batch) for batch in torch.split(images.images(name), 256)])
        for name in SETS
    }
    return opened, features


def _seeds(experiment: Experiment) -> Iterator[int]:
    yield from (experiment.seed, FRESH + experiment.seed)
