"""What a study's cells are measured against, run once for all cells that would run the same.

A training without a head does not depend on where it is tapped, what the head's input is, how the head learns, or when
its scores are looked at: the taps only say where the same layers are cut. Those settings are put to their defaults, and
baselines that are then equal are one. The numbers of members, external and unseen images stay: they decide the
split and the order of batches.
"""

from __future__ import annotations

from typing import Literal, get_args

from amint_mpc.config import Disclosure, Experiment, Head, Model, Security

Baseline = Literal["task-alone", "task-with-distillation"]
KINDS: tuple[Baseline, ...] = get_args(Baseline)


def shared_baseline(experiment: Experiment, kind: Baseline) -> tuple[str, Experiment]:
    """A baseline's name, the same for all experiments that share it, and its experiment."""
    from amint_mpc.plaintext_run import baselines  # loads torch

    found = baselines(experiment)[kind]
    unused = {
        "name": kind,
        "model": found.model.model_copy(update={"taps": Model().taps}),
        "head": Head(),
        "security": Security(),
        "disclosure": Disclosure(),
        "training": found.training.model_copy(update={"evaluate_every": 0}),
    }
    shared = found.model_copy(update=unused)
    mark = shared.model_copy(update={"seed": 0}).digest()[:6]  # the same for all seeds
    return f"{kind}-{experiment.model.backbone}-{mark}-s{experiment.seed}", shared
