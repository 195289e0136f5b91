"""Passive MINT, what active MINT is compared with: the same head, trained on a classifier that is finished and frozen.

Source: aMINT (arXiv 2509.07879), after DeAlcala et al., "Is my Data in your AI Model? Membership Inference Test with
Application to Face Images" (arXiv 2402.09225). The head is drawn as the active one and takes as many steps of as many
members and external images; only the classifier hears nothing of it.

A head can learn the images it is trained on by heart, whatever the classifier knows of them: even on random features
it gives them higher scores than to unseen images. So each figure comes in two forms. `passive_scores` trains on all
members and scores them, as active MINT does; `held_out_scores` scores each member with a head that has not met it.
On an `untrained` classifier the second is the blind control, which must find nothing, and the first shows what the head
alone remembers.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from amint_mpc.amint.optimizers import plaintext_optimizer
from amint_mpc.amint.outputs import outputs
from amint_mpc.amint.plaintext_head import PlaintextHead
from amint_mpc.config import Experiment
from amint_mpc.data.split import SETS, SplitImages
from amint_mpc.models.classifier import Classifier, build_classifier, to_unit_range
from amint_mpc.models.head_weights import init_head, seeded_normal

Features = Mapping[str, Tensor]
"""Set name -> float32 [count, F], of a frozen classifier."""


def untrained(experiment: Experiment, images: SplitImages) -> Classifier:
    """The experiment's classifier with its first, random weights: no image has shaped it."""
    return build_classifier(experiment, tuple(images.members.shape[1:]), images.classes)


def frozen_features(experiment: Experiment, classifier: Classifier, images: SplitImages) -> dict[str, Tensor]:
    """Features of all five sets, standardised over members and external images, which count alike, as in joint steps.

    A classifier trained without a head has met members alone: its own running statistics would tell them apart.
    """
    frozen = copy.deepcopy(classifier).eval()
    for layer in frozen.features.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.reset_running_stats()
            layer.momentum = None  # a plain average over all batches
            layer.train()
    batch, device = experiment.training.batch, next(frozen.parameters()).device
    count = min(len(images.members), len(images.external)) // batch * batch
    with torch.no_grad():
        for both in zip(*(torch.split(part[:count], batch) for part in (images.members, images.external)), strict=True):
            frozen(to_unit_range(torch.cat(both).to(device)))
    return {name: outputs(frozen, images.images(name))[1] for name in SETS}


def passive_scores(experiment: Experiment, features: Features) -> dict[str, Tensor]:
    """A head trained on all members, and its scores.

    Returns:
        set name -> membership probabilities, float64 [count].

    Raises:
        ProtocolError: a value left the range that the head is held to (`PlaintextHead`).
    """
    head = _trained(experiment, torch.cat([features["members_calibration"], features["members_report"]]), features)
    return {name: head.score(features[name]) for name in SETS}


def held_out_scores(experiment: Experiment, features: Features) -> dict[str, Tensor]:
    """Scores of members by heads that have not met them: one trained on each half of the members.

    The head trained on the calibration half scores the report halves and the external images, the other one the
    calibration halves. Returns and raises as `passive_scores`.
    """
    scores: dict[str, Tensor] = {}
    for met, other in (("calibration", "report"), ("report", "calibration")):
        head = _trained(experiment, features[f"members_{met}"], features)
        scores |= {name: head.score(features[name]) for name in (f"members_{other}", f"unseen_{other}")}
        if other == "report":
            scores["external"] = head.score(features["external"])
    return scores


def _trained(experiment: Experiment, members: Tensor, features: Features) -> PlaintextHead:
    external = features["external"]
    weights = init_head(members.shape[1], experiment.head.hidden, seeded_normal(experiment.seed))
    head = PlaintextHead(weights, plaintext_optimizer(experiment.head))
    for inside, outside in _steps(experiment, len(members), len(external)):
        head.step(torch.cat([members[inside], external[outside]]), len(inside))
    return head


def _steps(experiment: Experiment, members: int, external: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows of members and of external images for every step, [batch] each; a fresh order each epoch."""
    training = experiment.training
    wanted = training.batch * experiment.steps_per_epoch
    random = np.random.Generator(np.random.PCG64([experiment.seed, 3]))  # beside the split's and the trainer's streams
    for _ in range(training.epochs):
        orders = []
        for count in (members, external):
            order = np.concatenate([random.permutation(count) for _ in range(-(-wanted // count))])[:wanted]
            orders.append(torch.split(torch.from_numpy(order), training.batch))
        yield from zip(*orders, strict=True)
