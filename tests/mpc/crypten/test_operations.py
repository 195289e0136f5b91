"""CrypTen's operations over our channel and dealer against plaintext torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc.mpc.crypten_compat import crypten
from tests.mpc.crypten.crypten_parties import Parties

ULP = 2.0**-16
X = torch.linspace(-4, 4, 24).reshape(4, 6)
Y = torch.linspace(1.5, -1, 24).reshape(4, 6)
GENERATOR = torch.Generator().manual_seed(5)
IMAGE = torch.randn(2, 3, 6, 6, generator=GENERATOR)
KERNEL = torch.randn(4, 3, 3, 3, generator=GENERATOR)

CASES: dict[str, tuple[Callable[..., Any], list[Tensor], float]] = {
    # both operands' encoding error (one ulp each), times the other's magnitude, and one for the truncation
    "add": (lambda a, b: a + b, [X, Y], 2 * ULP),
    "mul": (lambda a, b: a * b, [X, Y], 8 * ULP),
    "mul_public": (lambda a: a * 0.25, [X], 2 * ULP),
    "square": (lambda a: a.square(), [X], 10 * ULP),
    "matmul": (lambda a, b: a.matmul(b.t()), [X, Y], 6 * 7 * ULP),
    "conv2d": (
        lambda a, b: (
            torch.conv2d(a, b, padding=1, stride=2) if torch.is_tensor(a) else a.conv2d(b, padding=1, stride=2)
        ),
        [IMAGE, KERNEL],
        27 * 6 * ULP,
    ),
    "relu": (lambda a: a.relu(), [X], 2 * ULP),
    "greater": (lambda a, b: (a > b) + 0.0, [X, Y], 0.0),
    "less_equal": (lambda a, b: (a <= b) + 0.0, [X, X], 0.0),
    "equal": (lambda a, b: (a == b) + 0.0, [X, X.flip(0)], 0.0),
    "mean": (lambda a: a.mean(1), [X], 3 * ULP),
    "divide_by_7": (lambda a: a / 7, [X], 3 * ULP),
    "divide_by_minus_120": (lambda a: a / -120, [X], 3 * ULP),
    "divide_by_a_fraction": (lambda a: a / 2.5, [X], 4 * 2 * ULP),
    "divide_by_a_tensor": (lambda a: a / torch.tensor([1.0, 2.0, 4.0, 8.0, 3.0, 5.0]), [X], 4 * 2 * ULP),
    "max": (lambda a: a.max(1)[0], [X], 4 * ULP),
    # approximations: the error is CrypTen's formula's, not the fixed point's
    "sigmoid": (lambda a: a.sigmoid(), [X], 2e-3),
    "exp": (lambda a: a.exp(), [X - 4], 2e-2),
    "reciprocal": (lambda a: a.reciprocal(), [X + 5], 2e-3),
}


@pytest.mark.parametrize("name", CASES)
def test_matches_torch(parties: Parties, name: str) -> None:
    operation, inputs, tolerance = CASES[name]
    expected = operation(*inputs)

    def step() -> Tensor:
        shared = [crypten.cryptensor(value, src=owner % 2) for owner, value in enumerate(inputs)]
        return operation(*shared).get_plain_text()

    mine, theirs = parties.step(step)
    assert torch.equal(mine, theirs)
    assert (mine - expected).abs().max() <= tolerance


def test_division_never_fails_large(parties: Parties) -> None:
    """Near the top of the ring CrypTen's own division is wrong every few elements; ours never is."""
    share_of_ring = 2.0**55
    values = torch.full((20_000,), share_of_ring)

    def step() -> list[Tensor]:
        shared = crypten.mpc.primitives.ArithmeticSharedTensor(values, precision=0, src=0)
        shared.encoder = crypten.encoder.FixedPointEncoder(precision_bits=0)
        return [shared.div(2**16).reveal(), shared.div(1000).reveal(), shared.clone().__itruediv__(2**16).reveal()]

    for by_scale, by_thousand, in_place in parties.step(step):
        assert ((by_scale - 2**39).abs() <= 1).all()
        assert ((in_place - 2**39).abs() <= 1).all()
        assert ((by_thousand - 2**55 // 1000).abs() <= 2).all()
