"""OPEN: a malicious party adds a constant to one message that it helps to open. Nothing authenticates openings yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.dense import head
from amint_mpc.mpc.dense.descent import GradientDescent
from amint_mpc.mpc.dense.head import SecureHead
from amint_mpc.mpc.ring import fixed_point as fp
from tests.mpc.cases import head_plans, random_head, shares_of
from tests.mpc.parties import run_both

INPUTS, HIDDEN, ROWS, STEPS = 24, 8, 32, 3
RATE = GradientDescent(3, 12)
TARGETS = torch.tensor([1.0] * (ROWS // 2) + [0.0] * (ROWS // 2))

Sent = Callable[[str, int, Sequence[Tensor]], None]
"""Is given the tag, the step and the tensors of a frame before it leaves, and may change the tensors in place."""


class Shifting:
    """A channel on which a party changes what it sends; it goes on with the changed values itself."""

    def __init__(self, channel: Any, change: Sent) -> None:
        self._channel, self._change = channel, change

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def send(self, tag: str, step: int, *tensors: Tensor) -> None:
        self._change(tag, step, tensors)
        self._channel.send(tag, step, *tensors)


def trained(attacker: int | None, change: Sent, weights: dict[str, Tensor]) -> tuple[list[Tensor], tuple[Any, Any]]:
    """A few steps and a scoring; `attacker` sends through `change`. Returns the batches, and what each party ends with:
    gradients, scores, opened weights, shares before each step."""
    _, masks = random_head(INPUTS, HIDDEN, 1)
    generator = torch.Generator().manual_seed(5)
    batches = [torch.randn(ROWS, INPUTS, generator=generator).clamp(-4, 3.99) for _ in range(STEPS)]

    def party(index: int, channel: Any, supply: Any) -> Any:
        mine = Shifting(channel, change) if index == attacker else channel
        own = SecureHead(mine, index, supply, INPUTS, HIDDEN, RATE)
        own.share_weights(*((weights, masks) if index == AUDITOR else (None, None)))
        gradients, shares = [], []
        for x in batches:
            shares.append(shares_of(own))
            gradients.append(own.train_step(x if index == DEVELOPER else None, TARGETS))
        scores = own.logits(batches[0] if index == DEVELOPER else None, ROWS)
        return gradients, scores, own.open_weights(), shares

    return batches, run_both(party, head_plans(ROWS, INPUTS, HIDDEN, STEPS, [ROWS], RATE), seed=3)


def test_open_a_malicious_developer_reads_w1_of_the_joint_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """It shifts its share of dY - S in exchange 9 of one step; the auditor's head and scores stay what they were."""
    monkeypatch.setattr(head, "GRADIENT_LIMIT", float("inf"))  # its own look at what it gets
    at, coarse, finer = 1, fp.DY_BITS + 4, 5

    def change(tag: str, step: int, tensors: Sequence[Tensor]) -> None:
        if (tag, step) == ("round-8", at):
            dy = next(each for each in tensors if tuple(each.shape) == (ROWS, HIDDEN))
            for unit in range(HIDDEN):
                dy[unit, unit] += 1 << coarse
                dy[HIDDEN + unit, unit] += 1 << (coarse + finer)

    weights = random_head(INPUTS, HIDDEN, 1)[0]
    (_, honest), (_, evil) = trained(None, change, weights), trained(DEVELOPER, change, weights)
    w1 = fp.decode(evil[DEVELOPER][3][at]["w1"] + evil[AUDITOR][3][at]["w1"], fp.W1_BITS)[:INPUTS]
    gradient = evil[DEVELOPER][0][at]
    rough, fine = (gradient[:HIDDEN] / 16).T, (gradient[HIDDEN : 2 * HIDDEN] / 512).T
    step = 64 / 512  # of what the finer one is known up to
    read = fine + step * ((rough - fine) / step).round()
    assert (read - w1).abs().max() < 1e-2
    assert all(torch.equal(honest[AUDITOR][2][name], evil[AUDITOR][2][name]) for name in honest[AUDITOR][2])
    assert torch.equal(honest[AUDITOR][1], evil[AUDITOR][1])


def test_open_a_malicious_auditor_reads_features_of_a_batch() -> None:
    """It draws units that never act, and shifts its masked dY' on them in the last step: they then hold features."""
    dead = 4  # units, each of which carries an image; more of them in one would leave the range of a row of W1

    def change(tag: str, step: int, tensors: Sequence[Tensor]) -> None:
        if (tag, step) == ("round-9", STEPS - 1):
            masked = next(each for each in tensors if tuple(each.shape) == (ROWS, HIDDEN))
            for unit in range(dead):
                masked[unit, HIDDEN - dead + unit] -= 1 << 15

    weights = random_head(INPUTS, HIDDEN, 1)[0]
    weights["w1"][:, HIDDEN - dead :], weights["b1"][HIDDEN - dead :], weights["w2"][HIDDEN - dead :] = 0, -20, 0
    batches, evil = trained(AUDITOR, change, weights)
    held = evil[AUDITOR][2]["w1"][:, HIDDEN - dead :].T  # X times 2^-7
    found = (((held * 2**16).round() + 1) // 2 / 2**8).float()  # both shares were rounded down
    wanted = (batches[-1][:dead] * 256).round() / 256
    assert torch.equal(found, wanted)


def test_a_sealed_step_has_no_gradient_to_shift() -> None:
    """The kept head is out of reach of the first of both: sealed steps send the developer no gradient."""
    from amint_mpc.config import load_experiment
    from amint_mpc.roles.heads import head_kind, secure_optimizer
    from amint_mpc.roles.plans import sealed_rows

    experiment = load_experiment("smoke", ["security.correlations=dealer", "training.sealed_epochs=1"])
    rows = sealed_rows(experiment, bytes(32))[0]
    plan = head_kind(experiment).train_plan(rows.rows, secure_optimizer(experiment, rows), 0, rows)
    assert "sr" not in plan["linear"].fields, "the dealer does not deal what the developer would need for it"


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
