"""Sigmoid by one-time tables: unbiased to 2^-11 over the whole range, never far off in a single draw."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import corrected, expand
from amint_mpc.mpc.correlations.prg import SecretStream
from amint_mpc.mpc.protocols.sigmoid import (
    CLASSES,
    HIGH_SHIFT,
    LOW_SHIFT,
    VALUE_BITS,
    VALUES,
    SigmoidTables,
    mask_index,
)
from amint_mpc.mpc.ring import fixed_point as fp
from tests.mpc.cases import Case, share, sigmoid
from tests.mpc.views import flat, record

DRAWS = 2048
MEAN_ERROR, DRAW_ERROR = 2.0**-11, 2.0**-11 + 3 / 128
RANGE = 496.0


def run(z: Tensor, seed: int = 0) -> Tensor:
    """p of float64 logits [n], by both parties over a channel."""
    shares = share(torch.round(z.double() * 2.0**fp.Z_BITS).long(), torch.Generator().manual_seed(seed))
    case = Case("sigmoid", sigmoid, SigmoidTables(len(z)), ((), ()))
    ((one,), (two,)), _ = record(case.party([[[shares[0]], [shares[1]]]]), [case.plan], seed)
    p: Tensor = (one + two).double() / 2.0**VALUE_BITS
    return p


def stratified(z: float, seed: int) -> Tensor:
    """p of one logit for DRAWS masks, the low 55 bits of whose shares are spread evenly: its mean is that over the
    rounding."""
    generator, order = torch.Generator().manual_seed(seed), torch.arange(DRAWS)
    backwards = sum(((order >> bit) & 1) << (10 - bit) for bit in range(11))  # so that all pairs of parts occur

    def spread(order: Tensor) -> Tensor:
        steps = (order + torch.rand(DRAWS, generator=generator, dtype=torch.float64)) / DRAWS
        return (steps * 2.0**55).long() + (torch.randint(0, 512, (DRAWS,), generator=generator) << 55)

    plan = {"s": SigmoidTables(DRAWS)}
    drawn = [expand(plan, SecretStream(bytes([seed % 256, i]) * 16, "t"), i, 0)["s"] for i in range(2)]
    drawn[DEVELOPER]["r"], drawn[AUDITOR]["r"] = spread(order), spread(backwards)
    drawn[DEVELOPER].update(plan["s"].corrections(drawn[DEVELOPER], drawn[AUDITOR]))
    secret = torch.full((DRAWS,), round(z * 2**fp.Z_BITS))
    shares = share(secret, generator)
    case = Case("sigmoid", sigmoid, plan["s"], ((), ()))

    class Fixed:
        def __init__(self, supply: object, party: int) -> None:
            self.party = party

        def take(self, step: int, plan: object) -> dict[str, dict[str, Tensor]]:
            return {"sigmoid": drawn[self.party]}

    party = case.party([[[shares[0]], [shares[1]]]])
    ((one,), (two,)), _ = record(lambda i, channel, supply: party(i, channel, Fixed(supply, i)), [case.plan])
    p: Tensor = (one + two).double() / 2.0**VALUE_BITS
    return p


FINE = [k / 16 + offset for k in range(-272, 273, 32) for offset in (0.0, 0.03125, 0.011)]


def test_mean_over_the_rounding() -> None:
    for number, z in enumerate(FINE):
        p = stratified(z, number)
        exact = torch.sigmoid(torch.tensor(z, dtype=torch.float64))
        assert abs(p.mean() - exact) <= MEAN_ERROR, z
        assert (p - exact).abs().max() <= DRAW_ERROR, z


def test_mean_and_each_draw_over_the_whole_range() -> None:
    z = torch.linspace(-RANGE + 2**-20, RANGE - 2**-20, 20_000, dtype=torch.float64)
    error = run(z) - torch.sigmoid(z)
    assert error.abs().max() <= DRAW_ERROR
    assert abs(error.mean()) <= MEAN_ERROR
    middle = z.abs() < 8
    spread = error[middle].std() / middle.sum() ** 0.5
    assert abs(error[middle].mean()) <= 2.0**-12 + 5 * spread


def test_every_magnitude_near_zero() -> None:
    z = torch.cat([2.0 ** -torch.arange(0, 50).double(), -(2.0 ** -torch.arange(0, 50).double()), torch.zeros(100)])
    assert (run(z) - torch.sigmoid(z)).abs().max() <= DRAW_ERROR


def test_saturates_at_both_ends_and_never_wraps() -> None:
    edges = torch.tensor([16.0, 16.0 + 1 / 64, 17, 23.99, 24, 31.99, 32, 64, 128, 255.9, 256, 384, 495, RANGE - 2**-20])
    high = edges.double().repeat(100)
    assert (run(high, 1) == 1).all()
    assert (run(-high - 1e-9, 2) == 0).all()


def test_ends_of_the_table_are_monotone_and_never_wrap() -> None:
    """Just inside +-16 a rounded index would come out at the table's other end; the class is then the outer one."""
    z = torch.linspace(15.5, 16.5, 5_000, dtype=torch.float64)
    assert (run(z) >= 1 - 2.0**-12).all()
    assert (run(-z) <= 2.0**-12).all()
    means = [float(stratified(z, 7).mean()) for z in (-40.0, -16.0, -12.0, -9.0, -7.0, 0.0, 7.0, 9.0, 12.0, 16.0, 40.0)]
    assert means == sorted(means)


@pytest.mark.parametrize("z", [7.0, 1.0, 0.0, -1.0, -7.0])
def test_between_two_entries_both_are_as_often(z: float) -> None:
    """The entries lie half a step beside the sixteenths."""
    p = run(torch.full((1000,), z, dtype=torch.float64))
    entries = torch.sigmoid(torch.tensor([z - 1 / 32, z + 1 / 32], dtype=torch.float64))
    distance = (p[:, None] - entries).abs()
    assert float(distance.min(dim=1).values.max()) <= 2.0**-VALUE_BITS
    assert abs(float(distance.argmin(dim=1).double().mean()) - 0.5) < 5 * 0.5 / 1000**0.5


def test_parts_of_a_mask_are_cut_each_for_itself() -> None:
    """What each party knows of the rotation of a table is all of it: no carry from the bits below."""
    ones = torch.full((4,), -1)
    masks = SigmoidTables(4)
    zeros = {key: torch.zeros(field.shape, dtype=field.dtype) for key, field in masks.fields.items()}
    dealt = masks.corrections({"r": ones, "flip": zeros["flip"]}, {**zeros, "r": ones})
    for key, table, shift in (("values", VALUES, LOW_SHIFT), ("classes", CLASSES, HIGH_SHIFT)):
        turned = 2 * int(mask_index(ones, shift, len(table))[0])
        assert turned == 2 * (len(table) - 1)
        assert torch.equal(dealt[key][0], table.roll(turned))


def test_bytes_and_rounds_are_those_of_the_docstring() -> None:
    n = 5
    case = Case("sigmoid", sigmoid, SigmoidTables(n), ((), ()))
    zero = [torch.zeros(n, dtype=torch.int64)]
    _, views = record(case.party([[zero, zero]]), [case.plan])
    for view in views:
        assert [m.tag for m in view.sent] == ["round-0", "round-1"]
        assert sum(t.numel() * t.element_size() for t in flat(view.sent)) == 10 * n
    dealt = sum(torch.Size(field.shape).numel() * field.correction[0].itemsize for *_, field in corrected(case.plan))
    assert dealt == 1520 * n
