"""Simulation, exactly: a party's whole view comes out, bit for bit, of an honest run with another secret of the other
party that has the same output. The masks that make it so are a translation of the real ones (see `views`), so every
such secret gives every view with the same probability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.dense.head import OPENED_BITS, WEIGHT_BITS
from amint_mpc.mpc.ring import fixed_point as fp
from amint_mpc.mpc.ring.products import matmul
from tests.mpc.cases import (
    CASES,
    HIDDEN,
    INPUTS,
    RATE,
    ROWS,
    Case,
    head_party,
    head_plans,
    random_head,
    ring,
    score_masks,
    train_masks,
)
from tests.mpc.views import Mask, explained, record

STEPS = 2
PARTIES = pytest.mark.parametrize("viewer", [DEVELOPER, AUDITOR], ids=["developer", "auditor"])


def inputs_of(name: str, generator: torch.Generator) -> list[list[Any]]:
    """Both parties' inputs of one step: any shares at all, and an X in range."""
    shapes: dict[str, list[tuple[int, ...]]] = {
        "linear": [(INPUTS, HIDDEN), (ROWS, HIDDEN), (ROWS, HIDDEN)],
        "relu": [(ROWS, HIDDEN), (HIDDEN,), (ROWS,)],
        "sigmoid": [(ROWS,)],
        "truncation": [(ROWS, HIDDEN)],
    }
    both: list[list[Any]] = [[ring(shape, generator) for shape in shapes[name]] for _ in range(2)]
    if name == "linear":
        both[DEVELOPER].insert(0, torch.randint(-2048, 2049, (ROWS, INPUTS), generator=generator))
        both[AUDITOR].insert(0, None)
    return both


