"""The test of ranges: it accepts all of a range, refuses all that is far outside, and its messages say nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc.errors import ProtocolError
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import Field, MaskRef, Plan, corrected
from amint_mpc.mpc.protocols import ranges
from amint_mpc.mpc.protocols.ranges import SUMS, VECTOR_SUMS, Checks, RangeMasks
from amint_mpc.mpc.protocols.rounds import Rounds
from tests.mpc.cases import Case, ring, share
from tests.mpc.local_dealer import local_supplies
from tests.mpc.parties import run_both
from tests.mpc.views import explained, flat, record, stacked, suspicious

WINDOWS = [
    (46, torch.int16),
    (59, torch.int16),
    (61, torch.int16),
    (62, torch.int32),
    (40, torch.int32),
    (20, torch.int32),
]
SHAPE = (25, 40)


def checked(rounds: Rounds, masks: RangeMasks, material: Any, inputs: Any) -> Tensor:
    """inputs: share of y. Opens it under its mask and tests it (`centred`); returns c."""
    c = rounds.open(inputs[0] + material["r"])
    rounds.exchange()
    tests = Checks(rounds)
    found = ranges.excess(masks, material, c.value, ranges.offset(masks, True), rounds.party)
    tests.post("y", found, c.value)
    rounds.exchange()
    tests.settle()
    return c.value


def excess_of(y: Tensor, masks: RangeMasks, centred: bool, seed: int = 0) -> Tensor:
    """D (D - 1), opened."""
    plan, generator = {"t": masks}, torch.Generator().manual_seed(seed)
    both = [supply.take(0, plan)["t"] for supply in local_supplies([plan], seed)]
    c = sum(share(y, generator)) + both[0]["r"] + both[1]["r"]
    offset = ranges.offset(masks, centred)
    return sum(ranges.excess(masks, m, c, offset, party) for party, m in enumerate(both))  # type: ignore[return-value]


@pytest.mark.parametrize(("window", "word"), WINDOWS)
@pytest.mark.parametrize("centred", [True, False])
def test_accepts_all_of_the_range_and_refuses_all_beyond_three_times_it(
    window: int, word: torch.dtype, centred: bool
) -> None:
    masks, half = RangeMasks(SHAPE, window, None, word), 1 << (window - 1)
    low = -half if centred else 0
    generator = torch.Generator().manual_seed(1)
    inside = low + (ring(SHAPE, generator) >> 1 & (2 * half - 1))
    inside.view(-1)[:6] = torch.tensor([low, low + 1, low + 2 * half - 1, low + half, low + half - 1, low + 7])
    assert not excess_of(inside, masks, centred).any()
    far = [low - 2 * half - 1, low + 4 * half, low + 4 * half + 1, low - 3 * half, low + 5 * half]
    for y in far if window < 61 else far[:1]:  # the ring ends there
        assert excess_of(torch.full(SHAPE, y), masks, centred).all()
    for y in (low - half, low + 3 * half):  # between: now and then
        assert 0.3 < excess_of(torch.full(SHAPE, y), masks, centred).bool().double().mean() < 0.7


@pytest.mark.parametrize("power", range(14))
def test_one_value_beyond_is_seen_whatever_its_size(power: int) -> None:
    """Also where D (D - 1) has many factors of 2, so that a sum may well be 0 by chance."""
    masks = RangeMasks((300, 2), 46, None, torch.int16)
    y = torch.zeros(300, 2, dtype=torch.int64)
    y[7, 1] = (2 << power) << 46
    found = excess_of(y, masks, True, power)
    assert int(found.bool().sum()) == 1
    for seed in range(50):
        assert ranges.subset_sums(found, ring((64,), torch.Generator().manual_seed(seed))).any()


def test_sums_of_zeros_are_zero_and_others_are_so_as_often_as_the_docstring_says() -> None:
    zeros, worst = torch.zeros(20, 30, dtype=torch.int16), torch.zeros(20, 30, dtype=torch.int16)
    worst[3, 4] = -(2**15)
    half, three_quarters = [], []
    for seed in range(200):
        coin = ring((64,), torch.Generator().manual_seed(seed))
        assert not ranges.subset_sums(zeros, coin).any()
        three_quarters.append((ranges.subset_sums(worst, coin) == 0).double().mean())
        half.append((ranges.subset_sums(worst[3], coin) == 0).double().mean())
    assert abs(float(torch.stack(three_quarters).mean()) - 0.75) < 0.02
    assert abs(float(torch.stack(half).mean()) - 0.5) < 0.02
    assert 0.75**SUMS < 2.0**-41
    assert 0.5**VECTOR_SUMS < 2.0**-41


def test_subsets_are_of_what_was_opened() -> None:
    values = ring((9, 9), torch.Generator().manual_seed(1)).to(torch.int16)
    coins = [ring((64,), torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    one, same, other = (ranges.subset_sums(values, coin) for coin in coins)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_both_parties_end_with_the_error() -> None:
    case, bad = Case("ranges", checked, RangeMasks((4, 3), 46, None, torch.int16), ((), ())), 1 << 50
    shares = share(torch.full((4, 3), bad), torch.Generator().manual_seed(1))
    ended = []

    def party(index: int, channel: Any, supply: Any) -> None:
        with pytest.raises(ProtocolError, match="y of the head left the range") as caught:
            case.party([[[shares[0]], [shares[1]]]])(index, channel, supply)
        ended.append(caught.value.message)

    run_both(party, [case.plan])
    assert len(ended) == 2


def test_windows_may_differ_from_entry_to_entry() -> None:
    windows = tuple(range(20, 60))
    masks = RangeMasks((40,), tuple((1, window) for window in windows))
    whole = torch.tensor([1 << w for w in windows])
    assert not excess_of(whole - 1, masks, False).any()
    assert excess_of(2 * whole, masks, False).all()
    assert excess_of(-whole - 1, masks, False).all()
    assert not excess_of(-whole // 2, masks, True).any()


# ------------------------------------------------------------------------------------------------ views

ROWS, HIDDEN, WINDOW = 4, 3, 46
TESTED = Case(
    "ranges", checked, RangeMasks((ROWS, HIDDEN), WINDOW, None, torch.int16), ((("r", 1), None), (("r", 1), None))
)


def values(seed: int, size: int = 1 << WINDOW - 1) -> Tensor:
    return torch.randint(-size, size, (ROWS, HIDDEN), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("viewer", [DEVELOPER, AUDITOR])
def test_a_view_fits_any_other_values_in_the_range(viewer: int) -> None:
    mine = ring((ROWS, HIDDEN), torch.Generator().manual_seed(7))

    def inputs(y: Tensor) -> list[list[Any]]:
        both = [[mine], [y - mine]]
        return both if viewer == DEVELOPER else both[::-1]

    _, views = record(TESTED.party([inputs(values(1))]), [TESTED.plan])
    sent = TESTED.sent_under(1 - viewer, 1)
    fits, results = explained(TESTED.party([inputs(values(2))]), [TESTED.plan], viewer, views, sent)
    assert fits
    assert torch.equal(results[0][0], results[1][0])
    beyond = values(3)
    beyond[1, 1] = 5 << WINDOW
    assert not explained(TESTED.party([inputs(beyond)]), [TESTED.plan], viewer, views, sent)[0]


def test_a_variant_that_opens_the_numbers_themselves_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """D instead of D (D - 1): it is 0 or 1 by the carry, which says something of y."""

    def carry(masks: RangeMasks, material: Any, opened: Tensor, added: Tensor | int, party: int) -> Tensor:
        share = -material["high"]
        return share + masks.lifted(masks.high(opened + added)) if party == DEVELOPER else share

    monkeypatch.setattr(ranges, "excess", carry)
    monkeypatch.setattr(Checks, "settle", lambda _: None)
    mine = ring((ROWS, HIDDEN), torch.Generator().manual_seed(7))
    _, views = record(TESTED.party([[[mine], [values(1) - mine]]]), [TESTED.plan])
    others = TESTED.party([[[mine], [values(2) - mine]]])
    assert not explained(others, [TESTED.plan], DEVELOPER, views, TESTED.sent_under(AUDITOR, 1))[0]


def test_messages_are_uniform_and_the_sums_are_the_receivers_own() -> None:
    views = []
    for seed in range(60):
        inputs = [[torch.zeros(ROWS, HIDDEN, dtype=torch.int64)] for _ in range(2)]
        views.append(record(TESTED.party([inputs]), [TESTED.plan], seed)[1])
    for viewer in (DEVELOPER, AUDITOR):
        sent = TESTED.sent_under(1 - viewer, 1)
        assert suspicious(*stacked([both[viewer] for both in views], sent, {})) == []
        for both in views:
            assert torch.equal(both[viewer].incoming[1], -flat(both[viewer].sent)[1])


def test_bytes_and_rounds_are_those_of_the_docstring() -> None:
    zero = [torch.zeros(ROWS, HIDDEN, dtype=torch.int64)]
    _, views = record(TESTED.party([[zero, zero]]), [TESTED.plan])
    for view in views:
        assert [m.tag for m in view.sent] == ["round-0", "round-1"]
        assert flat(view.sent)[1].numel() * 2 == 200
    for masks, an_entry in ((RangeMasks((9,), 40), 8), (TESTED.correlation, 4)):
        plan: Plan = {"t": masks}
        dealt = sum(torch.Size(f.shape).numel() * f.correction[0].itemsize for *_, f in corrected(plan))
        assert dealt == an_entry * torch.Size(masks.shape).numel()
    assert set(RangeMasks((9,), 40, MaskRef("other", "r")).fields) == {"high", "squared"}
    assert TESTED.correlation.fields["r"] == Field((ROWS, HIDDEN))
