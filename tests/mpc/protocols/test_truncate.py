"""Truncation from masked top bits: exact up to one unit, unbiased, never wrong by more; what is sent says nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import corrected
from amint_mpc.mpc.protocols import truncate as protocol
from amint_mpc.mpc.protocols.truncate import TruncationMasks, finish, masked_signs
from tests.mpc.cases import Case, ring, share, truncation
from tests.mpc.local_dealer import local_supplies
from tests.mpc.views import Mask, explained, flat, record, stacked, suspicious

BITS = [1, 12, 16, 17, 32, 40, 62]
PARTIES = pytest.mark.parametrize("viewer", [DEVELOPER, AUDITOR], ids=["developer", "auditor"])


def truncate(x: Tensor, bits: int, seed: int = 0) -> Tensor:
    """By both parties, their messages put together in place."""
    masks = TruncationMasks(tuple(x.shape), bits)
    material = [supply.take(0, {"t": masks})["t"] for supply in local_supplies([{"t": masks}], seed)]
    shares = share(x, torch.Generator().manual_seed(seed))
    developer, auditor = (masked_signs(shares[party], material[party], party) for party in (DEVELOPER, AUDITOR))
    mine, theirs = (
        finish(shares[party], (developer, auditor), masks, material[party], party) for party in (DEVELOPER, AUDITOR)
    )
    return mine + theirs


def values(count: int, seed: int) -> Tensor:
    """All magnitudes below 2^62, both signs, and the extremes."""
    generator = torch.Generator().manual_seed(seed)
    wide = torch.randint(-(2**62), 2**62, (count,), generator=generator)
    x = wide >> torch.randint(0, 62, (count,), generator=generator)
    edges = torch.tensor([0, 1, -1, 2**62 - 1, -(2**62), 2**61, -(2**61), 2**16, -(2**16), 2**16 - 1])
    x[: len(edges)] = edges
    return x


@pytest.mark.parametrize("bits", BITS)
def test_exact_up_to_one_unit(bits: int) -> None:
    x = values(1_000_000 if bits == 16 else 50_000, bits)
    error = truncate(x, bits, bits) - (x >> bits)
    assert set(error.unique().tolist()) <= {0, 1}


def test_shares_at_the_ends_of_the_ring() -> None:
    """Where a share's top bit, or the offset that the developer adds, turns over."""
    ends = torch.tensor([0, 1, -1, 2**62, 2**62 - 1, -(2**62), -(2**62) - 1, 2**63 - 1, -(2**63), 2**61])
    mine, x = (
        t.reshape(-1) for t in torch.meshgrid(ends, torch.tensor([0, 5, -5, 2**62 - 1, -(2**62)]), indexing="ij")
    )
    case = Case("t", truncation, TruncationMasks(tuple(x.shape), 16), ((), ()))
    for shares in ((mine, x - mine), (x - mine, mine)):
        ((one,), (two,)), _ = record(case.party([[[shares[0]], [shares[1]]]]), [case.plan])
        assert set((one + two - (x >> 16)).unique().tolist()) <= {0, 1}


def test_unbiased() -> None:
    for fraction in (0.0, 0.1, 0.5, 0.9):
        x = torch.full((200_000,), int((7 + fraction) * 2**16))
        mean = (truncate(x, 16) - 7).double().mean()
        assert abs(mean - fraction - 2.0**-16) < 5 * 0.5 / 200_000**0.5


@pytest.mark.parametrize("factor", [3, 115, 127, 65535])
def test_a_share_times_an_odd_number_is_rounded_without_bias(factor: int) -> None:
    """As momentum and learning rates need it."""
    generator = torch.Generator().manual_seed(factor)
    x = torch.randint(-1000, 1000, (200_000,), generator=generator)
    error = truncate(x * factor, 16, factor).double() - x * factor / 2**16
    assert abs(float(error.mean())) < 5 * 0.5 / 200_000**0.5


def test_local_division_of_shares_fails_where_this_does_not() -> None:
    """CrypTen's two-party truncation: each party divides its own share."""
    x = torch.full((100_000,), 2**56)
    mine, theirs = share(x, torch.Generator().manual_seed(1))
    local = mine.div(2**16, rounding_mode="trunc") + theirs.div(2**16, rounding_mode="trunc")
    huge = (local - (x >> 16)).abs() > 2**40
    assert 100 < huge.sum() < 800  # expected: 100,000 * 2^56 / 2^64 = 391
    assert ((truncate(x, 16) - (x >> 16)).abs() <= 1).all()


