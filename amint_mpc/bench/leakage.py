"""What the opened gradients give away: a developer tries to rebuild the auditor's head.

A run has two heads: the **joint** one, whose gradients the developer gets, and the one that is **kept**, a fresh head
that is trained on the frozen classifier afterwards (`training.sealed_epochs`), and of which no gradient is opened.

    own               A head of the developer's own, trained on its own features with its own knowledge of who is a
                      member, as the head that it is compared with was trained. Needs no gradient.
    gradients         The joint head, rebuilt from the gradients that were opened in the last joint epochs
                      (`head_recovery`), or by an own head that followed it through all joint steps, with and without
                      a fit to the last ones (`head_fit`); of these the one whose gradients fit best on rows that were
                      set apart, which the developer can see for itself.
    gradients, noise  The same where the auditor adds noise to each gradient (`security.gradient_noise`).
    sealed            All that against the head that is kept: the rebuilt joint head as it is; an own head that starts
                      from it; an own head and the rebuilt one together. The candidate that comes nearest counts.
    two own           An own head of either kind together, without gradients: what two heads are worth as such.

How near each comes is measured on the report images, where the developer knows everything but the head:

    agreement    share of images on which both decide alike, each at its own best threshold on the calibration halves
    correlation  of the logits; both over members and unseen images, and over unseen images alone
    evasion      share of the members that the auditor's head finds, which it no longer finds once their features were
                 moved by `BUDGETS` of their length against the rebuilt head's gradient

White box (the developer has the head) and random moves bound the evasion. Only differences from `own` say something of
the gradients: two heads for the same question on the same features are alike anyway.

The training is the plaintext twin's, its gradients rounded as the secure head's are. A better attack may exist: what
stands here is what this one reaches, and no bound. The bound on paper is `rho` (`amint.opened_gradient`), for two
heads that differ by as much as the whole gradient of a step is long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amint_mpc.afterwards.query import features_of
from amint_mpc.amint.metrics import best_threshold, membership_figures
from amint_mpc.amint.opened_gradient import Opening, opening_of, zero_concentrated
from amint_mpc.amint.optimizers import plaintext_optimizer
from amint_mpc.amint.plaintext_head import HeadWrapper, PlaintextHead
from amint_mpc.amint.sealing import mixed_rows, rounded
from amint_mpc.amint.trainer import Trainer
from amint_mpc.bench.head_fit import OpenedStep, fit, fit_error, follow, rows_of
from amint_mpc.bench.head_recovery import recover
from amint_mpc.config import Experiment
from amint_mpc.data.order import epoch_orders
from amint_mpc.data.split import SETS, load_split
from amint_mpc.errors import UsageError
from amint_mpc.events import EpochEvent, OnProgress
from amint_mpc.limits import FEATURE_LIMIT
from amint_mpc.models.classifier import feature_count
from amint_mpc.models.head_weights import HeadWeights, init_head, seeded_normal
from amint_mpc.plaintext_run import FRESH

BUDGETS = (0.05, 0.1, 0.2)
SEEN_EPOCHS = 4
"""The last joint epochs, whose gradients are attacked: the head hardly moves any more, and images come back."""
USUAL = 14  # sealed epochs, where the experiment has none
ATTACKER = 3 * 2**30
"""Seeds of the developer's own heads, apart from all others and below 2^32: torch's generator reads 32 bits."""
SEALED = {"rebuilt": "rebuilt as it is", "continued": "rebuilt, trained on", "both": "own and rebuilt"}


class ObservedHead(HeadWrapper):
    """The head of a plaintext run, and what a developer sees of it.

    Args:
        rounding: of gradients that the head itself tells exactly.

    Attributes:
        seen: all joint steps, float32.
        squares: of each joint step, the squared length of its whole gradient.
    """

    def __init__(self, head: PlaintextHead, rounding: Opening | None = None) -> None:
        super().__init__(head)
        self.head = head
        self.seen: list[OpenedStep] = []
        self.joint: HeadWeights | None = None
        self.squares: list[float] = []
        self._rounding = rounding

    def step(self, features: Tensor, members: int) -> Tensor:
        """See `MintHead.step`."""
        gradients = self.head.step(features, members)
        told = self.head.told if self._rounding is None else self._rounding(self.head.told)
        self.seen.append(OpenedStep(features.float(), told.float(), members))
        self.squares.append(float(told.square().sum()))
        return gradients

    def seal(self, features: Tensor) -> None:
        """See `MintHead.seal`."""
        self.joint = self.head.weights.clone()
        self.head.seal(features)

    @property
    def rms(self) -> float:
        """Of an entry of the opened gradients, over all joint steps."""
        return float(np.sqrt(np.mean(self.squares) / self.seen[-1].gradients.numel()))


@dataclass
class Rebuilt:
    """The joint head as it was rebuilt by each attacker. units: that were found; fits: errors of what was chosen."""

    heads: list[HeadWeights] = field(default_factory=list)
    units: int = 0
    fits: list[float] = field(default_factory=list)


def measure(
    experiment: Experiment,
    sealed_epochs: int | None,
    attackers: int = 3,
    data: Path | None = None,
    on_progress: OnProgress = lambda *_: None,
    noise: float = 1.0,
    budget_s: float = 60.0,
) -> dict[str, Any]:
    """Train once, and attack.

    Args:
        sealed_epochs: of the head that is kept; None: those of the experiment, or the usual ones.
        attackers: heads of the developer's own, with seeds of their own.
        noise: of the arm with noise, as a multiple of the gradients' rms. budget_s: for the isolation of units.

    Returns:
        for each arm mean and standard deviation over the attackers, and the main figures by themselves: `agreement_*`
        and `logit_correlation_*`, means over the attackers on unseen report images.
    """
    head = experiment.head
    if head.features is not None or head.input == "conv" or experiment.training.mint_weight == 0:
        raise UsageError("this takes an experiment with this program's own loop and a dense head")
    sealed_epochs = (experiment.training.sealed_epochs or USUAL) if sealed_epochs is None else sealed_epochs
    if sealed_epochs < 1 or attackers < 1:
        raise UsageError("there is at least one sealed epoch, and one attacker")
    if noise <= 0 or budget_s < 0:
        raise UsageError("noise is above 0, and a budget at least 0 seconds")
    changes = {"sealed_epochs": sealed_epochs, "patience": 0}
    training = experiment.training.model_copy(update=changes)
    experiment = experiment.model_copy(update={"training": training})
    opened, features = _trained(experiment, data, on_progress)
    assert opened.joint is not None
    heads = {"joint": opened.joint, "sealed": opened.head.weights}
    numbers = range(attackers)
    own = {name: [own_head(experiment, features, ATTACKER + attacker, name) for attacker in numbers] for name in heads}
    deviation, rebuilt = noise * opened.rms, {}
    for done, arm in enumerate(("gradients", "gradients, noise")):
        on_progress("attacks", done, 2)
        steps, noisy = opened.seen, Opening(32, deviation, experiment.seed)
        if done:
            steps = [replace(step, gradients=noisy(step.gradients.double()).float()) for step in steps]
        rebuilt[arm] = rebuild(experiment, steps, attackers, budget_s)
    on_progress("attacks", 2, 2)

    compared: dict[str, list[tuple[HeadWeights, str]]] = {
        **{f"own, {name}": [(weights, name) for weights in own[name]] for name in heads},
        **{f"{arm}, joint": [(weights, "joint") for weights in found.heads] for arm, found in rebuilt.items()},
    }
    for attacker in numbers:
        pair = together(own["sealed"][attacker], own["joint"][attacker], features)
        compared.setdefault("two own, sealed", []).append((pair, "sealed"))
        start = rebuilt["gradients"].heads[attacker]
        candidates = {
            "rebuilt": start,
            "continued": own_head(experiment, features, ATTACKER + attacker, "sealed", start),
            "both": together(own["sealed"][attacker], start, features),
        }
        for key, weights in candidates.items():
            compared.setdefault(f"{SEALED[key]}, sealed", []).append((weights, "sealed"))
    found = {arm: [nearness(mine, heads[name], features) for mine, name in pairs] for arm, pairs in compared.items()}
    for name, weights in heads.items():
        found[f"white box, {name}"] = [nearness(weights, weights, features)]
        found[f"random, {name}"] = [_random_moves(weights, features)]
    arms = {arm: _spread(each) for arm, each in found.items()}
    main = {
        "own": "own, sealed",
        "own_joint": "own, joint",
        "gradients": "gradients, joint",
        "gradients_noise": "gradients, noise, joint",
        "sealed": max((f"{name}, sealed" for name in SEALED.values()), key=lambda arm: _mean(arms, arm, "agreement")),
    }
    return {
        "experiment": experiment.name,
        "sealed_epochs": sealed_epochs,
        "attackers": attackers,
        "budgets": list(BUDGETS),
        "noise": noise,
        "gradient_rms": opened.rms,
        **{f"agreement_{key}": _mean(arms, arm, "agreement") for key, arm in main.items()},
        **{f"logit_correlation_{key}": _mean(arms, arm, "correlation") for key, arm in main.items()},
        "strongest_against_sealed": main["sealed"].removesuffix(", sealed"),
        "units_isolated": {arm: each.units for arm, each in rebuilt.items()},
        "fit": {arm: each.fits for arm, each in rebuilt.items()},
        "rho_per_step": zero_concentrated(float(np.sqrt(np.mean(opened.squares))), deviation),
        "rho_run": zero_concentrated(float(np.sqrt(np.mean(opened.squares))), deviation, len(opened.squares)),
        "mint": {name: _mint(weights, features, experiment.seed) for name, weights in heads.items()},
        "arms": arms,
    }


def rebuild(experiment: Experiment, steps: Sequence[OpenedStep], attackers: int, budget_s: float) -> Rebuilt:
    """The joint head from all that was opened, by each attacker."""
    rows = rows_of(steps[-SEEN_EPOCHS * experiment.steps_per_epoch :])
    apart = torch.arange(len(rows.members)) % 4 == 0
    units, rebuilt = recover(rows, experiment.head.hidden, budget_s), Rebuilt()
    rebuilt.units = units.units
    for attacker in range(attackers):
        first = init_head(rows.features.shape[1], experiment.head.hidden, seeded_normal(ATTACKER + attacker))
        followed = follow(first, steps, plaintext_optimizer(experiment.head))
        candidates = [followed, fit(followed, rows[~apart])]
        if units.weights is not None:
            candidates += [units.weights, fit(_completed(units.weights, followed), rows[~apart])]
        errors = [fit_error(weights, rows[apart]) for weights in candidates]
        rebuilt.heads.append(candidates[int(np.argmin(errors))])
        rebuilt.fits.append(min(errors))
    return rebuilt


def _completed(found: HeadWeights, other: HeadWeights) -> HeadWeights:
    """Units that are still zero begin as the other head's, a hundredth as strong: they can learn then."""
    missing = found.w2 == 0
    return HeadWeights(
        torch.where(missing, other.w1, found.w1),
        torch.where(missing, other.b1, found.b1),
        torch.where(missing, 0.01 * other.w2, found.w2),
        found.b2,
    )


