"""The attacks rebuild a head whose gradients were opened, noise stops one and not the other, and the kept head is no
nearer to who saw gradients of the joint one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from amint_mpc.amint.opened_gradient import Opening
from amint_mpc.amint.optimizers import Descent
from amint_mpc.amint.plaintext_head import PlaintextHead
from amint_mpc.bench import head_fit, leakage
from amint_mpc.bench.head_fit import OpenedRows, OpenedStep, fit, fit_error, follow
from amint_mpc.bench.head_recovery import recover
from amint_mpc.bench.leakage import ObservedHead, nearness, own_head, together
from amint_mpc.cli import main
from amint_mpc.config import Experiment, load_experiment
from amint_mpc.data.split import SETS
from amint_mpc.models.head_weights import HeadWeights, init_head, seeded_normal

INPUTS, HIDDEN = 24, 16


def drawn(seed: int) -> HeadWeights:
    """A head as training leaves it: with biases, and with logits that are not all alike."""
    head = init_head(INPUTS, HIDDEN, seeded_normal(seed))
    return HeadWeights(head.w1, 0.2 * seeded_normal(seed + 100)(HIDDEN), 8 * head.w2, head.b2)


def features(seed: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {name: torch.randn((60, INPUTS), generator=random).clamp(-8, 8) for name in SETS}


def opened(secret: HeadWeights, noise: float = 0.0, steps: int = 24, recurring: bool = False) -> OpenedRows:
    """Gradients of a head that stands still. noise: in rms. recurring: the same images again, a little changed."""
    random = torch.Generator().manual_seed(3)
    head, members = PlaintextHead(secret, 1e-9), torch.arange(64) < 32
    images = torch.randn((6 * 64, INPUTS), generator=random)
    rows, gradients = [], []
    for step in range(steps):
        x = torch.randn((64, INPUTS), generator=random)
        if recurring:
            x = images[64 * (step % 6) :][:64] + 0.04 * x
        head.step(x, 32)
        rows.append(x)
        gradients.append(head.told)
    exact = torch.cat(gradients)
    deviation = noise * float(exact.square().mean().sqrt())
    return OpenedRows(torch.cat(rows), Opening(32, deviation, 1)(exact), members.repeat(steps))


def alike(one: HeadWeights, other: HeadWeights) -> float:
    """Correlation of the logits of new inputs."""
    x = torch.randn((4000, INPUTS), generator=torch.Generator().manual_seed(9))
    return float(torch.corrcoef(torch.stack([one.logits(x), other.logits(x)]))[0, 1])


@pytest.mark.parametrize("recurring", [False, True], ids=["by isolation", "by flips"])
def test_noiseless_gradients_give_the_whole_head(recurring: bool) -> None:
    secret = drawn(1)
    rows = opened(secret, steps=60 if recurring else 24, recurring=recurring)
    found = recover(rows, HIDDEN, 0.0 if recurring else 10.0)
    assert found.weights is not None
    assert found.units >= HIDDEN - 2 if recurring else found.units == HIDDEN
    assert alike(found.weights, secret) > 0.99
    assert fit_error(found.weights, rows) < 0.1


def test_noise_of_three_rms_hides_the_units() -> None:
    """No unit can be told by itself any more: what comes out is no better than a head drawn by chance."""
    secret = drawn(1)
    found = recover(opened(secret, noise=3.0), HIDDEN, 1.0)
    blind = max(abs(alike(drawn(seed), secret)) for seed in range(2, 8))
    assert found.weights is None or alike(found.weights, secret) < max(0.4, blind)


def test_noise_averages_out_for_gradient_descent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why noise of the gradients' own size is no protection: a head that stands still is found through it."""
    monkeypatch.setattr(head_fit, "FIT_STEPS", 600)
    secret, start = drawn(1), drawn(2)
    assert alike(start, secret) < 0.5
    assert alike(fit(start, opened(secret, noise=1.0)), secret) > 0.8


