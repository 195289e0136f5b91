"""What lies outside the ranges of the head is refused with a clear error: features before anything is sent, weights and
hidden values by both parties; the smallest sizes work; and a peer's well-formed but wrong values end in no crash."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from amint_mpc import limits
from amint_mpc.errors import ProtocolError, UsageError
from amint_mpc.models.head_weights import init_head, seeded_normal
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.dense import ranges
from amint_mpc.mpc.dense.descent import GradientDescent
from amint_mpc.mpc.dense.head import SecureHead
from amint_mpc.mpc.dense.layers import score_plan, train_plan
from amint_mpc.mpc.dense.novograd import NovoGrad
from amint_mpc.mpc.dense.step import Optimizer
from amint_mpc.mpc.protocols.signed_sums import COLUMN
from amint_mpc.mpc.ring import fixed_point as fp
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
    tests = {"squares", "in range", "hidden in range", "logits in range", "dw2 in range"}
    assert set(train_plan(2, 3, 4, rate)) == {"linear", "relu", "sigmoid", "dy", "dw2"} | tests


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


# ------------------------------------------------------------------------------------------------ hidden values

FEW = 6  # rows, of 3 features and 2 units; so that there are as many features as units, and more
SPOILED: dict[str, tuple[dict[str, float], float, str]] = {  # weights set to a number, features, what is complained of
    "w1": ({"w1": 1200.0, "b1": -100.0}, 0.0, "a sum of w1 and b1"),
    "b1": ({"w1": 0.0, "b1": -2000.0}, 0.0, "a sum of w1 and b1|a hidden value"),
    "w2": ({"w2": 12.0, "b1": -1.0}, 0.0, "squares of w2"),
    "b2": ({"b2": 200.0}, 0.0, "b2"),
    "hidden value": ({"w1": 1.9, "b1": 400.0}, 0.0, "a hidden value"),
    "image": ({"w1": 1.9, "b1": 125.0}, 8.0, "an image's hidden values|a hidden value"),
    "unit": ({"b1": -120.0}, 0.0, "a unit's hidden values"),
    "logit": ({"b1": 30.0, "w2": 5.5, "b2": 0.0}, 0.0, "a logit"),
}


def spoiled_head(name: str) -> tuple[dict[str, torch.Tensor], torch.Tensor, str]:
    """A head in the middle of its ranges but for one thing; features; what is complained of."""
    changes, value, complaint = SPOILED[name]
    weights, _ = random_head(INPUTS, HIDDEN, 1)
    weights = {key: 0.1 * tensor for key, tensor in weights.items()}
    for key, number in changes.items():
        weights[key] = torch.full_like(weights[key], number)
    return weights, torch.full((FEW, INPUTS), value), complaint


@pytest.mark.parametrize("scored", [False, True], ids=["trained", "scored"])
@pytest.mark.parametrize("name", list(SPOILED))
def test_what_left_its_range_is_named_by_both_parties(name: str, scored: bool) -> None:
    weights, x, complaint = spoiled_head(name)
    _, masks = random_head(INPUTS, HIDDEN, 1)
    plans = head_plans(FEW, INPUTS, HIDDEN, not scored, [FEW] * scored, RATE)
    ended: dict[int, str] = {}

    def party(index: int, channel: Any, supply: Any) -> None:
        head = head_party(weights, masks, [] if scored else [x], torch.ones(FEW), scored=[x] * scored, rate=RATE)
        try:
            head(index, channel, supply)
        except ProtocolError as error:
            ended[index] = error.message

    run_both(party, plans)
    parties = {AUDITOR} if scored and name == "logit" else {DEVELOPER, AUDITOR}  # which alone learns logits
    assert set(ended) == parties
    assert len(set(ended.values())) == 1
    assert re.search(f"({complaint}) .*left the range", ended[AUDITOR])


def test_a_sum_for_w2_beyond_its_range_ends_the_next_step_or_the_opening() -> None:
    """What is opened last in a step is tested with the next message."""
    rows, rate = 64, GradientDescent(2, 12)
    weights, masks = random_head(1, HIDDEN, 2)
    weights["w1"][:], weights["w2"][:], weights["b2"] = 0, 0.001, torch.tensor(0.0)
    weights["b1"][:] = 22.0  # the squares of a unit are just below 2^15; the sum is 64 * 22
    x = [torch.zeros(rows, 1)]
    targets = torch.cat([torch.ones(rows - 1), torch.zeros(1)])
    weights["b2"] = torch.tensor(-20.0, dtype=torch.float64)  # every member adds 22
    for more, scored in (([], x), (x, []), ([], [])):
        party = head_party(weights, masks, x + more, targets, scored=scored, opened=True, rate=rate)
        plans = head_plans(rows, 1, HIDDEN, 1 + len(more), [rows] * len(scored), rate)
        with pytest.raises(ProtocolError, match="gradient with respect to w2"):
            run_both(party, plans)


def test_a_gradient_beyond_its_limit_is_not_taken() -> None:
    weights, masks = random_head(INPUTS, HIDDEN, 1)
    weights |= {"w1": torch.full((INPUTS, HIDDEN), 1.9).double(), "w2": torch.full((HIDDEN,), 5.5).double()}
    weights["b2"] = torch.tensor(-40.0, dtype=torch.float64)
    party = head_party(weights, masks, [torch.full((ROWS, INPUTS), 0.1)], torch.ones(ROWS), rate=RATE)
    with pytest.raises(ProtocolError, match="a gradient row"):
        run_both(party, head_plans(ROWS, INPUTS, HIDDEN, 1, rate=RATE))


def test_a_gradient_that_jumps_over_its_limit_is_seen_modulo_64() -> None:
    """What the tests do not see, as the docstring of `ranges` says: first weights of a feature that is 0 everywhere are
    free, and the gradient by it is as large as they are."""
    for first, seen in ((15.0, 15.0), (60.0, -4.0)):
        weights, masks = random_head(INPUTS, HIDDEN, 1)
        weights["w1"][0] = torch.tensor([first, 0.0])
        weights |= {"w2": torch.tensor([1.0, 0.0]).double(), "b1": torch.ones(HIDDEN).double()}
        weights["b2"] = torch.tensor(-40.0, dtype=torch.float64)
        x = torch.randn(ROWS, INPUTS, generator=torch.Generator().manual_seed(1)) * 0.01
        x[:, 0] = 0
        party = head_party(weights, masks, [x], torch.ones(ROWS), rate=RATE)
        (gradients, *_), _ = run_both(party, head_plans(ROWS, INPUTS, HIDDEN, 1, rate=RATE))
        assert (gradients[0][:, 0] + seen).abs().max() < 0.1


@pytest.mark.parametrize("hidden", [1, 64, 128, 512])
@pytest.mark.parametrize("inputs", [1, 8, 64, 768, 20_000])
@pytest.mark.parametrize("rows", [2, 128, 1024])
def test_every_usual_size_has_headroom(rows: int, inputs: int, hidden: int) -> None:
    """The figures of the docstring of `ranges`, for plain gradient descent at the largest learning rate."""
    ranges.check_headroom(rows, inputs + 1, hidden, 2.5)
    column, y_bits = COLUMN * limits.SIGNED_SUMS_LIMIT, ranges.y_bits(hidden)
    image = (2 * limits.SQUARES_LIMIT) ** 0.5 + 2 * 2.0**-y_bits * hidden**0.5
    unit = (2 * limits.SQUARES_LIMIT) ** 0.5 + 2 * 2.0**-y_bits * limits.BLOCK_ROWS**0.5
    w2 = (2 * limits.W2_SQUARES_LIMIT) ** 0.5 + 2 * 2.0**-10 * hidden**0.5
    ring = 2.0 ** (64 - fp.Z_BITS)
    assert image * w2 + 3 * limits.B2_LIMIT < ring - 3 * limits.LOGIT_LIMIT
    assert limits.BLOCK_ROWS**0.5 * unit < 2.0 ** (64 - fp.DW2_BITS) - 3 * limits.W2_GRADIENT_LIMIT
    assert 8 * (inputs + 1) ** 0.5 * column < 2.0 ** (62 - fp.Y_BITS) - 3 * limits.HIDDEN_LIMIT
    assert (3 * limits.HIDDEN_LIMIT + 4) ** 2 * max(hidden, limits.BLOCK_ROWS) < 2.0 ** (65 - fp.Y_BITS - y_bits)
    sums = 3 * hidden * (inputs + 1) ** 0.5 * column + 8 * (inputs + 1) * hidden**0.5 * w2 * 2.5
    assert sums < 2.0 ** (63 - fp.W1_BITS) - 3 * limits.SIGNED_SUMS_LIMIT
    assert 3 * limits.GRADIENT_LIMIT <= 2 * fp.DX_LIMIT - limits.GRADIENT_LIMIT  # 16 to 48 is seen
    assert all(20 <= window < 63 for _, _, window in ranges.parts(rows, hidden))


def test_first_weights_are_far_within_the_limits_of_their_sums() -> None:
    """Of each size: their norm is sqrt(2 hidden), and sums with random signs are seldom more than five times that."""
    for inputs, hidden in ((1, 512), (192, 64), (768, 128), (20_000, 512)):
        weights = init_head(inputs, hidden, seeded_normal(1)).w1
        assert 5 * float(weights.norm()) < limits.SIGNED_SUMS_LIMIT / 2
        assert float(weights.square().sum()) < limits.W1_SQUARES_LIMIT


@pytest.mark.parametrize(
    ("sizes", "optimizer", "complaint"),
    [
        ((2, 8, 513), RATE, "at most 512 hidden units"),
        ((2, 120_000, 8), RATE, "too little room for 119999 features"),
        ((2048, 8, 64), GradientDescent(3, 0), "too far"),
        ((128, 100_000, 512), GradientDescent(3, 2), "too far"),
        ((512, 64, 64), NovoGrad(0.03, 0.95), "too far"),
        ((128, 40_000, 512), NovoGrad(2.0**-8, 0.95), "steps of NovoGrad are too short"),
    ],
)
def test_sizes_and_rates_without_headroom_are_refused(
    sizes: tuple[int, int, int], optimizer: Optimizer, complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        train_plan(*sizes, optimizer)
