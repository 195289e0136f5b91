"""The joint objective of aMINT (arXiv 2509.07879, section 3): a task and a membership part that both start at 1.

    L = L_task / L_task(first batch) + mint_weight * L_mint / (2 ln 2) + distillation * L_soft

L_task is the cross-entropy of the members' labels. L_mint enters only through its gradient with respect to the
features, which the head hands over; its divisor is what it starts at when the head's first logits are near 0, a public
constant, so that no loss has to be opened. L_soft is the cross-entropy of the external images' logits to a frozen
teacher's soft labels.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

MINT_START = 2 * math.log(2)
"""L_mint of a head whose logits are all 0."""


class JointObjective:
    """The parts that need no head (for the other see `mint_loss`). Keeps L_task of the first batch it meets.

    Args:
        distillation: weight of the third part.
    """

    def __init__(self, distillation: float) -> None:
        self.distillation = distillation
        self.first_task: float | None = None

    def plaintext_part(
        self, logits: Tensor, labels: Tensor, soft_labels: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """They, added up.

        Args:
            logits: [m + e, classes], members first.
            labels: int64 [m], of the members.
            soft_labels: [e, classes], the teacher's probabilities for the external rows; None: no distillation.

        Returns:
            a scalar to differentiate, and the loss values by name (`task`, `distillation`), not weighted: scalars
            without a graph, still on the device, so that nobody waits for them who does not need them yet.
        """
        task = F.cross_entropy(logits[: len(labels)], labels)
        values = {"task": task.detach()}
        if self.first_task is None:
            self.first_task = float(values["task"])
        total = task / self.first_task
        if soft_labels is not None:
            soft = F.cross_entropy(logits[len(labels) :], soft_labels)
            values["distillation"] = soft.detach()
            total = total + self.distillation * soft
        return total, values
