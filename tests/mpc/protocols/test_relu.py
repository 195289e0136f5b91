"""ReLU from one opening: the sign over its whole range, and logits and gradients exact given the sign."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from amint_mpc.limits import blocks
from amint_mpc.mpc.correlations.base import corrected
from amint_mpc.mpc.protocols.relu import ReluMasks
from amint_mpc.mpc.ring import fixed_point as fp
from tests.mpc.cases import Case, relu, ring, share
from tests.mpc.views import flat, record

ONE = 2**fp.Y_BITS
RESOLUTION = ONE >> 12
LIMIT = int(fp.SIGN_LIMIT) * ONE


def run(y: Tensor, w2: Tensor, g: Tensor, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """z, dY, dw2 and s."""
    generator = torch.Generator().manual_seed(seed)
    shares = [share(value, generator) for value in (y, w2, g)]
    case = Case("relu", relu, ReluMasks(*y.shape), ((), ()))
    inputs = [[s[party] for s in shares] for party in range(2)]
    ((one,), (two,)), _ = record(case.party([inputs]), [case.plan], seed)
    z, dy, dw2, s = (a + b for a, b in zip(one, two, strict=True))
    return z, dy, dw2, s


def signs(y: Tensor, seed: int = 0) -> Tensor:
    rows = y.reshape(-1, 64)
    zeros = torch.zeros(64, dtype=torch.int64), torch.zeros(len(rows), dtype=torch.int64)
    return run(rows, *zeros, seed)[3].reshape(y.shape)


def fill(edges: list[int], count: int) -> Tensor:
    return torch.tensor(edges).repeat(-(-count // len(edges)))[: -(-count // 64) * 64]


@pytest.mark.parametrize("parts", [4, pytest.param(40, marks=[pytest.mark.long, pytest.mark.timeout(1200)])])
def test_sign_is_right_for_a_million_values_of_the_whole_range(parts: int) -> None:
    generator = torch.Generator().manual_seed(1)
    for part in range(parts):
        y = torch.randint(-LIMIT, LIMIT - RESOLUTION + 1, (2**18,), generator=generator)
        y = y >> torch.randint(0, 30, y.shape, generator=generator)  # every magnitude
        decided = (y >= 0) | (y <= -RESOLUTION)
        assert decided.double().mean() > 0.5
        assert torch.equal(signs(y, part)[decided], (y >= 0).long()[decided])


def test_sign_at_the_edges() -> None:
    powers = [s * 2**k + d for k in range(24, 49) for s in (1, -1) for d in (-1, 0, 1)]
    edges = [v for v in powers if v >= 0 or v <= -RESOLUTION]
    edges += [0, 1, RESOLUTION - 1, -RESOLUTION, -RESOLUTION - 1, -LIMIT, -LIMIT + 1, LIMIT - RESOLUTION]
    y = fill(edges, 64 * 500)
    assert torch.equal(signs(y), (y >= 0).long())


def test_sign_just_outside_the_edges_is_what_the_docstring_says() -> None:
    """Negative values above -2^-12 may count as positive, and so may the last 2^-12 below 2048 as negative."""
    low = signs(fill([-RESOLUTION // 4], 64_000)).double().mean()
    assert abs(low - 0.75) < 5 * 0.5 / 64_000**0.5  # as often as the dropped bits carry
    high = signs(fill([LIMIT - RESOLUTION // 4], 64_000)).double().mean()
    assert abs(high - 0.25) < 5 * 0.5 / 64_000**0.5
    assert (signs(fill([LIMIT], 6400)) == 0).all()  # beyond the range: garbage


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (7, 3), (2, 64), (128, 64)])
def test_logits_and_gradients_are_exact_given_the_sign(shape: tuple[int, int]) -> None:
    """In the ring, for any w2 and g at all; packed signs of every length."""
    generator = torch.Generator().manual_seed(sum(shape))
    y = torch.randint(-LIMIT, LIMIT - RESOLUTION, shape, generator=generator)
    w2, g = ring(shape[1:], generator), ring(shape[:1], generator)
    z, dy, dw2, s = run(y, w2, g)
    assert torch.equal(s, (y >= 0).long())
    assert torch.equal(z, (s * y * w2).sum(dim=1))
    assert torch.equal(dy, g[:, None] * s * w2)
    assert torch.equal(dw2, (g[:, None] * s * y).sum(dim=0))


def test_exact_with_the_sign_that_was_decided_even_where_it_is_arbitrary() -> None:
    """Where s may be wrong, forward and backward at least agree on it."""
    generator = torch.Generator().manual_seed(1)
    y = torch.randint(-RESOLUTION, 0, (20, 10), generator=generator)
    w2, g = ring((10,), generator), ring((20,), generator)
    z, dy, _, s = run(y, w2, g)
    assert 0 < s.double().mean() < 1
    assert torch.equal(z, (s * y * w2).sum(dim=1))
    assert torch.equal(dy, g[:, None] * s * w2)


@pytest.mark.parametrize(("n", "h"), [(4, 8), (3, 5)])
def test_bytes_and_rounds_are_those_of_the_docstring(n: int, h: int) -> None:
    case = Case("relu", relu, ReluMasks(n, h), ((), ()))
    zero = [torch.zeros(shape, dtype=torch.int64) for shape in ((n, h), (h,), (n,))]
    _, views = record(case.party([[zero, zero]]), [case.plan])
    for view in views:
        forward, backward = view.sent[:4], view.sent[4:]
        assert [m.tag for m in forward] == ["round-0", "round-1", "round-2", "round-3"]
        assert sum(t.numel() * t.element_size() for t in flat(forward)) == 16 * n * h + 8 * h + 2 * n * h + -(
            -n * h // 8
        )
        assert [(m.tag, m.tensors[0].numel() * 8) for m in backward] == [("round-4", 8 * n)]

    def dealt(training: bool) -> int:
        fields = corrected({"relu": ReluMasks(n, h, training)})
        return sum(torch.Size(field.shape).numel() * field.correction[0].itemsize for *_, field in fields)

    assert dealt(True) == 82 * n * h + 8 * n + 8 * h * blocks(n)
    assert dealt(False) == 50 * n * h + 8 * n