def test_a_head_that_follows_grows_like_the_secret_one() -> None:
    random, members, rate = torch.Generator().manual_seed(3), 32, 0.3
    mark = torch.randn(INPUTS, generator=random) / 2
    secret = PlaintextHead(init_head(INPUTS, HIDDEN, seeded_normal(1)), rate)
    steps, noise = [], Opening(32, 0.05, 1)
    for _ in range(150):
        x = torch.randn((64, INPUTS), generator=random)
        x[:members] += mark
        secret.step(x, members)
        steps.append(OpenedStep(x, noise(secret.told), members))
    blind = PlaintextHead(init_head(INPUTS, HIDDEN, seeded_normal(2)), rate)
    for step in steps:
        blind.step(step.features, members)
    followed = follow(init_head(INPUTS, HIDDEN, seeded_normal(2)), steps, Descent(rate))
    assert 1 - alike(followed, secret.weights) < 0.7 * (1 - alike(blind.weights, secret.weights))


def test_gradients_lead_to_the_head_they_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_fit, "FIT_STEPS", 600)
    secret, other = drawn(1), drawn(2)
    pairs = zip(secret.tensors().values(), other.tensors().values(), strict=True)
    start = HeadWeights(*(0.7 * one + 0.3 * another for one, another in pairs))
    rows = opened(secret)
    fitted = fit(start, rows)
    assert fit_error(fitted, rows) < fit_error(start, rows) / 2
    assert 1 - alike(fitted, secret) < (1 - alike(start, secret)) / 2
    assert nearness(secret, secret, features(5))["agreement"] == 1.0


def test_two_heads_together_are_the_sum_of_their_standardised_logits() -> None:
    one, other, known = drawn(1), drawn(2), features(5)
    both = together(one, other, known)
    x = torch.cat([known["members_calibration"], known["unseen_calibration"]])
    expected = one.logits(x) / one.logits(x).std() + other.logits(x) / other.logits(x).std()
    assert torch.allclose(both.logits(x), expected)


def test_seeds_of_own_heads_are_nobody_elses() -> None:
    """torch's generator reads 32 bits of a seed: one more bit would make it another head's."""
    assert leakage.ATTACKER + 1000 < 2**32
    head = init_head(4, 2, seeded_normal(leakage.ATTACKER + 1))
    assert not any(torch.equal(head.w1, init_head(4, 2, seeded_normal(seed)).w1) for seed in (1, 2**31 + 1))


# ------------------------------------------------------------------------------------------------ the kept head

SMALL = [
    "security.correlations=dealer",
    "training.epochs=30",
    "training.sealed_epochs=100",
    "training.sealed_batch=30",
    "training.sealed_learning_rate=0.1",
    f"head.hidden={HIDDEN}",
    "head.learning_rate=0.1",
]


def small_run(kept_is_joint: bool) -> Callable[..., tuple[ObservedHead, dict[str, Tensor]]]:
    """In place of a training: features that nearly stand still, a joint head, and the head that is kept."""

    def trained(experiment: Experiment, data: Path | None, on_progress: Any) -> tuple[ObservedHead, dict[str, Tensor]]:
        random = torch.Generator().manual_seed(1)
        sizes = dict(zip(SETS, (60, 60, 300, 60, 60), strict=True))
        known = {name: torch.randn((sizes[name], INPUTS), generator=random) for name in SETS}
        mark = torch.randn(INPUTS, generator=random) / 3
        for name in known:
            known[name] = (known[name] + mark * name.startswith("members")).clamp(-8, 8)
        first = init_head(INPUTS, HIDDEN, seeded_normal(7))
        seen = ObservedHead(PlaintextHead(first, 0.1, lambda: PlaintextHead(first, 0.1)))
        members = torch.cat([known["members_calibration"], known["members_report"]])
        batches = np.random.default_rng(1)
        for step in range(900):
            if step == 800:  # as after a cooldown
                seen.head._optimizer = Descent(1e-3)
            inside, outside = batches.integers(0, len(members), 30), batches.integers(0, 300, 30)
            x = torch.cat([members[inside], known["external"][outside]])
            seen.step((x + 0.04 * torch.randn(x.shape, generator=random)).clamp(-8, 8), 30)
        seen.seal(known["external"])
        assert seen.joint is not None
        seen.head.weights = seen.joint if kept_is_joint else own_head(experiment, known, 12345, "sealed")
        return seen, known

    return trained


