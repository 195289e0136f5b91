"""What masks of two parties cost on a link, where one profile becomes cheaper than the other, and waiting for masks."""

import time

import pytest

from amint_mpc.bench import party
from amint_mpc.bench.delay import DelayedLink
from amint_mpc.bench.masks import MBIT, PROFILES, SETUP, MaskCost, crossing, mask_costs
from amint_mpc.bench.setup import Setup
from amint_mpc.errors import AmintError
from amint_mpc.roles.backends import Backing

LAN = MaskCost(cpu=(0.2, 0.1), rounds=8, developer=40_000_000, auditor=50_000_000)
WAN = MaskCost(cpu=(0.5, 0.3), rounds=8, developer=20_000_000, auditor=25_000_000)


@pytest.mark.parametrize(
    ("rtt_ms", "mbit", "cores", "seconds"),
    [
        (0, None, 2, 0.15),  # both parties on two cores
        (0, None, 1, 0.3),
        (0, None, 16, 0.15),  # two threads at each party, who compute in turns
        (50, None, 2, 0.25),  # a round takes 25 ms
        (50, None, 1, 0.25),  # a core for each
        (0, 1000, 2, 0.4),  # 50 MB in one direction
        (0, 4000, 2, 0.2),  # 0.1 s to send, which the other thread fills
    ],
)
def test_the_slowest_part_counts(rtt_ms: float, mbit: float | None, cores: int, seconds: float) -> None:
    assert LAN.on(DelayedLink.of(rtt_ms, mbit), cores) == pytest.approx(seconds)


def test_at_the_crossing_both_take_as_long() -> None:
    mbit = crossing(LAN, WAN, 5, 2)
    assert mbit is not None
    link = DelayedLink.of(5, mbit)
    assert LAN.on(link, 2) == pytest.approx(WAN.on(link, 2), rel=0.01)
    for below, above in ((LAN, WAN), (WAN, LAN)):
        rate = mbit * (0.5 if below is LAN else 2)
        link = DelayedLink.of(5, rate)
        assert below.on(link, 2) > above.on(link, 2)


@pytest.mark.parametrize(
    ("lan", "wan", "mbit"), [(LAN, LAN, None), (WAN, LAN, None), (LAN, MaskCost((0.1, 0.1), 8, 10, 10), MBIT[1])]
)
def test_one_that_is_better_or_worse_at_every_rate(lan: MaskCost, wan: MaskCost, mbit: float | None) -> None:
    assert crossing(lan, wan, 0, 2) == mbit


def test_each_kind_of_step_is_made_for_each_profile() -> None:
    found = mask_costs(Setup(8, 4, 4).without_dealer(2), repeats=1)
    assert tuple(found) == PROFILES
    for costs in found.values():
        assert SETUP in costs
        assert len(costs) > 2  # a training step, and a scoring batch
        for cost in costs.values():
            assert min(*cost.cpu, cost.rounds, cost.developer, cost.auditor) > 0


def test_masks_are_waited_for_as_long_as_more_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(party, "PATIENCE_S", 0.3)
    start = time.monotonic()
    backing = Backing(lambda _: None, ahead=lambda: int((time.monotonic() - start) / 0.1))  # type: ignore[arg-type]
    party.wait_for_masks(backing, None)
    assert time.monotonic() - start < 0.1
    party.wait_for_masks(backing, 6)
    assert time.monotonic() - start >= 0.6  # twice the patience
    with pytest.raises(AmintError, match=r"none came for 0\.3 s: 2 of 3"):
        party.wait_for_masks(Backing(lambda _: None, ahead=lambda: 2), 3)  # type: ignore[arg-type]