def together(one: HeadWeights, other: HeadWeights, features: Mapping[str, Tensor]) -> HeadWeights:
    """A head whose logits are the sum of both, each standardised over the calibration halves."""
    known = torch.cat([features["members_calibration"], features["unseen_calibration"]])
    scales = [1 / each.logits(known).std().clamp(min=1e-12) for each in (one, other)]
    pairs = list(zip((one, other), scales, strict=True))
    return HeadWeights(
        torch.cat([one.w1, other.w1], dim=1),
        torch.cat([one.b1, other.b1]),
        torch.cat([each.w2 * scale for each, scale in pairs]),
        torch.stack([each.b2 * scale for each, scale in pairs]).sum(),
    )


def own_head(
    experiment: Experiment, features: Mapping[str, Tensor], seed: int, like: str, start: HeadWeights | None = None
) -> HeadWeights:
    """A head that the developer trains on its own, on the finished classifier's features.

    Args:
        like: "joint": as long as the joint head. "sealed": as the sealed head is trained, mixing and all.
        start: first weights; None: drawn by the seed.
    """
    members = torch.cat([features["members_calibration"], features["members_report"]])
    first = start or init_head(members.shape[1], experiment.head.hidden, seeded_normal(seed))
    head = PlaintextHead(first, plaintext_optimizer(experiment.head), limited=False)
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


