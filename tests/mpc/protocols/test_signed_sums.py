"""Sums with random signs: exact on shares, and as large as the docstring says, whatever the matrix is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from amint_mpc.mpc.protocols.ranges import SUMS
from amint_mpc.mpc.protocols.signed_sums import COLUMN, WHOLE, signed_sums
from tests.mpc.cases import ring, share

DRAWS = 60  # of SUMS sums


def drawn(w: Tensor) -> Tensor:
    """Sums over many openings, [DRAWS * SUMS]."""
    coins = [ring((64,), torch.Generator().manual_seed(seed)) for seed in range(DRAWS)]
    return torch.cat([signed_sums(w, coin, b"test") for coin in coins])


def test_shares_of_sums_are_sums_of_shares_and_both_parties_draw_the_same_signs() -> None:
    generator = torch.Generator().manual_seed(1)
    w, c = ring((30, 7), generator), ring((30, 7), generator)
    mine, theirs = share(w, generator)
    assert torch.equal(signed_sums(mine, c, b"x") + signed_sums(theirs, c, b"x"), signed_sums(w, c, b"x"))
    assert not torch.equal(signed_sums(w, c, b"x"), signed_sums(w, c, b"y"))
    assert not torch.equal(signed_sums(w, c, b"x"), signed_sums(w, c + 1, b"x"))


def test_every_entry_counts_once_with_a_sign() -> None:
    """Of a matrix with one entry each sum is that entry or its negative, about as often."""
    w = torch.zeros(9, 5, dtype=torch.int64)
    w[4, 2] = 1000
    sums = drawn(w)
    assert set(sums.unique().tolist()) == {1000, -1000}
    assert abs(float(sums.double().mean())) < 5 * 1000 / len(sums) ** 0.5


def matrices() -> dict[str, Tensor]:
    """Of few and of many entries that count, of which sums may well cancel."""
    normal = torch.randn(64, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    shapes: dict[str, Tensor] = {
        "random": normal,
        "all alike": torch.ones(64, 16),
        "two rows": torch.zeros(64, 16),
        "two entries": torch.zeros(64, 16),
        "four equal": torch.zeros(64, 16),
        "rank one": normal[:, :1] * normal[:1, :],
        "one unit": torch.zeros(64, 16),
        "falling": 2.0 ** -torch.arange(64).double()[:, None] * torch.ones(1, 16),
        "identity": torch.eye(64)[:, :16],
    }
    shapes["two rows"][:2] = 1
    shapes["two entries"][3, 3:5] = 1
    shapes["four equal"][:2, :2] = 1
    shapes["one unit"][:, 5] = 1
    return {name: (w.double() * 2**20).long() for name, w in shapes.items()}


@pytest.mark.parametrize("name", list(matrices()))
def test_a_quarter_of_the_sums_is_as_large_as_promised(name: str) -> None:
    w = matrices()[name]
    sums, slack = drawn(w).abs().double(), 5 * (3 / 16 / DRAWS / SUMS) ** 0.5
    real = w.double()
    for bound in (real.abs().max(), real.norm(dim=0).max() / 4, real.norm() / 24):
        assert float((sums >= bound).double().mean()) > 0.25 - slack


def test_the_factors_are_those_of_the_docstring() -> None:
    """Three times a limit may pass; (3/4)^SUMS is the chance that none of the sums shows it."""
    assert (COLUMN, WHOLE) == (3 * 4, 3 * 4 * 6)
    assert 0.75**SUMS < 2.0**-41
