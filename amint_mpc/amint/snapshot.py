"""What the next joint steps depend on, but for the experiment and the images, as named tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from amint_mpc.amint.objective import JointObjective

ADAM = ("exp_avg", "exp_avg_sq", "step")
BACKBONE = "backbone."


def take(
    classifier: nn.Module, optimizer: torch.optim.Optimizer, objective: JointObjective, soft_labels: Tensor | None
) -> dict[str, Tensor]:
    """A copy on the CPU: classifier, Adam's moments, the teacher's labels, and the first task loss."""
    found = {f"{BACKBONE}{name}": value for name, value in classifier.state_dict().items()}
    for name, parameter in classifier.named_parameters():
        kept = optimizer.state.get(parameter, {})  # nothing before the first step
        found |= {f"adam.{key}.{name}": value for key, value in kept.items()}
    if soft_labels is not None:
        found["soft_labels"] = soft_labels
    if objective.first_task is not None:
        found["first_task"] = torch.tensor(objective.first_task, dtype=torch.float64)
    return {name: value.detach().to("cpu", copy=True) for name, value in found.items()}


def put_back(
    state: Mapping[str, Tensor],
    classifier: nn.Module,
    optimizer: torch.optim.Optimizer,
    objective: JointObjective,
    device: torch.device,
) -> Tensor | None:
    """Make `state` the current one. Returns the teacher's labels, if it has them.

    Raises:
        KeyError, RuntimeError: it is not of this classifier.
    """
    classifier.load_state_dict({name: state[f"{BACKBONE}{name}"] for name in classifier.state_dict()})
    adam = [
        {key: state[f"adam.{key}.{name}"].to(device) for key in ADAM if f"adam.{key}.{name}" in state}
        for name, _ in classifier.named_parameters()
    ]
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": dict(enumerate(adam)) if adam[0] else {}, "param_groups": groups})
    objective.first_task = float(state["first_task"]) if "first_task" in state else None
    return state["soft_labels"].to(device) if "soft_labels" in state else None


def backbone_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The classifier's part of it."""
    return {name.removeprefix(BACKBONE): value for name, value in state.items() if name.startswith(BACKBONE)}
