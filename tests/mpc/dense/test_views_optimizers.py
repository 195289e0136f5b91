"""The whole head with each optimizer that keeps something from step to step: a party's view of a run still comes out of
an honest run with another secret of the other party, and is uniform; a protocol that gives something away is caught."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.dense.step import Optimizer, TrainingStep
from tests.mpc.cases import (
    HIDDEN,
    INPUTS,
    MOMENTUM,
    NOVOGRAD,
    ROWS,
    USED_BITS,
    head_party,
    head_plans,
    random_head,
    train_masks,
)
from tests.mpc.dense.test_views_simulated import _encoded, batches, dead_unit
from tests.mpc.views import Mask, explained, record, stacked, suspicious

STEPS, RUNS = 3, 80  # so many samples of a single number, in 16 cells
TARGETS = torch.tensor([1.0] * (ROWS // 2) + [0.0] * (ROWS // 2))
OPTIMIZERS = pytest.mark.parametrize("optimizer", [MOMENTUM, NOVOGRAD], ids=lambda o: type(o).__name__)


def sent_by(sender: int, optimizer: Optimizer, steps: int = STEPS) -> list[Mask | None]:
    first: list[Mask | None] = [None] * 3 if sender == AUDITOR else []  # the shares of the head
    return first + [mask for step in range(steps) for mask in train_masks(step, sender, optimizer)]


@OPTIMIZERS
def test_auditors_view_fits_any_other_images(optimizer: Optimizer) -> None:
    weights, masks = random_head(INPUTS, HIDDEN, 1)
    plans = head_plans(ROWS, INPUTS, HIDDEN, STEPS, rate=optimizer)
    _, views = record(head_party(weights, masks, batches(STEPS, 1), TARGETS, rate=optimizer), plans)
    others = [torch.full((ROWS, INPUTS), 8.0), torch.zeros(ROWS, INPUTS), batches(1, 2)[0]]
    party = head_party(weights, masks, others, TARGETS, rate=optimizer)
    fits, results = explained(party, plans, AUDITOR, views, sent_by(DEVELOPER, optimizer))
    assert fits
    real, _ = record(party, plans, seed=9)
    for mine, usual in zip(results[0][0], real[0][0], strict=True):  # an honest run: gradients of the other images
        assert (mine - usual).abs().max() < 0.1 * usual.abs().max() + 1e-3


@OPTIMIZERS
def test_developers_view_fits_another_head_with_the_same_gradients(optimizer: Optimizer) -> None:
    """Heads that differ in a unit that never fires have the same gradients by X, the developer's whole output."""
    _, masks = random_head(INPUTS, HIDDEN, 1)
    plans = head_plans(ROWS, INPUTS, HIDDEN, STEPS, rate=optimizer)
    x = batches(STEPS, 1)
    (real, _), views = record(head_party(dead_unit(0.2, 2), masks, x, TARGETS, rate=optimizer), plans)
    head, moved = dead_unit(-0.4, 3), dict(masks)
    for name, a, b in zip(masks, _encoded(dead_unit(0.2, 2)), _encoded(head), strict=True):
        moved[name] = masks[name] + b - a  # of the first sharing: the same translation
    sent = sent_by(AUDITOR, optimizer)
    fits, results = explained(head_party(head, moved, x, TARGETS, rate=optimizer), plans, DEVELOPER, views, sent)
    assert fits
    assert all(torch.equal(a, b) for a, b in zip(results[0][0], real[0], strict=True))
    other = head_party(*random_head(INPUTS, HIDDEN, 7), x, TARGETS, rate=optimizer)
    assert not explained(other, plans, DEVELOPER, views, sent)[0]  # a head with other gradients


@OPTIMIZERS
def test_an_optimizer_that_opens_what_it_keeps_is_caught(optimizer: Optimizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broken variant: in each step the parties open the velocity of w2 and b2, or the octaves of the rates."""
    updates = type(optimizer.updates())
    drift, kept = updates.drift, "velocity" if optimizer is MOMENTUM else "octaves"

    def leaking(self: Any, step: TrainingStep) -> Any:
        step.rounds.open(getattr(self, kept))
        step.rounds.exchange()
        return drift(self, step)

    monkeypatch.setattr(updates, "drift", leaking)
    weights, masks = random_head(INPUTS, HIDDEN, 1)
    plans = head_plans(ROWS, INPUTS, HIDDEN, STEPS, rate=optimizer)
    _, views = record(head_party(weights, masks, batches(STEPS, 1), TARGETS, rate=optimizer), plans)
    sent = [mask for step in range(STEPS) for mask in (*train_masks(step, DEVELOPER, optimizer), None)]
    party = head_party(weights, masks, batches(STEPS, 2), TARGETS, rate=optimizer)
    assert not explained(party, plans, AUDITOR, views, sent)[0]
    honest = head_party(weights, masks, batches(STEPS, 1), TARGETS, rate=optimizer)
    assert explained(honest, plans, AUDITOR, views, sent)[0]  # the masks are named in the right order


@OPTIMIZERS
def test_every_message_is_uniform(optimizer: Optimizer) -> None:
    weights, _ = random_head(INPUTS, HIDDEN, 2)
    views, steps = [], 2
    for seed in range(RUNS):
        _, masks = random_head(INPUTS, HIDDEN, 100 + seed)
        party = head_party(weights, masks, [torch.full((ROWS, INPUTS), 8.0)] * steps, TARGETS, rate=optimizer)
        plans = head_plans(ROWS, INPUTS, HIDDEN, steps, rate=optimizer)
        views.append(record(party, plans, seed)[1])
    for viewer in (DEVELOPER, AUDITOR):
        sent = sent_by(1 - viewer, optimizer, steps)
        assert suspicious(*stacked([both[viewer] for both in views], sent, USED_BITS)) == []
