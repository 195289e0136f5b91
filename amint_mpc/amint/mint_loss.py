"""The membership loss as autograd meets it: a scalar 0 whose gradient comes from the head.

L_mint is never opened, so it has no value here. Its gradient by the features is what the head gives:

1. As soon as a batch's features exist, the head takes its step on them, in a thread of its own.
2. The training goes on: the rest of the forward pass, and the task's way back to the last tapped map.
3. There backward has a node that needs both, what comes from the task and from this loss. It alone waits for the head.

What comes from the loss is its factor in whatever is differentiated: the scale of a `GradScaler`, the division of
gradient accumulation, a weight. A replay, a plaintext twin and a secure head all go through here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from amint_mpc.amint.plaintext_head import MintHead
from amint_mpc.amint.transfer import AsyncHostCopy, to_device

Waiting = Callable[[], AbstractContextManager[None]]
"""Stands around whatever the training does nothing else in than wait for the head."""


class PendingStep:
    """A step of the head that has begun.

    Attributes:
        taken: its loss has been handed out. joined: a backward pass came for its gradient.
        seconds: that backward waited.
    """

    def __init__(self, gradient: Future[Tensor], weight: float, waiting: Waiting) -> None:
        self.taken = self.joined = False
        self.seconds = 0.0
        self._gradient, self._weight, self._waiting = gradient, weight, waiting

    def attached(self, tapped: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """The last tapped map, to go on with, and the loss."""
        return _Attached.apply(self, tapped, features)  # type: ignore[no-any-return]

    def loss(self, features: Tensor) -> Tensor:
        """The loss alone. Taken before the rest of the forward pass, it is what backward comes to last."""
        return _Loss.apply(self, features)  # type: ignore[no-any-return]

    def seed(self, factor: Tensor) -> Tensor:
        """Gradient of the joint loss by the features, [n, F], on the device of `factor`; waits for the head.

        Args:
            factor: of this loss in what is differentiated, a scalar.
        """
        start = time.perf_counter()
        with self._waiting():
            gradient = self._gradient.result()
        self.seconds += time.perf_counter() - start
        self.joined = True
        return to_device(gradient.to(factor.dtype), factor.device) * self._weight * factor


class HeadSteps:
    """Begins the steps of a head.

    Args:
        weight: of L_mint in the joint loss.
        overlap: in a thread of its own; else the head is waited for here and now, which changes no result.
    """

    def __init__(self, head: MintHead, weight: float, overlap: bool, waiting: Waiting = nullcontext) -> None:
        self._head, self._weight, self._waiting = head, weight, waiting
        self._worker = ThreadPoolExecutor(1, "head") if overlap else None

    def begin(self, features: Tensor, members: int) -> PendingStep:
        """Begin a step. Args: features: [n, F], members first. members: how many."""
        copied = AsyncHostCopy(features.detach())

        def step() -> Tensor:
            return self._head.step(copied.wait(), members)

        if self._worker is not None:
            return PendingStep(self._worker.submit(step), self._weight, self._waiting)
        done: Future[Tensor] = Future()
        with self._waiting():
            done.set_result(step())
        return PendingStep(done, self._weight, nullcontext)

    def close(self) -> None:
        """Begin no more. A step that goes on is not waited for: after an error its link is still to be closed."""
        if self._worker is not None:
            self._worker.shutdown(wait=False, cancel_futures=True)


def within_backward() -> bool:
    """Whether autograd is going backward in this thread: a forward pass is then one that a checkpoint does again."""
    return bool(torch._C._current_graph_task_id() != -1)


class _Attached(torch.autograd.Function):
    """(map, features) -> (the same map, 0). Backward needs the gradients of both, then waits for the head."""

    @staticmethod
    def forward(ctx: Any, step: PendingStep, tapped: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        ctx.step = step
        ctx.set_materialize_grads(False)
        return tapped, features.new_zeros(())

    @staticmethod
    def backward(ctx: Any, of_map: Tensor | None, factor: Tensor | None) -> tuple[None, Tensor | None, Tensor | None]:
        return None, of_map, None if factor is None else ctx.step.seed(factor)


class _Loss(torch.autograd.Function):
    """features -> 0."""

    @staticmethod
    def forward(ctx: Any, step: PendingStep, features: Tensor) -> Tensor:
        ctx.step = step
        return features.new_zeros(())

    @staticmethod
    def backward(ctx: Any, factor: Tensor) -> tuple[None, Tensor]:
        return None, ctx.step.seed(factor)
