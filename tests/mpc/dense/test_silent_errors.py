"""Features within their limits, however they are chosen, never give a wrong value without an error: every step is the
step that float64 takes from the same weights, up to rounding, or both parties end with the same error. Gradients by
the features are the one thing that could wrap around unseen (`ranges`): these attacks do not bring it about."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc.errors import PeerError, ProtocolError
from amint_mpc.limits import CLIP, MAX_OCTAVES, SEARCH, SEARCH_BETA, START_OCTAVES
from amint_mpc.models.head_weights import init_head, seeded_normal
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.dense import head as dense_head
from amint_mpc.mpc.dense.descent import GradientDescent, Momentum
from amint_mpc.mpc.dense.head import WEIGHT_BITS, SecureHead
from amint_mpc.mpc.dense.novograd import NovoGrad
from amint_mpc.mpc.dense.step import Optimizer
from amint_mpc.mpc.protocols.ranges import Checks
from amint_mpc.mpc.ring import fixed_point as fp
from tests.mpc.cases import head_plans, shares_of, weight_masks
from tests.mpc.parties import run_both

DRAW = 3 / 128 + 2.0**-11  # of one sigmoid
NEAR_ZERO = 2.0**-11  # hidden values whose sign may be either
Weights = dict[str, Tensor]
Attack = Callable[[Tensor | None, torch.Generator], Tensor]
"""The features of a step, of the gradient that the step before opened."""


@dataclass
class Run:
    """What happened: weights before each step and at the end, features, gradients, and how each party ended."""

    weights: list[Weights] = field(default_factory=list)
    features: list[Tensor] = field(default_factory=list)
    gradients: list[Tensor] = field(default_factory=list)
    scores: list[Tensor] = field(default_factory=list)
    errors: dict[int, Exception] = field(default_factory=dict)


def attacked(
    attack: Attack, optimizer: Optimizer, sizes: tuple[int, int, int], steps: int, seed: int, start: float = 1.0
) -> Run:
    """Steps on features of an attacker's choice, then a score of the last ones. start: factor of the first weights."""
    rows, inputs, hidden = sizes
    generator, run = torch.Generator().manual_seed(seed), Run()
    weights = init_head(inputs, hidden, seeded_normal(seed)).tensors()
    weights["w2"] = weights["w2"] * start
    shares: list[list[Weights]] = [[], []]

    def party(index: int, channel: Any, supply: Any) -> None:
        head = SecureHead(channel, index, supply, inputs, hidden, optimizer)
        secret = (weights, weight_masks(inputs, hidden, seed)) if index == AUDITOR else (None, None)
        head.share_weights(*secret)
        gradient, x = None, None
        try:
            for _ in range(steps):
                shares[index].append(shares_of(head))
                if index == DEVELOPER:
                    x = attack(gradient, generator)
                    run.features.append(x)
                gradient = head.train_step(x, halves(rows))
                if gradient is not None:
                    run.gradients.append(gradient)
            logits = head.logits(x, rows)
            shares[index].append(shares_of(head))
            if logits is not None:
                run.scores.append(logits)
            head.open_weights()
        except (ProtocolError, PeerError) as error:
            run.errors[index] = error
            channel.abort("failed")

    run_both(party, head_plans(rows, inputs, hidden, steps, [rows], optimizer), seed)
    for mine, theirs in zip(*shares, strict=False):
        run.weights.append({name: fp.decode(mine[name] + theirs[name], WEIGHT_BITS[name]) for name in mine})
    return run


