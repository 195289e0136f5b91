"""The twin's opened gradients: noise and rounding of the secure head, settings that fit, the bound's numbers."""

from __future__ import annotations

import math

import pytest
import torch

from amint_mpc.amint.opened_gradient import HALF, Opening, opening_of, zero_concentrated
from amint_mpc.amint.plaintext_head import PlaintextHead
from amint_mpc.config import load_experiment
from amint_mpc.errors import UsageError
from amint_mpc.limits import GRADIENT_WHOLE_BITS
from amint_mpc.models.head_weights import init_head, seeded_normal
from amint_mpc.mpc.ring import fixed_point as fp
from amint_mpc.roles.heads import head_kind


@pytest.mark.parametrize("part", [0.0, 0.25, 0.5, 0.999])
def test_rounding_is_right_on_average_and_as_wide_as_the_secure_heads(part: float) -> None:
    unit = 2.0**-10
    exact = torch.full((400, 500), (7 + part) * unit, dtype=torch.float64)
    error = (Opening(16, 0.0, 1)(exact) - exact) / unit
    assert float(error.abs().max()) <= 1.5
    assert abs(float(error.mean())) < 0.006
    assert abs(float(error.std()) - 0.5) < 0.01


def test_noise_has_the_stated_deviation_and_wraps_as_the_ring_does() -> None:
    exact = torch.zeros(400, 500, dtype=torch.float64)
    assert abs(float(Opening(32, 0.01, 1)(exact).std()) / 0.01 - 1) < 0.01
    assert torch.equal(Opening(32, 0.01, 1)(exact), Opening(32, 0.01, 1)(exact)), "the seed fixes it"
    near = exact + HALF - 1e-6
    assert float(Opening(32, 8.0, 1)(near).abs().max()) <= HALF
    assert float(Opening(32, 8.0, 1)(near).min()) < -20
    assert 2.0 ** (GRADIENT_WHOLE_BITS - 1) == HALF == fp.DX_LIMIT


def test_the_twins_head_takes_the_steps_that_it_took_without_noise() -> None:
    start = init_head(12, 6, seeded_normal(1))
    exact, told = PlaintextHead(start, 0.1), PlaintextHead(start, 0.1, opening=Opening(16, 0.3, 1))
    x = torch.randn((20, 12), generator=torch.Generator().manual_seed(1))
    first, second = exact.step(x, 10), told.step(x, 10)
    assert abs(float((second - first).std()) * 10 / 0.3 - 1) < 0.2, "the noise is in the gradient of the sum"
    assert all(
        torch.equal(a, b)
        for a, b in zip(exact.weights.tensors().values(), told.weights.tensors().values(), strict=True)
    )


def test_settings_reach_both_heads_and_defaults_change_nothing() -> None:
    plain = load_experiment("smoke")
    less = load_experiment("smoke", ["security.gradient_noise=0.25", "security.gradient_bits=16"])
    kind = head_kind(less)
    assert (kind.revealed, kind.noise) == (16, 0.25)  # type: ignore[attr-defined]
    first = kind.first_weights(seeded_normal(1))
    assert isinstance(kind.plaintext(first, less.head)._opening, Opening)  # type: ignore[attr-defined]
    assert head_kind(plain).plaintext(first, plain.head)._opening is None  # type: ignore[attr-defined]
    assert opening_of(32, 0.0, 1) is None
    assert plain.digest() != less.digest()


@pytest.mark.parametrize("setting", ["security.gradient_noise=0.1", "security.gradient_bits=16"])
def test_settings_that_would_do_nothing_are_refused(setting: str) -> None:
    with pytest.raises(UsageError, match="gradient_noise and gradient_bits"):
        load_experiment("smoke", [setting, "head.input=conv", "security.correlations=dealer"])


@pytest.mark.parametrize(
    "setting", ["security.gradient_noise=-1", "security.gradient_noise=9", "security.gradient_bits=24"]
)
def test_other_values_are_refused(setting: str) -> None:
    with pytest.raises(UsageError, match="gradient_"):
        load_experiment("smoke", [setting])


def test_the_bound_is_the_gaussian_mechanisms() -> None:
    """Renyi divergence of order a of two Gaussians is a Delta^2 / (2 sigma^2), so rho a: by numerical integration."""
    distance, deviation = 0.7, 1.3
    rho = zero_concentrated(distance, deviation)
    t = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    p, q = (
        torch.exp(-0.5 * ((t - mean) / deviation) ** 2) / (deviation * math.sqrt(2 * math.pi))
        for mean in (0.0, distance)
    )
    for order in (2.0, 5.0):
        divergence = float(torch.log(torch.trapezoid(p**order * q ** (1 - order), t))) / (order - 1)
        assert divergence == pytest.approx(rho * order, rel=1e-6)
    assert zero_concentrated(distance, deviation, 690) == pytest.approx(690 * rho)
    assert zero_concentrated(0.0, 0.0) == 0.0
    assert zero_concentrated(1.0, 0.0) == math.inf
