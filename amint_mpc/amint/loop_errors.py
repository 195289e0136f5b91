"""What to say to a loop that does not do what the experiment has agreed on."""

from __future__ import annotations

from amint_mpc.errors import UsageError


def no_step(missing: list[str]) -> UsageError:
    """The head could not begin a step. Args: missing: tapped modules that the forward pass has not come by."""
    came = f"; it has not come by {missing[0]}" if missing else ""
    return UsageError(
        f"no graph leads from this batch through the tapped modules{came}: the head's gradient could go nowhere",
        "Pass batch.images through the tapped model in training mode, with parameters before the taps that are trained "
        "(and use_reentrant=False in torch.utils.checkpoint)",
    )


def too_early(epochs: int, steps: int, wanted: int, per_epoch: int) -> UsageError:
    """A loop has left. Args: epochs, steps: taken, and of an epoch that was left. wanted: epochs."""
    return UsageError(
        f"the loop ended after {epochs * per_epoch + steps} of {wanted * per_epoch} steps",
        f"The experiment fixes them: take all {per_epoch} batches of the loader in each of {wanted} epochs",
    )


def half_done(taken: bool) -> UsageError:
    """A step has begun and did not go backward. Args: taken: its loss was."""
    if not taken:
        return UsageError("a step ended without audit.loss()", "Add audit.loss() to the loss of every step")
    return UsageError(
        "audit.loss() was taken, and no backward pass came by it",
        "Call backward() on the sum with the task's loss before the next batch; gradients may add up",
    )
