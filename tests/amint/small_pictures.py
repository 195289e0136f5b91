"""A few random pictures, split as an experiment says, and the experiment."""

from __future__ import annotations

from typing import Any

import torch

from amint_mpc.config import Experiment
from amint_mpc.data import LabelledImages, SplitImages, split_images

CLASSES = 3


def settings(seed: int = 1, *, members: int = 40, external: int = 56, unseen: int = 24, **training: Any) -> Experiment:
    values = {"sealed_epochs": 0, "epochs": 2, "warmup_epochs": 1, "batch": 8, "evaluate_every": 0} | training
    return Experiment.model_validate(
        {
            "seed": seed,
            "data": {"members": members, "external": external, "unseen": unseen},
            "model": {"width": 2},
            "head": {"hidden": 8, "learning_rate": 0.1},
            "training": values,
        }
    )


def pictures(experiment: Experiment, seed: int = 0) -> SplitImages:
    data, generator = experiment.data, torch.Generator().manual_seed(seed)
    count = data.members + data.external + data.unseen
    brightness = torch.rand(count, 1, 1, 1, generator=generator)  # so that pooled features differ, too
    source = (torch.rand(count, 1, 28, 28, generator=generator) * brightness * 255).to(torch.uint8)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    return split_images(LabelledImages(source, labels), data, CLASSES, experiment.seed)
