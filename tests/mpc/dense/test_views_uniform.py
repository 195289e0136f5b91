"""What arrives at a party cannot be told from uniform, whatever the other party's secret, alone and combined with all
else that the party has; and the same tests catch a mask that is used twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from tests.mpc.cases import (
    CASES,
    HIDDEN,
    INPUTS,
    ROWS,
    USED_BITS,
    head_party,
    head_plans,
    random_head,
    ring,
    train_masks,
)
from tests.mpc.views import Mask, View, record, stacked, suspicious

RUNS = 80  # so many samples of a single byte
PARTIES = pytest.mark.parametrize("viewer", [DEVELOPER, AUDITOR], ids=["developer", "auditor"])

SHAPES: dict[str, list[tuple[int, ...]]] = {
    "linear": [(INPUTS, HIDDEN), (ROWS, HIDDEN), (ROWS, HIDDEN)],
    "relu": [(ROWS, HIDDEN), (HIDDEN,), (ROWS,)],
    "sigmoid": [(ROWS,)],
    "truncation": [(ROWS, HIDDEN)],
}


def secret(name: str, kind: str, party: int, viewer: int, step: int) -> list[Any]:
    """A party's inputs. The viewer's are fixed; the other's are as far from uniform as can be: zeros, or all the same
    large number, another in each step."""
    x = torch.zeros(ROWS, INPUTS, dtype=torch.int64)
    value = 0
    if party == viewer:
        value = 12345
    elif kind == "large":
        x, value = x + 2048 - step, -(2**58) + 3 * step
    inputs: list[Any] = [torch.full(shape, value) for shape in SHAPES[name]]
    if name == "linear":
        inputs.insert(0, x if party == DEVELOPER else None)
    return inputs


def views_of(
    name: str, kind: str, viewer: int, again: bool = False, steps: int = 2
) -> tuple[list[View], list[Mask | None]]:
    """The viewer's views of many runs with fresh seeds and one secret."""
    case = CASES[name]
    inputs = [[secret(name, kind, party, viewer, step) for party in range(2)] for step in range(steps)]
    start = 1000 * (kind == "large")
    views = [record(case.party(inputs), [case.plan] * steps, start + seed, again)[1][viewer] for seed in range(RUNS)]
    return views, case.sent_under(1 - viewer, steps)


@PARTIES
@pytest.mark.parametrize("kind", ["zero", "large"])
@pytest.mark.parametrize("name", list(CASES))
def test_every_message_is_uniform_for_very_different_secrets(name: str, kind: str, viewer: int) -> None:
    views, masks = views_of(name, kind, viewer)
    messages, known = stacked(views, masks, USED_BITS)
    assert len(messages) == sum(mask is not None for mask in masks)
    assert len(known) > 2
    assert suspicious(messages, known) == []


@PARTIES
@pytest.mark.parametrize("name", list(CASES))
def test_the_same_masks_for_two_steps_are_caught(name: str, viewer: int) -> None:
    """A supply that hands out step 0 again: the difference of two messages is the difference of two secrets."""
    views, masks = views_of(name, "large", viewer, again=True)
    half = len(masks) // 2
    found = suspicious(*stacked(views, masks, USED_BITS))
    for number, mask in enumerate(masks[:half]):
        if mask is not None and mask.key != "m":  # shares of A differ at random where v or c does
            operator = "-" if mask.sign else "^"
            names = [f"message {n} under {mask.name}.{mask.key}({s})" for n, s in ((number, 0), (number + half, 1))]
            assert {f"{names[0]} {operator} {names[1]}", f"{names[1]} {operator} {names[0]}"} & set(found)


def test_one_mask_for_two_weights_is_caught() -> None:
    """R for w and again for w': c' - c is w' - w."""
    generator = torch.Generator().manual_seed(1)
    masks = ring((200, INPUTS, HIDDEN), generator)
    fresh = ring((200, INPUTS, HIDDEN), generator)
    first, second = 2**29 - masks, 2**28 - masks
    assert "c - c'" in suspicious({"c": (first, 64), "c'": (second, 64)}, {})
    assert suspicious({"c": (first, 64), "c'": (2**28 - fresh, 64)}, {}) == []


def test_a_message_that_shows_one_bit_of_a_secret_is_caught() -> None:
    generator = torch.Generator().manual_seed(1)
    message = ring((400, 8), generator)
    assert suspicious({"m": (message, 64)}, {}) == []
    assert suspicious({"m": (message & ~(1 << 40), 64)}, {}) == ["m"]
    own = ring((400, 8), generator)
    assert "m - own" in suspicious({"m": (own + 5, 64)}, {"own": own})


# ------------------------------------------------------------------------------------------------ the whole step


def whole_steps(runs: int, viewer: int, batches: Sequence[Tensor], head: int) -> list[View]:
    views = []
    for seed in range(runs):
        weights, _ = random_head(INPUTS, HIDDEN, head)
        _, masks = random_head(INPUTS, HIDDEN, 100 + seed)
        party = head_party(weights, masks, batches, torch.tensor([1.0, 1, 0, 0]))
        views.append(record(party, head_plans(ROWS, INPUTS, HIDDEN, len(batches)), 77 * head + seed)[1][viewer])
    return views


@PARTIES
@pytest.mark.parametrize(("x", "head"), [(0.0, 1), (8.0, 2)])
@pytest.mark.parametrize("runs", [RUNS, pytest.param(400, marks=[pytest.mark.long, pytest.mark.timeout(1200)])])
def test_every_message_of_whole_steps_is_uniform(viewer: int, x: float, head: int, runs: int) -> None:
    """Two training steps of the whole head, its first sharing included."""
    views = whole_steps(runs, viewer, [torch.full((ROWS, INPUTS), x)] * 2, head)
    start: list[Mask | None] = [None] * 3 if viewer == DEVELOPER else []
    masks = start + [mask for step in range(2) for mask in train_masks(step, 1 - viewer)]
    messages, known = stacked(views, masks, USED_BITS)
    for number, name in enumerate(("w1", "w2", "b2") if viewer == DEVELOPER else ()):
        samples = torch.stack([view.incoming[number] for view in views])
        if samples.numel() >= 80:
            messages[f"share of {name}"] = samples, 64
    assert suspicious(messages, known) == []
