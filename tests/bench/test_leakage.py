"""The attack on the head: it finds what gradients tell where they tell something, and the bench says what it found."""

import json

import pytest
import torch
from amint_mpc.amint.feature_mixup import FeatureMixup
from click.testing import CliRunner

from amint_mpc.amint.plaintext_head import PlaintextHead
from amint_mpc.bench import leakage
from amint_mpc.bench.leakage import OpenedStep, fit_to_gradients, nearness
from amint_mpc.cli import main
from amint_mpc.config import load_experiment
from amint_mpc.data.split import SETS
from amint_mpc.models.head_weights import HeadWeights, init_head, seeded_normal


def drawn(seed: int, scale: float = 1.0) -> HeadWeights:
    head = init_head(12, 6, seeded_normal(seed))
    return HeadWeights(head.w1, head.b1, head.w2 * 10 * scale, head.b2)


def features(seed: int) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {name: torch.randn((60, 12), generator=random).clamp(-8, 8) for name in SETS}


def test_gradients_lead_to_the_head_they_came_from() -> None:
    secret, other = drawn(1).tensors(), drawn(2).tensors()
    start = HeadWeights(**{name: 0.6 * secret[name] + 0.4 * other[name] for name in secret})
    secret = HeadWeights(**secret)
    random = torch.Generator().manual_seed(3)
    seen = []
    for _ in range(8):
        x = torch.randn((40, 12), generator=random)
        seen.append(OpenedStep(x, PlaintextHead(secret, 1e-9).step(x, 20), 20))
    fitted, error = fit_to_gradients(start, seen)
    assert error["error_after"] < error["error_before"] / 5
    held_out = features(5)
    before, after = nearness(start, secret, held_out), nearness(fitted, secret, held_out)
    assert 1 - after["correlation"] < (1 - before["correlation"]) / 3
    assert nearness(secret, secret, held_out)["agreement"] == 1.0


def test_mixing_moves_external_rows_towards_members_alone() -> None:
    experiment = load_experiment("smoke", ["training.sealed_epochs=1"])
    x = torch.cat([torch.ones(5, 3), torch.zeros(5, 3)])
    mixed = FeatureMixup(experiment)(x, 5)
    assert torch.equal(mixed[:5], x[:5])
    assert bool(((mixed[5:] >= 0) & (mixed[5:] <= 0.8)).all())
    assert float(mixed[5:].std()) > 0
    assert torch.equal(mixed, FeatureMixup(experiment)(x, 5)), "the seed fixes it"
    none = experiment.training.model_copy(update={"sealed_mixing": 0.0})
    assert FeatureMixup(experiment.model_copy(update={"training": none}))(x, 5) is x


def test_the_command_ends_with_all_arms_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leakage, "FIT_STEPS", 50)
    settings = ["--set", "training.epochs=2", "--set", "training.warmup_epochs=1", "--set", "head.hidden=4"]
    torch.set_num_threads(1)
    arguments = [
        "bench",
        "leakage",
        "--config",
        "smoke",
        *settings,
        "--sealed-epochs",
        "1",
        "--attackers",
        "2",
        "--json",
    ]
    told = CliRunner().invoke(main, arguments)
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout.splitlines()[-1])
    arms = {f"{arm}, {head}" for arm in ("own", "gradients", "white box", "random") for head in ("joint", "sealed")}
    assert set(found["arms"]) == arms
    assert set(found["mint"]) == {"joint", "sealed"}
    for arm, row in found["arms"].items():
        assert all(0 <= value["mean"] <= 1 for key, value in row.items() if "correlation" not in key), arm


@pytest.mark.parametrize(("option", "said"), [("--sealed-epochs", "at least one sealed epoch"), ("--attackers", "one")])
def test_nothing_to_attack_is_refused(option: str, said: str) -> None:
    told = CliRunner().invoke(main, ["bench", "leakage", "--config", "smoke", option, "0"])
    assert told.exit_code == 2
    assert said in told.output
