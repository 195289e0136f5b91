"""A dealer that colludes with nobody deals wrong shares in scoring blocks, to move the logits of rows of its choice."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc.amint.scoring import in_order
from amint_mpc.config import Experiment, load_experiment
from amint_mpc.errors import ProtocolError
from amint_mpc.models.head_weights import seeded_normal
from amint_mpc.mpc.correlations import supply
from amint_mpc.mpc.protocols.relu import ReluMasks
from amint_mpc.mpc.ring import fixed_point as fp
from amint_mpc.roles import auditor, secure_head
from amint_mpc.roles.heads import head_kind
from tests.roles.memory_runs import secure_run

SHIFT = 3.0
SETTINGS = [
    "security.correlations=dealer",
    "training.evaluate_every=0",
    "training.epochs=1",
    "data.unseen=128",
    "security.checked_blocks=0",
]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def aiming(patch: pytest.MonkeyPatch, experiment: Experiment) -> None:
    """In scoring blocks, rows where members stand if sets come one after another go up, those of unseen images down."""
    real, honest_deal, dealing = ReluMasks.corrections, supply.deal, threading.local()
    members = experiment.data.members
    unseen = members + experiment.data.external

    def made(self: ReluMasks, developer: Any, theirs: Any) -> dict[str, Tensor]:
        found = real(self, developer, theirs)
        if not self.training and getattr(dealing, "now", False):
            row = torch.arange(self.rows)
            sign = (row < members).long() - (row >= unseen).long()
            found["m_rho"] = found["m_rho"] + sign * int(SHIFT * 2**fp.Z_BITS)
        return found

    def deal(*args: Any) -> list[Tensor]:
        dealing.now = True  # in the dealer's thread; the developer's check is honest
        return honest_deal(*args)

    patch.setattr(ReluMasks, "corrections", made)
    patch.setattr(supply, "deal", deal)


def moved(experiment: Experiment, folder: Path, patch: pytest.MonkeyPatch) -> float:
    """By how much further apart the logits of members and unseen images are than in an honest run."""
    from safetensors.torch import load_file

    first, gaps = head_kind(experiment).first_weights(seeded_normal(7)), []
    for evil in (False, True):
        with patch.context() as inside:
            if evil:
                aiming(inside, experiment)
            run = secure_run(experiment, folder / str(evil), first)
        scores = load_file(run.folders["auditor"] / "scores.safetensors")
        logits = {name: value.logit() for name, value in scores.items()}
        members = torch.cat([logits["members_calibration"], logits["members_report"]])
        unseen = torch.cat([logits["unseen_calibration"], logits["unseen_report"]])
        gaps.append(float(members.mean() - unseen.mean()))
    return gaps[1] - gaps[0]


def test_a_dealer_cannot_aim_at_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One batch holds all rows, in an order that it never learns: what it adds to some it adds to any."""
    experiment = load_experiment("smoke", [*SETTINGS, "data.external=64"])
    assert abs(moved(experiment, tmp_path, monkeypatch)) < 0.35 * 2 * SHIFT


def test_with_the_sets_in_order_it_could(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The defence taken out."""
    for module in (auditor, secure_head):
        monkeypatch.setattr(module, "drawn_from", lambda _: in_order)
    experiment = load_experiment("smoke", [*SETTINGS, "data.external=64"])
    assert moved(experiment, tmp_path, monkeypatch) > 1.8 * SHIFT


def test_a_dealer_that_shifts_every_scoring_block_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = load_experiment("smoke", [*SETTINGS, "security.checked_blocks=0.5"])
    aiming(monkeypatch, experiment)
    with pytest.raises(ProtocolError, match="of the dealer is wrong"):
        secure_run(experiment, tmp_path, head_kind(experiment).first_weights(seeded_normal(7)))
