"""Runs that can be done again, and what is changed of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from amint_mpc.afterwards import checkpoints
from amint_mpc.afterwards.replay import replay
from amint_mpc.config import Experiment, load_experiment
from amint_mpc.errors import EvidenceError
from amint_mpc.models.head_weights import init_head, seeded_normal
from amint_mpc.roles import developer
from amint_mpc.roles.heads import head_kind
from tests.roles.memory_runs import Secure, secure_run

KEPT = [
    "security.correlations=dealer",
    *("data.members=48", "data.external=48", "data.unseen=40", "training.batch=12", "training.epochs=5"),
    *("training.evaluate_every=2", "evidence.replay=true", "training.cooldown=0.5", "training.sealed_epochs=1"),
]
FASTER = ("training.sealed_batch=12", "training.sealed_learning_rate=0.2")
TEACHER = ("training.distillation=1.0", "training.warmup_epochs=1")


def run_of(root: Path, *more: str, wrap: Callable[[Any], Any] = lambda head: head) -> Secure:
    torch.set_num_threads(1)
    experiment: Experiment = load_experiment("smoke", [*KEPT, *more])
    first = init_head(head_kind(experiment).inputs, experiment.head.hidden, seeded_normal(7))
    return secure_run(experiment, root, first.tensors(), wrap, logged=True)


@contextmanager
def without_frames() -> Iterator[None]:
    """As a run whose head keeps secrets of its own, and as those of before: gradients are kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(developer, "keeps_frames", lambda experiment: False)
        patch.setattr(checkpoints, "keeps_frames", lambda experiment: False)
        yield


def refused(folder: Path, said: str, first: int = 0, last: int = 19) -> None:
    with pytest.raises(EvidenceError, match=said):
        replay(folder, None, first, last)


def change(file: Path, edit: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(file)
    edit(tensors)
    save_file(tensors, file)


def nudge(name: str) -> Callable[[dict[str, torch.Tensor]], Any]:
    return lambda tensors: tensors.update({name: tensors[name] * 1.5 + 0.1})


def flip(at: float) -> Callable[[bytes], bytes]:
    """Another bit at this share of a file."""

    def edit(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[int(at * (len(data) - 1))] ^= 1
        return bytes(changed)

    return edit