def nearness(rebuilt: HeadWeights, head: HeadWeights, features: Mapping[str, Tensor]) -> dict[str, float]:
    """How near a rebuilt head comes to the auditor's; see the module."""
    mine, theirs = ({name: each.logits(features[name]) for name in SETS} for each in (rebuilt, head))
    report = ("members_report", "unseen_report")
    alike = {}
    limits = [best_threshold(each["members_calibration"], each["unseen_calibration"]) for each in (mine, theirs)]
    for name in report:
        alike[name] = ((mine[name] >= limits[0]) == (theirs[name] >= limits[1])).double()
    found = {
        "agreement": float(torch.cat(list(alike.values())).mean()),
        "agreement_unseen": float(alike["unseen_report"].mean()),
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


def _mean(arms: Mapping[str, Mapping[str, Mapping[str, float]]], arm: str, figure: str) -> float:
    """Of a figure on unseen images."""
    return arms[arm][f"{figure}_unseen"]["mean"]


def _trained(
    experiment: Experiment, data: Path | None, on_progress: OnProgress
) -> tuple[ObservedHead, dict[str, Tensor]]:
    """A finished plaintext run with sealed epochs, and the features of all sets."""
    images = load_split(experiment, data)
    count = feature_count(experiment, tuple(images.members.shape[1:]))
    seeds, security = iter((experiment.seed, FRESH + experiment.seed)), experiment.security
    opening = opening_of(security.gradient_bits, security.gradient_noise, experiment.seed)

    def drawn() -> PlaintextHead:
        first = init_head(count, experiment.head.hidden, seeded_normal(next(seeds)))
        return PlaintextHead(first, plaintext_optimizer(experiment.head), drawn, opening)

    rounding = None if opening is not None else Opening(32, 0.0, experiment.seed)
    opened = ObservedHead(drawn(), rounding)
    trainer = Trainer(experiment, images, opened)
    for event in trainer.run():
        if isinstance(event, EpochEvent):
            on_progress("epochs", event.epoch, event.epochs)
    features = {
        name: torch.cat([features_of(trainer.backbone, batch) for batch in torch.split(images.images(name), 256)])
        for name in SETS
    }
    return opened, features
