"""Gradients that say less: the auditor's noise and fewer bits reach the developer, and nothing else changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc.limits import GRADIENT_WHOLE_BITS
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.dense.head import GradientNoise, SecureHead
from amint_mpc.mpc.dense.layers import dx_bits
from amint_mpc.mpc.protocols.linear import REVEALED
from amint_mpc.mpc.ring import fixed_point as fp
from tests.mpc.cases import RATE, USED_BITS, head_party, head_plans, random_head, train_masks
from tests.mpc.dense.test_head import batch, halves, reference, weights_at
from tests.mpc.views import View, record, stacked, suspicious

ROWS, INPUTS, HIDDEN, STEPS = 32, 40, 8, 3


def run(revealed: int = 32, noise: float = 0.0) -> tuple[tuple[Any, Any], list[View]]:
    weights, masks = random_head(INPUTS, HIDDEN, 2)
    batches = [batch(ROWS, INPUTS, step) for step in range(STEPS)]
    party = head_party(
        weights, masks, batches, halves(ROWS), scored=batches[:1], opened=True, revealed=revealed, noise=noise
    )
    return record(party, head_plans(ROWS, INPUTS, HIDDEN, STEPS, [ROWS], revealed=revealed))


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_auditors_noise_reaches_the_developer_alone() -> None:
    """The developer's gradients move by the stated standard deviation; one message differs, and all weights agree."""
    deviation = 0.5
    plain, exact = run()
    noisy, moved = run(noise=deviation)
    differences = torch.stack(noisy[DEVELOPER][0]) - torch.stack(plain[DEVELOPER][0])
    assert abs(float(differences.std()) / deviation - 1) < 0.05
    assert abs(float(differences.mean())) < 5 * deviation / differences.numel() ** 0.5
    assert len({float(value) for value in differences.flatten()}) > 0.99 * differences.numel()

    for key in ("w1", "b1", "w2", "b2"):
        assert torch.equal(noisy[AUDITOR][2][key], plain[AUDITOR][2][key]), "the head's own steps are what they were"
    assert torch.equal(noisy[AUDITOR][1][0], plain[AUDITOR][1][0])
    assert same(moved[AUDITOR].incoming, exact[AUDITOR].incoming), "nothing of it comes back to the auditor"
    changed = [
        a.dtype
        for a, b in zip(moved[DEVELOPER].incoming, exact[DEVELOPER].incoming, strict=True)
        if not torch.equal(a, b)
    ]
    assert changed == [torch.int32] * STEPS, "of all that the developer receives, the gradient alone is another"


def test_two_runs_have_noise_of_their_own() -> None:
    first, second = (run(noise=0.5)[0][DEVELOPER][0][0] for _ in range(2))
    assert float((first - second).std()) > 0.5
    assert repr(GradientNoise(0.5)) == "GradientNoise()"


@pytest.mark.parametrize("deviation", [2.0**-20, 0.01, 8.0])
def test_noise_is_normal_and_fits_the_ring(deviation: float) -> None:
    drawn = fp.decode(GradientNoise(deviation)((400, 500)), fp.DX_BITS)
    assert float(drawn.abs().max()) <= fp.DX_LIMIT
    inside = drawn[drawn.abs() < 3 * deviation]
    assert abs(float(inside.std()) / deviation - 0.9866) < 0.01, "of a normal distribution cut at three deviations"
    assert abs(float((drawn.abs() < deviation).double().mean()) - 0.6827) < 0.01


def test_without_settings_the_transcript_is_as_before() -> None:
    """The parameters' defaults, and the settings that stand for them, send the very same messages."""
    weights, masks = random_head(INPUTS, HIDDEN, 2)
    batches = [batch(ROWS, INPUTS, step) for step in range(STEPS)]
    party = head_party(weights, masks, batches, halves(ROWS), scored=batches[:1], opened=True)
    _, before = record(party, head_plans(ROWS, INPUTS, HIDDEN, STEPS, [ROWS]))
    _, after = run(32, 0.0)
    for one, other in zip(before, after, strict=True):
        assert [(m.tag, m.step) for m in one.sent] == [(m.tag, m.step) for m in other.sent]
        assert same(one.incoming, other.incoming)


@pytest.mark.parametrize("revealed", REVEALED)
def test_the_gradient_is_right_to_its_last_place(revealed: int) -> None:
    results, views = run(revealed)
    unit = 2.0 ** (GRADIENT_WHOLE_BITS - revealed)
    assert unit == 2.0 ** -dx_bits(revealed)
    expected = reference(weights_at(0, results), batch(ROWS, INPUTS, 0), halves(ROWS)).by_x
    sigmoid = float(expected.abs().max()) * 2.0**-3  # its index is of z to 1/16
    assert float((results[DEVELOPER][0][0] - expected).abs().max()) <= sigmoid + 1.5 * unit
    fine = run(32)[0][DEVELOPER][0][0]
    assert float((results[DEVELOPER][0][0] - fine).abs().max()) <= 1.5 * unit + 2.0**-24
    assert [t.dtype for t in views[DEVELOPER].incoming if t.shape == (ROWS, INPUTS)] == [REVEALED[revealed]] * STEPS


def test_sixteen_bits_save_two_bytes_an_entry_and_no_round() -> None:
    sizes = []
    for revealed in REVEALED:
        _, views = run(revealed)
        sizes.append(sum(t.numel() * t.element_size() for message in views[AUDITOR].sent for t in message.tensors))
        tags = [message.tag for message in views[AUDITOR].sent]
    assert sizes[0] - sizes[1] == 2 * ROWS * INPUTS * STEPS
    assert tags == [message.tag for message in run(32)[1][AUDITOR].sent]


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_every_message_is_uniform_with_fewer_bits_and_with_noise(noise: float) -> None:
    rows, inputs, hidden = 4, 5, 3
    views = []
    for seed in range(80):
        weights, _ = random_head(inputs, hidden, 1)
        _, masks = random_head(inputs, hidden, 100 + seed)
        party = head_party(weights, masks, [torch.zeros(rows, inputs)] * 2, halves(rows), revealed=16, noise=noise)
        views.append(record(party, head_plans(rows, inputs, hidden, 2, revealed=16), seed)[1][DEVELOPER])
    masked = [None] * 3 + [mask for step in range(2) for mask in train_masks(step, AUDITOR)]
    assert suspicious(*stacked(views, masked, USED_BITS)) == []


def test_a_head_says_nothing_of_its_noise() -> None:
    class NoChannel:
        """Never used."""

    head = SecureHead(NoChannel(), AUDITOR, NoChannel(), 3, 2, RATE, 32, 0.25)  # type: ignore[arg-type]
    assert "0.25" not in repr(head)
    assert SecureHead(NoChannel(), DEVELOPER, NoChannel(), 3, 2, RATE, 32, 0.25)._noise is None  # type: ignore[arg-type]
