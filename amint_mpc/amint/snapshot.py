"""What the next joint steps depend on, but for the experiment and the images, as named tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

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


def of_loop(model: nn.Module, parts: Sequence[Any], soft_labels: Tensor | None) -> dict[str, Tensor]:
    """The same of a loop that is not ours: a copy on the CPU.

    Args:
        model: with its features. parts: optimizers and the like, of whose `state_dict()` the numbers are kept.
    """
    found = {f"{BACKBONE}{name}": value for name, value in model.state_dict().items()}
    for number, part in enumerate(parts):
        found |= dict(_numbers(f"part{number}", part.state_dict()))
    if soft_labels is not None:
        found["soft_labels"] = soft_labels
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in found.items()}


def _numbers(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """All numbers in nested records, by their path."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, int | float):
        yield name, torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else torch.int64)
    elif isinstance(value, Mapping | list | tuple):
        for key, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _numbers(f"{name}.{key}", inner)