def measured(monkeypatch: pytest.MonkeyPatch, kept_is_joint: bool) -> dict[str, Any]:
    monkeypatch.setattr(head_fit, "FIT_STEPS", 50)
    monkeypatch.setattr(leakage, "SEEN_EPOCHS", 25)
    monkeypatch.setattr(leakage, "_trained", small_run(kept_is_joint))
    experiment = load_experiment("smoke", [*SMALL, "data.members=120", "data.external=300", "training.batch=30"])
    return leakage.measure(experiment, 100, attackers=2, budget_s=1.0)


def two_own(found: dict[str, Any]) -> float:
    return float(found["arms"]["two own, sealed"]["correlation_unseen"]["mean"])


def test_the_kept_head_is_no_nearer_to_who_saw_the_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradients give the joint head away, and nothing of the kept one that an own head does not have already."""
    found = measured(monkeypatch, kept_is_joint=False)
    assert found["logit_correlation_gradients"] > found["logit_correlation_own_joint"] + 0.02
    no_gradient = max(found["logit_correlation_own"], two_own(found))  # the attacker may put two heads together, too
    assert found["logit_correlation_sealed"] < no_gradient + 0.02


def test_a_kept_head_that_was_the_joint_one_would_be_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    found = measured(monkeypatch, kept_is_joint=True)
    assert found["logit_correlation_sealed"] > max(found["logit_correlation_own"], two_own(found)) + 0.02


# ------------------------------------------------------------------------------------------------ the command


def test_the_command_ends_with_all_arms_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_fit, "FIT_STEPS", 20)
    settings = ["training.epochs=2", "training.warmup_epochs=1", "head.hidden=4", "security.gradient_bits=16"]
    torch.set_num_threads(1)
    arguments = ["bench", "leakage", "--config", "smoke", *(part for text in settings for part in ("--set", text))]
    told = CliRunner().invoke(
        main, [*arguments, "--sealed-epochs", "1", "--attackers", "2", "--budget", "0.2", "--noise", "2", "--json"]
    )
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout.splitlines()[-1])
    arms = {f"{arm}, {head}" for arm in ("own", "white box", "random") for head in ("joint", "sealed")}
    arms |= {
        "two own, sealed",
        "gradients, joint",
        "gradients, noise, joint",
        *(f"{name}, sealed" for name in leakage.SEALED.values()),
    }
    assert set(found["arms"]) == arms
    assert set(found["mint"]) == {"joint", "sealed"}
    for arm, row in found["arms"].items():
        assert all(0 <= value["mean"] <= 1 for key, value in row.items() if "correlation" not in key), arm
    for figure in ("agreement", "logit_correlation"):
        for key in ("own", "own_joint", "gradients", "gradients_noise", "sealed"):
            assert -1 <= found[f"{figure}_{key}"] <= 1
    assert found["agreement_gradients"] == found["arms"]["gradients, joint"]["agreement_unseen"]["mean"]
    assert found["rho_run"] > found["rho_per_step"] > 0
    assert set(found["units_isolated"]) == set(found["fit"]) == {"gradients", "gradients, noise"}


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--sealed-epochs", "0", "at least one sealed epoch"),
        ("--attackers", "0", "one attacker"),
        ("--noise", "0", "noise is above 0"),
        ("--budget", "-1", "at least 0 seconds"),
    ],
)
def test_nothing_to_attack_is_refused(option: str, value: str, said: str) -> None:
    told = CliRunner().invoke(main, ["bench", "leakage", "--config", "smoke", option, value])
    assert told.exit_code == 2
    assert said in told.output