def halves(rows: int) -> Tensor:
    return (torch.arange(rows) < rows // 2).float()


def wrong_values(run: Run, optimizer: Optimizer) -> list[str]:
    """What differs by more than rounding from the same step in float64."""
    found, octaves, move = [], [float(START_OCTAVES)] * 2, None
    last = len(run.weights) - 1
    for step, gradient in enumerate(run.gradients):
        if step < last:
            before, after = run.weights[step], run.weights[step + 1]
            x = fp.decode(fp.encode(run.features[step], fp.X_BITS), fp.X_BITS)
            rates, octaves = _rates(optimizer, step, len(x), move, octaves)
            found += [
                f"{name} of step {step}" for name in _differing(before, after, x, gradient, rates, move, optimizer)
            ]
            move = {name: after[name] - before[name] for name in after}
    if run.scores:
        w, x = run.weights[-1], fp.decode(fp.encode(run.features[-1], fp.X_BITS), fp.X_BITS)
        z = torch.relu(with_ones(x) @ w["w1"]) @ w["w2"] + w["b2"]
        if float((z - run.scores[0]).abs().max()) > 1e-3 + NEAR_ZERO * float(w["w2"].abs().sum()):
            found.append("logits")
    return found


def with_ones(x: Tensor) -> Tensor:
    return torch.cat([x.double(), torch.ones(len(x), 1)], dim=1)


def _differing(
    w: Weights,
    after: Weights,
    x: Tensor,
    gradient: Tensor,
    rates: list[float],
    move: Weights | None,
    optimizer: Optimizer,
) -> list[str]:
    rows = with_ones(x)
    y = rows @ w["w1"]
    h, unsure = y.relu(), (y.abs() < NEAR_ZERO).double()
    g = (h @ w["w2"] + w["b2"]).sigmoid() - halves(len(x))
    slack = DRAW + 2 * NEAR_ZERO * float(w["w2"].abs().sum())
    dy, dy_slack = g[:, None] * w["w2"] * (y > 0), w["w2"].abs() * (slack + unsure)
    by_x, by_x_slack = (dy @ w["w1"].T)[:, :-1], (dy_slack @ w["w1"].abs().T)[:, :-1]
    loose = 1.25 if isinstance(optimizer, NovoGrad) else 1.0  # rates from a table, by far its largest error at first
    unit = 2.0**-11 * (1 + len(x) ** 0.5)
    wanted = {"w1": rows.T @ dy, "w2": h.T @ g, "b2": g.sum()}
    bounds = {"w1": rows.abs().T @ dy_slack, "w2": (h + NEAR_ZERO).sum(0) * slack, "b2": torch.tensor(len(x) * slack)}
    mu = optimizer.again[0] / 2 ** optimizer.again[1] if isinstance(optimizer, Momentum) else 0.0
    found = [] if bool(((gradient - by_x).abs() <= by_x_slack + 2.0**-11).all()) else ["gradient"]
    for name, rate in (("w1", rates[0]), ("w2", rates[1]), ("b2", rates[1])):
        expected = -rate * wanted[name] + (mu * move[name] if move else 0.0)
        allowed = rate * bounds[name] + unit + (loose - 1) * rate * wanted[name].abs()
        if not bool(((after[name] - w[name] - expected).abs() <= allowed).all()):
            found.append(name)
    return found


def _rates(
    optimizer: Optimizer, step: int, rows: int, move: Weights | None, octaves: list[float]
) -> tuple[list[float], list[float]]:
    """Rates of both layers, and the octaves of NovoGrad after them."""
    if isinstance(optimizer, GradientDescent):
        return [optimizer.numerator / 2**optimizer.shift] * 2, octaves
    assert isinstance(optimizer, NovoGrad)
    beta = SEARCH_BETA if step <= SEARCH else optimizer.beta2
    if move is not None:
        lengths = [float(move[name].square().sum()) for name in ("w1", "w2")]
        grown = [math.log2(beta + (1 - beta) * min(v / optimizer.learning_rate**2, CLIP)) for v in lengths]
        octaves = [min(max(o + more, 0.0), MAX_OCTAVES) for o, more in zip(octaves, grown, strict=True)]
    return [2 ** (-o / 2) for o in octaves], octaves


# ------------------------------------------------------------------------------------------------ attacks


def drawn(gradient: Tensor | None, kind: int, rows: int, inputs: int, generator: torch.Generator) -> Tensor:
    """Features of one step. The larger kinds follow the gradient that the step before opened."""
    half = rows // 2
    x = torch.randn(rows, inputs, generator=generator).clamp(-8, 8)
    if kind == 1:
        x = 16.0 * torch.randint(0, 2, (rows, inputs), generator=generator).float() - 8
    elif kind == 2:
        x = torch.full((rows, inputs), 8.0)
    elif kind == 3:
        x = torch.zeros(rows, inputs)
    elif gradient is not None:
        along = 8 * gradient.sign().float()
        if kind == 4:
            x = along
        elif kind == 5:
            x = -along
        elif kind == 6:  # members all alike, along the gradient
            x = torch.cat([along[:1].expand(half, -1), torch.zeros(rows - half, inputs)])
        elif kind == 7:  # and the others against it
            x = torch.cat([along[:1].expand(half, -1), -along[-1:].expand(rows - half, -1)])
    return x


def attack_of(seed: int, rows: int, inputs: int) -> Attack:
    """One kind for all steps, or another one in each."""

    def attack(gradient: Tensor | None, generator: torch.Generator) -> Tensor:
        kind = seed % 8 if seed % 3 else int(torch.randint(0, 8, (1,), generator=generator))
        return drawn(gradient, kind, rows, inputs, generator)

    return attack


SIZES = [(8, 6, 4), (16, 40, 8), (32, 96, 16), (160, 48, 16)]  # the last one in two blocks


def case_of(seed: int) -> tuple[Optimizer, Run]:
    """An attack, with sizes, rates (all that a learning rate below 1 can give) and first weights that go with it."""
    rows, inputs, hidden = SIZES[seed % 4]
    most = 1 + math.floor(math.log2(rows))  # 3 rows / 2^most is at most 1.5 and more than 3/4
    choices: list[Optimizer] = [
        GradientDescent(3, most + seed % 3 * 2),
        Momentum(3, most + 2, (115, 7)),
        NovoGrad(0.25 if seed % 2 else 0.03, 0.95),
        GradientDescent(2, most),
    ]
    optimizer = choices[seed // 4 % 4]
    start = (1.0, 10.0, 60.0)[seed % 3]
    return optimizer, attacked(attack_of(seed, rows, inputs), optimizer, (rows, inputs, hidden), 8, seed, start)


@pytest.mark.parametrize(
    "seeds", [range(48), pytest.param(range(48, 3000), marks=[pytest.mark.long, pytest.mark.timeout(1200)])]
)
def test_features_within_their_limits_never_give_a_silent_wrong_value(seeds: range) -> None:
    ended = 0
    for seed in seeds:
        optimizer, run = case_of(seed)
        assert wrong_values(run, optimizer) == [], seed
        if run.errors:
            ended += 1
            assert_both_know(run)
    assert 0.2 * len(seeds) < ended < 0.9 * len(seeds)


def assert_both_know(run: Run) -> None:
    """Both ended with the same error; a party's own output is what it alone can test, and the other one hears of it."""
    developer, auditor = (run.errors.get(index) for index in (DEVELOPER, AUDITOR))
    if "a gradient row" in str(developer):
        assert isinstance(auditor, PeerError)
    elif run.scores or developer is None:
        assert str(auditor).startswith("a logit")
    else:
        assert isinstance(developer, ProtocolError)
        assert isinstance(auditor, ProtocolError)
        assert developer.message == auditor.message
        assert "left the range" in developer.message


def test_without_the_tests_they_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Checks, "settle", lambda _: None)
    monkeypatch.setattr(dense_head, "GRADIENT_LIMIT", math.inf)
    monkeypatch.setattr(dense_head, "LOGIT_LIMIT", math.inf)
    silent = 0
    for seed in range(24):
        optimizer, run = case_of(seed)
        assert not run.errors
        silent += bool(wrong_values(run, optimizer))
    assert silent > 5


def test_members_all_alike_along_an_opened_gradient_end_in_an_error() -> None:
    """The smallest attack of this kind: two steps at a usual rate, and w2 would be wrong."""
    rows, inputs, hidden, rate = 128, 192, 64, GradientDescent(3, 12)

    def attack(gradient: Tensor | None, generator: torch.Generator) -> Tensor:
        return drawn(gradient, 0 if gradient is None else 6, rows, inputs, generator)

    run = attacked(attack, rate, (rows, inputs, hidden), 2, 5)
    assert_both_know(run)
    assert "a unit's hidden values" in str(run.errors[DEVELOPER])
    assert len(run.gradients) == 1
