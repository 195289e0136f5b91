"""Linear layer: products are exact in the ring, dX is right to one unit of its top bits, and costs what it says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import corrected
from amint_mpc.mpc.protocols.linear import REVEALED, LinearMasks
from amint_mpc.mpc.ring.products import SMALL_LIMIT, matmul
from tests.mpc.cases import Case, linear, ring, share
from tests.mpc.views import flat, record

SHAPES = [(1, 1, 1), (2, 3, 4), (7, 1, 5), (128, 193, 64), (3, 1100, 2)]


def run(
    x: Tensor, w: Tensor, dy: Tensor, scaled: Tensor, constants: int = 0, revealed: int = 32
) -> tuple[Tensor, Tensor, Tensor, Any]:
    """Y, dX and the update of one run, and both views."""
    generator = torch.Generator().manual_seed(3)
    shares = [share(value, generator) for value in (w, dy, scaled)]
    masks = LinearMasks(x.shape[0], x.shape[1], w.shape[1], constants=constants, revealed=revealed)
    case = Case("linear", linear, masks, ((), ()))
    inputs: list[list[Any]] = [[x, *(s[DEVELOPER] for s in shares)], [None, *(s[AUDITOR] for s in shares)]]
    ((y0, dx, u0),), ((y1, none, u1),) = (results := record(case.party([inputs]), [case.plan]))[0]
    assert none is None
    return y0 + y1, dx, u0 + u1, results[1]


def values(n: int, f: int, h: int, kind: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n * f * h)
    if kind == "limit":  # the largest inputs, the lowest ring elements
        return (
            torch.full((n, f), -SMALL_LIMIT),
            torch.full((f, h), -(2**63)),
            torch.full((n, h), 2**63 - 1),
            torch.full((n, h), -(2**63)),
        )
    x = torch.randint(-SMALL_LIMIT, SMALL_LIMIT + 1, (n, f), generator=generator)
    return x, ring((f, h), generator), ring((n, h), generator), ring((n, h), generator)


@pytest.mark.parametrize("revealed", REVEALED)
@pytest.mark.parametrize("kind", ["uniform", "limit"])
@pytest.mark.parametrize("shape", SHAPES)
def test_products_are_exact_in_the_ring(shape: tuple[int, int, int], kind: str, revealed: int) -> None:
    x, w, dy, scaled = values(*shape, kind)
    y, dx, update, _ = run(x, w, dy, scaled, revealed=revealed)
    assert torch.equal(y, matmul(x, w))
    assert torch.equal(update, matmul(x.T, scaled))
    error = ((matmul(dy, w.T) >> (64 - revealed)) - dx).to(REVEALED[revealed])  # wrapping like the ring
    assert set(error.flatten().tolist()) <= {-1, 0, 1}


def test_gradient_of_constant_inputs_is_not_computed() -> None:
    x, w, dy, scaled = values(4, 6, 3, "uniform")
    _, dx, update, views = run(x, w, dy, scaled, constants=2)
    assert ((matmul(dy, w.T) >> 32)[:, :4] - dx).abs().max() <= 1
    assert torch.equal(update, matmul(x.T, scaled))
    (top,) = [t for t in views[DEVELOPER].incoming if t.dtype == torch.int32]
    assert top.shape == (4, 4)


@pytest.mark.parametrize("revealed", REVEALED)
def test_the_opened_gradient_is_right_on_average_and_never_far_off(revealed: int) -> None:
    """Half a unit added, the error has mean 0 and a standard deviation of half a unit, wherever the value lies."""
    n, f, unit = 400, 50, 1 << (64 - revealed)
    for part in (0, 1, unit // 3, unit // 2, unit - 1):
        exact = 7 * unit + part
        w, dy = torch.ones(f, 1, dtype=torch.int64), torch.full((n, 1), exact)
        _, dx, _, _ = run(torch.zeros(n, f, dtype=torch.int64), w, dy, torch.zeros_like(dy), revealed=revealed)
        error = dx.double() + 0.5 - (7 + part / unit)
        assert float(error.abs().max()) <= 1.5
        assert abs(float(error.mean())) < 5 * 0.5 / (n * f) ** 0.5
        assert abs(float(error.std()) - 0.5) < 0.02


@pytest.mark.parametrize("revealed", REVEALED)
@pytest.mark.parametrize("constants", [0, 1])
def test_bytes_and_rounds_are_those_of_the_docstring(constants: int, revealed: int) -> None:
    n, f, h = 6, 5, 3
    _, _, _, views = run(*values(n, f, h, "uniform"), constants=constants, revealed=revealed)
    payload = [sum(t.numel() * t.element_size() for t in flat(view.sent)) for view in views]
    assert payload[DEVELOPER] == 8 * (f * h + n * f + n * h)
    assert payload[AUDITOR] == 8 * (f * h + 2 * n * h) + revealed // 8 * n * (f - constants)
    masks = LinearMasks(n, f, h, constants=constants, revealed=revealed)
    dealt = sum(torch.Size(field.shape).numel() * field.correction[0].itemsize for *_, field in corrected({"l": masks}))
    assert dealt == 8 * (n * h + f * h) + revealed // 8 * n * (f - constants)
    assert [message.tag for message in views[DEVELOPER].sent] == ["round-0", "round-1"]
    assert [message.tag for message in views[AUDITOR].sent] == ["round-0", "round-1", "round-2"]
