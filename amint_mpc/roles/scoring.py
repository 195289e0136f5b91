"""All rows of one scoring, in batches of one size, at either party."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from amint_mpc.amint.schedule import score_batches
from amint_mpc.mpc.shared_head import SharedHead


def scored(
    head: SharedHead, features: Tensor | None, count: int, on_batch: Callable[[int], None] = lambda _: None
) -> Tensor | None:
    """The logits of a scoring, float64 [count], at the auditor; None at the developer.

    Args:
        features: [count, F] in the order of the scoring, at the developer; None at the auditor.
        on_batch: told after each batch how many rows are done.
    """
    found, done = [], 0
    for rows in score_batches(count):
        batch = None
        if features is not None:
            here = features[done : done + rows].double()
            batch = torch.cat([here, here.new_zeros(rows - len(here), here.shape[1])])
        logits = head.logits(batch, rows)
        if logits is not None:
            found.append(logits)
        done = min(done + rows, count)
        on_batch(done)
    return torch.cat(found)[:count] if found else None
