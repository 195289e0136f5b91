"""The loop for Accelerate that the documentation shows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from amint_mpc.amint.audit import Audit
from tests.loops.twin import follows_the_plain_loop, trained

accelerate = pytest.importorskip("accelerate")
pytestmark = pytest.mark.filterwarnings("ignore")


def fit(
    audit: Audit, net: nn.Module, data: dict[str, Any], taps: tuple[str, ...], accumulate: int = 1, **more: Any
) -> None:
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=accumulate, **more)
    model, optimizer = accelerator.prepare(net, torch.optim.SGD(net.parameters(), lr=0.05))
    audit.tap(model, *taps)
    audit.keep(optimizer)
    loader = audit.loader(**data)
    for _ in range(audit.epochs):
        for batch in loader:
            with accelerator.accumulate(model):
                loss = F.cross_entropy(model(batch.images)[batch.members], batch.labels) + audit.loss()
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
    audit.finish()


@pytest.mark.parametrize("accumulate", [1, 3])
def test_it_follows_the_plain_loop(accumulate: int) -> None:
    follows_the_plain_loop(fit, accumulate)


def test_mixed_precision() -> None:
    accelerate.state.AcceleratorState._reset_state(True)
    _, head, audit, _ = trained(fit, mixed_precision="bf16")
    assert audit.finished
    assert {seen.dtype for seen in head.seen} == {torch.float32}
    accelerate.state.AcceleratorState._reset_state(True)
