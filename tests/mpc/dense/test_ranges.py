"""What lies outside the ranges of the head is refused with a clear error, before anything is sent; the smallest sizes
work; and a peer's well-formed but wrong values end in no crash."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from amint_mpc.errors import ProtocolError, UsageError
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.dense.descent import GradientDescent
from amint_mpc.mpc.dense.head import SecureHead
from amint_mpc.mpc.dense.layers import score_plan, train_plan
from amint_mpc.transport.channel import memory_pair
from tests.mpc.cases import CASES, head_party, head_plans, random_head
from tests.mpc.local_dealer import local_supplies
from tests.mpc.parties import run_both
from tests.mpc.views import Recorder, View, record

ROWS, INPUTS, HIDDEN = 4, 3, 2
RATE = GradientDescent(2, 6)
GOOD = torch.zeros(ROWS, INPUTS)


def developer_alone() -> tuple[SecureHead, View]:
    """A developer that holds its share of a head, and what it sends from then on."""
    near, far = memory_pair()
    view = View()
    plans = [train_plan(ROWS, INPUTS + 1, HIDDEN, RATE)]
    head = SecureHead(Recorder(near, view), DEVELOPER, local_supplies(plans)[DEVELOPER], INPUTS, HIDDEN, RATE)
    far.send("head", 0, *(torch.zeros(shape, dtype=torch.int64) for shape in head.shapes.values()))
    head.share_weights(None, None)
    return head, view


def spoiled(value: float) -> torch.Tensor:
    x = GOOD.clone()
    x[1, 2] = value
    return x


@pytest.mark.parametrize("value", [8.001, -8.001, 1e30, float("inf"), -float("inf"), float("nan")])
def test_a_feature_out_of_range_is_refused_before_anything_is_sent(value: float) -> None:
    head, view = developer_alone()
    with pytest.raises(ProtocolError, match=r"outside \[-8, 8\]"):
        head.train_step(spoiled(value), torch.ones(ROWS))
    assert view.sent == []


@pytest.mark.parametrize("x", [None, GOOD[:3], GOOD[:, :2], GOOD[None], torch.zeros(ROWS, INPUTS + 1)])
def test_features_of_another_shape_are_refused_before_anything_is_sent(x: torch.Tensor | None) -> None:
    head, view = developer_alone()
    with pytest.raises(ProtocolError, match=r"shape \(4, 3\)"):
        head.train_step(x, torch.ones(ROWS))
    assert view.sent == []


def test_features_at_the_limit_are_taken() -> None:
    weights, masks = random_head(INPUTS, HIDDEN, 1)
    x = torch.tensor([[8.0, -8.0, 8.0]] * ROWS)
    plans = head_plans(ROWS, INPUTS, HIDDEN, 0, [ROWS])
    (_, (_, (logits,), _, _)) = run_both(head_party(weights, masks, [], torch.ones(ROWS), scored=[x]), plans)
    expected = torch.relu(x.double() @ weights["w1"] + weights["b1"]) @ weights["w2"] + weights["b2"]
    assert (logits - expected).abs().max() < 1e-2


@pytest.mark.parametrize(
    "rate", [GradientDescent(2, 3), GradientDescent(3, 24), GradientDescent(1, 0), GradientDescent(3, 0)]
)
def test_rates_within_the_limits_are_planned(rate: GradientDescent) -> None:
    ranges = {"squares", "in range", "hidden in range", "logits in range", "dw2 in range"}
    assert set(train_plan(2, 3, 4, rate)) == {"linear", "relu", "sigmoid", "dy", "dw2"} | ranges


@pytest.mark.parametrize(("numerator", "shift"), [(2, 25), (2, 41), (1, 64), (2, -1), (0, 8), (-1, 8), (4, 8)])
def test_a_rate_that_the_truncations_cannot_apply_is_refused_before_the_first_step(numerator: int, shift: int) -> None:
    with pytest.raises(UsageError, match=r"a / 2\^k with 1 <= a <= 3 and 0 <= k <= 24"):
        train_plan(2, 3, 4, GradientDescent(numerator, shift))


@pytest.mark.parametrize(("rows", "inputs", "hidden"), [(1, 1, 1), (1, 5, 3), (6, 1, 4), (6, 5, 1)])
def test_sizes_of_one_work(rows: int, inputs: int, hidden: int) -> None:
    weights, masks = random_head(inputs, hidden, 3)
    x = torch.randn(rows, inputs, generator=torch.Generator().manual_seed(1))
    targets = (torch.arange(rows) % 2).float()
    plans = head_plans(rows, inputs, hidden, 1, [rows], RATE)
    party = head_party(weights, masks, [x], targets, scored=[x], opened=True, rate=RATE)
    (gradients, _, _, _), (_, scores, opened, _) = run_both(party, plans)
    assert gradients[0].shape == (rows, inputs)
    expected = torch.relu(x.double() @ opened["w1"] + opened["b1"]) @ opened["w2"] + opened["b2"]
    assert (scores[0] - expected).abs().max() < 0.05


class _Wild:
    """A channel whose peer sends, in the frames of the right types and shapes, nothing but ones or random bits."""

    def __init__(self, channel: Any, seed: int) -> None:
        self._channel, self._generator = channel, torch.Generator().manual_seed(seed)
        self._ones = seed == 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def receive(self, tag: str, step: int, *specs: Any) -> list[torch.Tensor]:
        return [self._any(t) for t in self._channel.receive(tag, step, *specs)]

    def _any(self, tensor: torch.Tensor) -> torch.Tensor:
        if self._ones:
            return torch.full_like(tensor, -1 if tensor.dtype.is_signed else 255)
        size = tensor.numel() * tensor.element_size()
        raw = torch.randint(0, 256, (size,), generator=self._generator, dtype=torch.uint8)
        return raw.view(tensor.dtype).reshape(tensor.shape)


@pytest.mark.parametrize("victim", [DEVELOPER, AUDITOR])
@pytest.mark.parametrize("seed", range(4))
def test_well_formed_but_wrong_messages_crash_nobody(victim: int, seed: int) -> None:
    """They put values out of their ranges (the parties are honest, by contract): an error of ours, and no other."""
    weights, masks = random_head(INPUTS, HIDDEN, 1)
    honest = head_party(weights, masks, [GOOD, GOOD], torch.ones(ROWS), scored=[GOOD], opened=True, rate=RATE)
    plans = [*[train_plan(ROWS, INPUTS + 1, HIDDEN, RATE)] * 2, score_plan(ROWS, INPUTS + 1, HIDDEN)]

    def party(index: int, channel: Any, supply: Any) -> Any:
        return honest(index, _Wild(channel, seed) if index == victim else channel, supply)

    with pytest.raises(ProtocolError, match="left the range"):
        run_both(party, plans)


def test_parties_of_other_sizes_notice_at_the_first_message() -> None:
    case = CASES["truncation"]
    shapes = [torch.zeros(4, 3, dtype=torch.int64), torch.zeros(4, 2, dtype=torch.int64)]

    def party(index: int, channel: Any, supply: Any) -> Any:
        channel.send("round-0", 0, shapes[index])
        return channel.receive("round-0", 0, (torch.int64, tuple(shapes[index].shape)))

    with pytest.raises(ProtocolError, match="expected 'round-0' of step 0"):
        record(party, [case.plan])
