"""How finely a developer can tell the gradient: no more so than with a dealer, who cuts its share of a mask."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.pair.matrices import MatrixProducts
from amint_mpc.mpc.protocols.linear import LinearMasks
from amint_mpc.mpc.ring.products import matmul
from amint_mpc.mpc.rlwe.native import library
from tests.mpc.pair.makers import make_both

MASKS = LinearMasks(32, 24, 4, constants=1)
UNIT = 2.0**32
pytestmark = pytest.mark.skipif(library() is None, reason="the functions in C were not built")


def errors(monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Of the best guess at S R^T, in units of what is opened, from all bits that the developer has of its share and the
    top bits of the auditor's: the middle of what is possible."""
    own: list[Tensor] = []
    multiply = MatrixProducts.multiply

    def watched(products: MatrixProducts, cut: Any, matrices: Any) -> Any:
        found = yield from multiply(products, cut, matrices)
        if products._rounds.party == DEVELOPER and "sr" in found:
            own.append(found["sr"].clone())
        return found

    monkeypatch.setattr(MatrixProducts, "multiply", watched)
    made = make_both([{"linear": MASKS}], seed=5, real=True)
    d, a = (made[party][0]["linear"] for party in (DEVELOPER, AUDITOR))
    whole = sum(matmul(one["s"], other["r"][: MASKS.features].T) for one, other in ((d, a), (a, d)))
    opened = (a["sr"] >> 32) << 32
    off = own[0] + opened - whole
    guess = off.double() / UNIT
    return guess - guess.mean()


def test_the_developer_can_tell_it_no_more_finely_than_with_a_dealer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two uniform parts of a unit that it does not know, as with a dealer: 1 / sqrt(6)."""
    assert 0.38 < errors(monkeypatch).std() < 0.44


def test_without_the_auditors_number_it_could(monkeypatch: pytest.MonkeyPatch) -> None:
    """The defence taken out: one part alone, 1 / sqrt(12)."""
    monkeypatch.setattr(MatrixProducts, "words_below", lambda _, bits, shape: torch.zeros(shape, dtype=torch.int64))
    assert errors(monkeypatch).std() < 0.31