def unimodular(size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A random integer matrix and its inverse."""
    matrix, inverse = torch.eye(size, dtype=torch.int64), torch.eye(size, dtype=torch.int64)
    for _ in range(6):
        i, j = torch.randperm(size, generator=generator)[:2].tolist()
        step = torch.eye(size, dtype=torch.int64)
        step[i, j] = int(torch.randint(-9, 10, (1,), generator=generator))
        undo = 2 * torch.eye(size, dtype=torch.int64) - step
        matrix, inverse = matmul(matrix, step), matmul(undo, inverse)
    return matrix, inverse


def other_secret(case: Case, viewer: int, inputs: list[list[Any]], generator: torch.Generator) -> list[list[Any]]:
    """The viewer's inputs with others of the other party, of the same output to the viewer."""
    fresh = inputs_of(case.name, generator)
    fresh[viewer] = inputs[viewer]
    if case.name == "linear" and viewer == DEVELOPER:  # who learns dX = dY W^T, and so also of (dY U^-1)(W U^T)^T
        change, undo = unimodular(HIDDEN, generator)
        w = matmul(inputs[0][1] + inputs[1][1], change.T.contiguous())
        dy = matmul(inputs[0][2] + inputs[1][2], undo)
        fresh[AUDITOR][1:3] = [w - inputs[0][1], dy - inputs[0][2]]
    return fresh


@PARTIES
@pytest.mark.parametrize("name", list(CASES))
@pytest.mark.parametrize("seed", range(2))
def test_view_of_one_protocol_fits_another_secret(name: str, viewer: int, seed: int) -> None:
    case, generator = CASES[name], torch.Generator().manual_seed(seed)
    plans = [case.plan] * STEPS
    inputs = [inputs_of(name, generator) for _ in range(STEPS)]
    others = [other_secret(case, viewer, step, generator) for step in inputs]
    _, views = record(case.party(inputs), plans, seed)
    masks = case.sent_under(1 - viewer, STEPS)
    fits, results = explained(case.party(others), plans, viewer, views, masks)
    assert fits
    if name == "linear":  # the run that fits is an honest one with the other secret
        for step, (mine, theirs) in enumerate(others):
            assert torch.equal(results[0][step][0] + results[1][step][0], matmul(mine[0], mine[1] + theirs[1]))


@pytest.mark.parametrize(("size", "fits"), [(2**16, True), (2**40, False)])
def test_low_bits_of_the_gradient_do_not_reach_the_developer(size: int, fits: bool) -> None:
    """Heads whose dX differs in its low 32 bits alone look the same (but where the difference carries over)."""
    case, generator = CASES["linear"], torch.Generator().manual_seed(1)
    inputs = inputs_of("linear", generator)
    (_, _, dy0, _), (_, w1, dy1, _) = inputs
    dy1[:, -1] = 1 - dy0[:, -1]
    _, views = record(case.party([inputs]), [case.plan])
    other = w1.clone()
    other[:, -1] += torch.randint(1, size, (INPUTS,), generator=generator)
    others = [inputs[DEVELOPER], [None, other, *inputs[AUDITOR][2:]]]
    masks = case.sent_under(AUDITOR, 1)
    assert explained(case.party([others]), [case.plan], DEVELOPER, views, masks)[0] == fits


@pytest.mark.parametrize("name", ["linear", "relu"])
def test_another_output_does_not_fit(name: str) -> None:
    """The comparison can fail: what a party does learn, or an input of its own, cannot be explained away."""
    case, generator = CASES[name], torch.Generator().manual_seed(1)
    inputs = inputs_of(name, generator)
    _, views = record(case.party([inputs]), [case.plan])
    others = inputs_of(name, generator)
    if name == "linear":
        others[DEVELOPER] = inputs[DEVELOPER]  # but another dX
        viewer = DEVELOPER
        masks = case.sent_under(AUDITOR, 1)
    else:
        viewer = DEVELOPER
        masks = [None, *case.sent_under(AUDITOR, 1)[1:]]  # as if Y were sent without a mask of its own
        others[DEVELOPER] = inputs[DEVELOPER]
    fits, _ = explained(case.party([others]), [case.plan], viewer, views, masks)
    assert not fits


@PARTIES
def test_masks_that_are_used_twice_are_caught(viewer: int) -> None:
    """Two steps with the masks of step 0 show the difference of two secrets: no other pair of secrets fits."""
    case, generator = CASES["truncation"], torch.Generator().manual_seed(1)
    plans = [case.plan] * 2
    inputs = [inputs_of(case.name, generator) for _ in range(2)]
    others = [other_secret(case, viewer, step, generator) for step in inputs]
    _, views = record(case.party(inputs), plans, again=True)
    once = [mask and Mask(0, mask.name, mask.key, mask.sign) for mask in case.sent_under(1 - viewer, 2)]
    fits, _ = explained(_with_step_0(case, others), plans, viewer, views, once)
    assert not fits


def _with_step_0(case: Case, inputs: Sequence[Any]) -> Any:
    party = case.party(inputs)

    class Again:
        def __init__(self, supply: Any) -> None:
            self._supply = supply

        def take(self, step: int, plan: Any) -> Any:
            return self._supply.take(0, plan)

    return lambda index, channel, supply: party(index, channel, Again(supply))


# ------------------------------------------------------------------------------------------------ the whole head

TARGETS = torch.tensor([1.0] * (ROWS // 2) + [0.0] * (ROWS // 2))


def batches(count: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(ROWS, INPUTS, generator=generator).clamp(-8, 8) for _ in range(count)]


def test_auditors_view_of_training_fits_any_other_images() -> None:
    """The auditor opens nothing while it trains: its view of a run says nothing at all about the features."""
    steps = 3
    weights, masks = random_head(INPUTS, HIDDEN, 1)
    plans = head_plans(ROWS, INPUTS, HIDDEN, steps)
    x = batches(steps, 1)
    _, views = record(head_party(weights, masks, x, TARGETS), plans)
    others = [torch.full((ROWS, INPUTS), 8.0), torch.zeros(ROWS, INPUTS), batches(1, 2)[0]]
    sent = [mask for step in range(steps) for mask in train_masks(step, DEVELOPER)]
    party = head_party(weights, masks, others, TARGETS)
    fits, results = explained(party, plans, AUDITOR, views, sent)
    assert fits
    real, _ = record(party, plans, seed=9)
    for mine, usual in zip(results[0][0], real[0][0], strict=True):  # gradients of the other images
        assert (mine - usual).abs().max() < 0.1 * usual.abs().max() + 1e-3


def dead_unit(scale: float, seed: int) -> dict[str, Tensor]:
    """A head whose last unit never fires, with that unit's weights drawn by `seed`."""
    weights, _ = random_head(INPUTS, HIDDEN, 1)
    odd, _ = random_head(INPUTS, HIDDEN, seed)
    for name in ("w1", "w2"):
        weights[name][..., -1] = odd[name][..., -1] * scale
    weights["b1"][-1] = -60.0 - seed
    return weights


def test_developers_view_of_training_fits_another_head_with_the_same_gradients() -> None:
    """Heads that differ in a unit that never fires have the same gradients by X, the developer's whole output."""
    steps = 3
    _, masks = random_head(INPUTS, HIDDEN, 1)
    plans = head_plans(ROWS, INPUTS, HIDDEN, steps)
    x = batches(steps, 1)
    (real, _), views = record(head_party(dead_unit(0.2, 2), masks, x, TARGETS), plans)
    head, other_masks = dead_unit(-0.4, 3), dict(masks)
    for name, a, b in zip(masks, _encoded(dead_unit(0.2, 2)), _encoded(head), strict=True):
        other_masks[name] = masks[name] + b - a  # of the first sharing: the same translation
    sent = [None] * 3 + [mask for step in range(steps) for mask in train_masks(step, AUDITOR)]
    party = head_party(head, other_masks, x, TARGETS)
    fits, results = explained(party, plans, DEVELOPER, views, sent)
    assert fits
    assert all(torch.equal(a, b) for a, b in zip(results[0][0], real[0], strict=True))
    fits, _ = explained(head_party(*random_head(INPUTS, HIDDEN, 7), x, TARGETS), plans, DEVELOPER, views, sent)
    assert not fits  # a head with other gradients


def _encoded(weights: dict[str, Tensor]) -> list[Tensor]:
    """w1 with b1 below, w2 and b2 in the ring."""
    w1 = torch.cat([weights["w1"], weights["b1"][None]])
    return [fp.encode(w1, fp.W1_BITS), fp.encode(weights["w2"], fp.W2_BITS), fp.encode(weights["b2"], fp.Z_BITS)]


def test_auditors_view_of_a_score_fits_other_images_with_the_same_logits() -> None:
    weights, masks = random_head(INPUTS, HIDDEN, 1)
    weights["w1"][2:] = 0  # the head does not look at features 2, 3, ...
    x = batches(1, 1)[0]
    other = torch.cat([x[:, :2], batches(1, 2)[0][:, 2:]], dim=1)
    plans = head_plans(ROWS, INPUTS, HIDDEN, 0, [ROWS])
    (_, (_, scores, _, _)), views = record(head_party(weights, masks, [], TARGETS, scored=[x]), plans)
    party = head_party(weights, masks, [], TARGETS, scored=[other])
    fits, results = explained(party, plans, AUDITOR, views, score_masks(0, DEVELOPER))
    assert fits
    assert torch.equal(results[1][1][0], scores[0])
    changed = head_party(weights, masks, [], TARGETS, scored=[x + 0.5])
    assert not explained(changed, plans, AUDITOR, views, score_masks(0, DEVELOPER))[0]


def test_auditors_view_of_a_score_says_nothing_below_the_rounding() -> None:
    """Logits are opened to 2^-20: images that differ by less in the logit, as seen by this head, look the same."""
    weights, masks = random_head(INPUTS, HIDDEN, 1)
    weights["w1"][2:] = 2.0**-30
    x = batches(1, 1)[0]
    other = torch.cat([x[:, :2], batches(1, 2)[0][:, 2:]], dim=1)
    plans = head_plans(ROWS, INPUTS, HIDDEN, 0, [ROWS])
    _, views = record(head_party(weights, masks, [], TARGETS, scored=[x]), plans)
    party = head_party(weights, masks, [], TARGETS, scored=[other])
    assert explained(party, plans, AUDITOR, views, score_masks(0, DEVELOPER))[0]


def test_developers_view_of_training_leaves_the_biases_open() -> None:
    """The gradient with respect to the column of ones (dY b1) is no gradient with respect to a feature and is not
    opened: where every unit fires, b1 + d and b2 - d w2 are the same head on the batch and look the same."""
    _, masks = random_head(INPUTS, HIDDEN, 1)
    heads = []
    for move in (0.0, 8.0):
        weights, _ = random_head(INPUTS, HIDDEN, 1)
        weights["w2"] = fp.decode(fp.encode(weights["w2"], fp.W2_BITS), fp.W2_BITS)
        weights["b1"] = torch.full((HIDDEN,), 50.0, dtype=torch.float64) + move
        weights["b2"] = weights["b2"] - weights["b1"].dot(weights["w2"])
        heads.append(weights)
    pairs = zip(masks, _encoded(heads[0]), _encoded(heads[1]), strict=True)
    shift = {name: masks[name] + b - a for name, a, b in pairs}
    x, plans = batches(1, 1), head_plans(ROWS, INPUTS, HIDDEN, 1)
    _, views = record(head_party(heads[0], masks, x, TARGETS), plans)
    sent = [None] * 3 + train_masks(0, AUDITOR)
    fits, _ = explained(head_party(heads[1], shift, x, TARGETS), plans, DEVELOPER, views, sent)
    assert fits


def test_developers_view_of_a_score_fits_any_other_head() -> None:
    weights, masks = random_head(INPUTS, HIDDEN, 1)
    plans = head_plans(ROWS, INPUTS, HIDDEN, 0, [ROWS])
    x = batches(1, 1)
    _, views = record(head_party(weights, masks, [], TARGETS, scored=x), plans)
    other, _ = random_head(INPUTS, HIDDEN, 2)
    pairs = zip(masks, _encoded(weights), _encoded(other), strict=True)
    shift = {name: masks[name] + b - a for name, a, b in pairs}
    party = head_party(other, shift, [], TARGETS, scored=x)
    fits, results = explained(party, plans, DEVELOPER, views, [None] * 3 + score_masks(0, AUDITOR))
    assert fits
    expected = torch.relu(x[0].double() @ other["w1"] + other["b1"]) @ other["w2"] + other["b2"]
    assert (results[1][1][0] - expected).abs().max() < 0.05  # features are rounded to 2^-8


@PARTIES
def test_what_is_opened_to_a_party_is_its_output_less_its_own_share(viewer: int) -> None:
    """Final weights: the developer's message is the rounded weights less the auditor's rounded share, nothing more:
    the bits below OPENED_BITS of its share, which would make the weights exact, are not sent."""
    weights, masks = random_head(INPUTS, HIDDEN, 1)
    plans = head_plans(ROWS, INPUTS, HIDDEN, 2)
    results, views = record(head_party(weights, masks, batches(2, 1), TARGETS, opened=True, rate=RATE), plans)
    _, _, opened, shares = results[AUDITOR]
    if viewer == DEVELOPER:
        assert results[DEVELOPER][2] is None
        assert all(message.tag != "open" for message in views[DEVELOPER].received)
        return
    (message,) = [m for m in views[AUDITOR].received if m.tag == "open"]
    for sent, whole, own, bits in zip(
        message.tensors, _encoded(opened), shares[-1].values(), WEIGHT_BITS.values(), strict=True
    ):
        dropped = max(bits - OPENED_BITS, 0)
        assert torch.equal(
            (sent << dropped) >> dropped, (((whole >> dropped) - (own >> dropped)) << dropped) >> dropped
        )
        assert torch.equal((sent << dropped) >> dropped, sent)  # nothing above the kept bits