@pytest.mark.parametrize("bits", [0, 63])
def test_refuses_other_shifts(bits: int) -> None:
    with pytest.raises(ValueError, match="1 to 62"):
        TruncationMasks((1,), bits)


@pytest.mark.parametrize(("bits", "width"), [(16, 2), (17, 4), (32, 4), (33, 8)])
@pytest.mark.parametrize("shape", [(1,), (3, 5), (16, 4)])
def test_bytes_and_rounds_are_those_of_the_docstring(bits: int, width: int, shape: tuple[int, ...]) -> None:
    case, zero = Case("t", truncation, TruncationMasks(shape, bits), ((), ())), [torch.zeros(shape, dtype=torch.int64)]
    _, views = record(case.party([[zero, zero]]), [case.plan])
    for view in views:
        assert [m.tag for m in view.sent] == ["round-0"]
        assert sum(t.numel() * t.element_size() for t in flat(view.sent)) == -(-zero[0].numel() // 8)
    dealt = sum(torch.Size(field.shape).numel() * field.correction[0].itemsize for *_, field in corrected(case.plan))
    assert dealt == width * zero[0].numel()


# ------------------------------------------------------------------------------------------------ views

SHAPE = (8, 5)
CASE = Case("t", truncation, TruncationMasks(SHAPE, 20), ((("alpha", 0),), (("beta", 0),)))


def inputs(seed: int) -> list[list[Any]]:
    generator = torch.Generator().manual_seed(seed)
    return [[ring(SHAPE, generator)], [ring(SHAPE, generator)]]


def without_a_mask(x: Tensor, material: Any, party: int) -> Tensor:
    """The broken variant: the top bits themselves."""
    zeros = {key: torch.zeros_like(tensor) for key, tensor in material.items()}
    return masked_signs(x, zeros, party)


@PARTIES
@pytest.mark.parametrize("fault", ["none", "no alpha", "alpha reused"])
def test_a_view_fits_any_other_value_unless_the_protocol_is_broken(
    viewer: int, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two truncations, which fit any two values of the other party; the two faults must show."""
    if fault == "no alpha":
        monkeypatch.setattr(protocol, "masked_signs", without_a_mask)
    real, others = [inputs(1), inputs(2)], [inputs(3), inputs(4)]
    for mine, theirs in zip(real, others, strict=True):
        theirs[viewer] = mine[viewer]
    again = fault == "alpha reused"
    _, views = record(CASE.party(real), [CASE.plan] * 2, again=again)
    sent = [mask and Mask(0 if again else mask.step, mask.name, mask.key, 0) for mask in CASE.sent_under(1 - viewer, 2)]
    party = CASE.party(others)
    fits, _ = explained(_of_step_0(party) if again else party, [CASE.plan] * 2, viewer, views, sent)
    assert fits == (fault == "none")


def _of_step_0(party: Any) -> Any:
    class Again:
        def __init__(self, supply: Any) -> None:
            self._supply = supply

        def take(self, step: int, plan: Any) -> Any:
            return self._supply.take(0, plan)

    return lambda index, channel, supply: party(index, channel, Again(supply))


@PARTIES
def test_messages_are_uniform_and_the_same_masks_twice_are_caught(viewer: int) -> None:
    """Both parties' shares have their top bits set; what is sent is random nevertheless, once."""
    shares = [[torch.full(SHAPE, -(2**62))] for _ in range(2)]
    found = []
    for again in (False, True):
        views = [record(CASE.party([shares, shares]), [CASE.plan] * 2, seed, again)[1][viewer] for seed in range(80)]
        found.append(suspicious(*stacked(views, CASE.sent_under(1 - viewer, 2), {})))
    assert found[0] == []
    assert any(name.count("message") == 2 for name in found[1])


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_hundred_million_never_large() -> None:
    for seed in range(100):
        x = values(1_000_000, seed)
        error = truncate(x, 16, seed) - (x >> 16)
        assert set(error.unique().tolist()) <= {0, 1}
