"""Shadow models: classifiers of the attacker's own, trained on the task alone, on halves of a pool it is given.

The pool is the members and the unseen images together, with their labels. Each pair of shadow models shares it out
between them, at random, so that every image is inside half of the models and outside the other half: the way
in which LiRA and RMIA are evaluated (Carlini et al. 2022, arXiv 2112.03570). That is more than most outsiders have:
the very images in question, with labels. An offline attack asks only models that were not trained on the image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from amint_mpc.amint.trainer import Trainer
from amint_mpc.config import Experiment
from amint_mpc.data.split import SplitImages
from amint_mpc.errors import UsageError
from amint_mpc.events import Event
from amint_mpc.models.classifier import Classifier

LEAST = 4
"""Two models inside and two outside for each image: with one, no variance can be estimated."""


def pool(images: SplitImages) -> tuple[Tensor, Tensor]:
    """The images in question, uint8 [n, C, H, W], and their labels, int64 [n]: members, then unseen images."""
    return torch.cat([images.members, images.unseen]), torch.cat([images.member_labels, images.unseen_labels])


def by_set(images: SplitImages, scores: Tensor) -> dict[str, Tensor]:
    """Scores of the pool, [n], apart by the sets of the split."""
    names = ("members_calibration", "members_report", "unseen_calibration", "unseen_report")
    return dict(zip(names, torch.split(scores, [len(images.images(name)) for name in names]), strict=True))


def halves(count: int, shadows: int, seed: int) -> Tensor:
    """Which image each shadow model is trained on, bool [shadows, count].

    Raises:
        UsageError: an odd number of shadow models, or fewer than `LEAST`.
    """
    if shadows < LEAST or shadows % 2:
        raise UsageError(
            f"{shadows} shadow models cannot have each image inside half of them",
            f"An even number, at least {LEAST}, for example --shadows {LEAST}",
        )
    random = np.random.Generator(np.random.PCG64([seed, 2]))  # beside the split's and the trainer's streams
    inside = torch.zeros(shadows, count, dtype=torch.bool)
    for pair in range(0, shadows, 2):
        inside[pair, torch.from_numpy(random.permutation(count)[: count // 2])] = True
        inside[pair + 1] = ~inside[pair]
    return inside


def train_shadow(
    experiment: Experiment,
    images: SplitImages,
    inside: Tensor,
    number: int,
    device: str = "auto",
    on_event: Callable[[Event], None] = lambda event: None,
) -> Classifier:
    """One shadow model: as many epochs as the attacked classifier, with a seed of its own.

    Args:
        inside: which images of the pool it is trained on, bool [n].
        number: of the model, from 0; its seed follows from it and the experiment's.
    """
    every, labels = pool(images)
    variant = shadow_experiment(experiment, int(inside.sum()), int((~inside).sum()), number)
    own = replace(
        images,
        members=every[inside],
        member_labels=labels[inside],
        external=every[~inside][: variant.data.external],  # without a head or a teacher no step takes any
        unseen=every[~inside],
        unseen_labels=labels[~inside],
    )
    trainer = Trainer(variant, own, None, device)
    for event in trainer.run():
        on_event(event)
    return trainer.backbone


def shadow_experiment(experiment: Experiment, inside: int, outside: int, number: int) -> Experiment:
    """The experiment of one shadow model: the task alone, no distillation, nothing scored on the way."""
    batch = min(experiment.training.batch, inside, outside)
    seed = int(np.random.SeedSequence([experiment.seed, 2, number]).generate_state(1)[0]) >> 1
    data = experiment.data.model_copy(update={"members": inside, "external": batch, "unseen": outside})
    training = experiment.training.model_copy(
        update={"mint_weight": 0.0, "distillation": 0.0, "evaluate_every": 0, "batch": batch}
    )
    return experiment.model_copy(update={"seed": seed, "data": data, "training": training})
