"""Early stopping between two parties: the auditor knows the scores, the developer is told one bit an evaluation.

1. After each evaluation the auditor decides (`amint_mpc.amint.stopping`) and tells the developer: stop, or go on.
2. To stop, both go back to their shares of the head at the best evaluation, which lies `training.patience` evaluations
   back, and the developer to its classifier of then.
3. Both pass over the rest of the plan up to the final scoring. The dealer is not told and deals everything; the
   developer reads the blocks in between and drops them. No mask of a step that is passed over is ever used.

Who learns what: the developer learns the bit, a function of the auditor's scores; the dealer nothing.
Rounds: 2 an evaluation, for the developer waits where it would else go on. Bytes: one small frame of the auditor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from amint_mpc.amint import stopping
from amint_mpc.amint.schedule import Item
from amint_mpc.amint.stopping import Rewind, Stopping
from amint_mpc.config import Experiment
from amint_mpc.errors import ProtocolError
from amint_mpc.mpc.shared_head import SharedHead
from amint_mpc.roles.plans import used_plans
from amint_mpc.transport.channel import Channel
from amint_mpc.transport.frames import Spec

TAG = "stop"
SPEC: Spec = (torch.uint8, (1,))


def auditors(head: SharedHead, developer: Channel, experiment: Experiment) -> Stopping[dict[str, Tensor]]:
    """Decides by the scores, and tells the developer."""
    patience, number = stopping.by_scores(experiment.training.patience), 0

    def decide(scores: Mapping[str, Tensor], figures: dict[str, float]) -> bool:
        nonlocal number
        stop = patience(scores, figures)
        developer.send(TAG, number, torch.tensor([stop], dtype=torch.uint8))
        number += 1
        return stop

    return _stopping(head, experiment, decide)


def developers(
    head: SharedHead, auditor: Channel, experiment: Experiment, on_notice: Callable[[str], None]
) -> Stopping[dict[str, Tensor]]:
    """Does as it is told; `on_notice` is told, too."""
    number = 0

    def decide(scores: Mapping[str, Tensor], figures: dict[str, float]) -> bool:
        nonlocal number
        (bit,) = auditor.receive(TAG, number, SPEC)
        number += 1
        if int(bit) not in (0, 1):
            raise ProtocolError("the auditor said neither stop nor go on", "Use the same version on both sides")
        if bit:
            on_notice("the auditor ends the training here: passing over the masks of the steps that are left")
        return bool(bit)

    return _stopping(head, experiment, decide)


def _stopping(
    head: SharedHead, experiment: Experiment, decide: Callable[[Mapping[str, Tensor], dict[str, float]], bool]
) -> Stopping[dict[str, Tensor]]:
    def pass_over(items: list[Item]) -> None:
        for plan in used_plans(experiment, items):
            head.skip(plan)

    return Stopping(decide, Rewind(experiment.training.patience, head.snapshot, head.restore), pass_over)
