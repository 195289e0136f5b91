"""What a run will take: rounds and bytes exactly, time from a few steps of each kind in this process."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch

from amint_mpc.amint.optimizers import plaintext_optimizer
from amint_mpc.amint.plaintext_head import MintHead, PlaintextHead
from amint_mpc.amint.sealing import MixedRows
from amint_mpc.amint.trainer import Trainer
from amint_mpc.bench import count
from amint_mpc.bench.count import SEALED, TRAIN, Traffic
from amint_mpc.bench.inprocess import parties, zeros
from amint_mpc.bench.noise import noise_images
from amint_mpc.bench.train import shortened
from amint_mpc.config import Experiment
from amint_mpc.data.registry import dataset
from amint_mpc.errors import UsageError
from amint_mpc.events import OnProgress
from amint_mpc.models.classifier import build_classifier
from amint_mpc.models.head_weights import init_head, seeded_normal
from amint_mpc.roles.heads import head_kind, secure_optimizer
from amint_mpc.roles.plans import targets

REPEATS = 3
LEFT_OUT = (
    "starting the processes, reading images, waiting for each other",
    "what TLS and TCP add to the bytes, signs of life, hellos and seeds of the dealer, figures that the auditor tells",
    "the time that a link's rate adds; round trips are added only with --rtt-ms",
    "that three machines compute at the same time: the steps were timed with all parties in one process",
    "an accelerator: the classifier was timed on the CPU, on images of noise",
)
STOPPING = "that training.patience may end the run early: these figures are the most it can take"


def estimate(
    experiment: Experiment, rtt_ms: float = 0.0, repeats: int = REPEATS, on_progress: OnProgress = lambda *_: None
) -> dict[str, Any]:
    """Count and time the parts of a run, and add them up.

    Args:
        rtt_ms: a round trip between developer and auditor. In a round both send at the same time, so a round takes
            half of it.
        repeats: of each timed step; the median counts.

    Returns:
        rounds, seconds and MB (a million bytes) of the whole run and of a training step; the machine's load average
        when the timing began, with its cores; and what is left out.
    """
    if experiment.security.correlations != "dealer":
        raise UsageError("the estimate is of a run with a dealer", "Leave security.correlations as it is")
    if rtt_ms < 0 or repeats < 1:
        raise UsageError("a round trip takes 0 ms or more")
    load = load_average()
    on_progress("counting", 0, 3)
    transcripts = count.record(experiment)
    whole, step = count.whole_run(experiment, transcripts), count.training_step(transcripts)
    on_progress("timing the head", 1, 3)
    head = time_head(experiment, repeats)
    on_progress("timing the classifier", 2, 3)
    plain = {"warm_up": 0.0, "joint": 0.0, "image": 0.0}
    if experiment.head.features is None:
        plain = time_classifier(experiment, repeats, _NoHead())
    on_progress("adding up", 3, 3)
    numbers = Counter(count.kinds(experiment))
    training = experiment.training
    parts = {
        "warm_up": plain["warm_up"] * training.warmup_epochs * experiment.steps_per_epoch,
        "classifier": plain["joint"] * numbers[TRAIN],
        "head": sum(head[kind] * numbers[kind] for kind in (TRAIN, SEALED) if numbers[kind]),
        "scoring": plain["image"] * _passes(experiment, numbers)
        + sum(head[kind] * number for kind, number in numbers.items() if kind > TRAIN),
        "round_trips": whole.rounds * rtt_ms / 2e3,
    }
    return {
        "experiment": experiment.name,
        "digest": experiment.digest(),
        "steps": numbers[TRAIN] + numbers[SEALED],
        "score_batches": sum(number for kind, number in numbers.items() if kind > TRAIN),
        "rounds": whole.rounds,
        **_megabytes(whole),
        "seconds": sum(parts.values()),
        "seconds_by_part": parts,
        "step": {
            "ms": 1e3 * (head[TRAIN] + plain["joint"]) + step.rounds * rtt_ms / 2,
            "rounds": step.rounds,
            **_megabytes(step),
        },
        "rtt_ms": rtt_ms,
        "load_average": load,
        "cores": os.cpu_count() or 1,
        "leaves_out": [
            *LEFT_OUT,
            *(["your own training loop"] if experiment.head.features is not None else []),
            *([STOPPING] if training.patience else []),
        ],
    }


def load_average() -> float | None:
    """Processes that ran or waited for a core, mean of the last minute; None where the system does not say."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


def plaintext_seconds(experiment: Experiment, repeats: int = REPEATS) -> float:
    """What the same training takes in the clear, head and all, in one process with torch's present threads."""
    head = None
    if experiment.training.mint_weight > 0:
        weights = init_head(head_kind(experiment).inputs, experiment.head.hidden, seeded_normal(experiment.seed))
        head = PlaintextHead(weights, plaintext_optimizer(experiment.head))
    plain = time_classifier(experiment, repeats, head)
    numbers = Counter(count.kinds(experiment))
    return (
        plain["warm_up"] * experiment.training.warmup_epochs * experiment.steps_per_epoch
        + plain["joint"] * numbers[TRAIN]
        + plain["image"] * _passes(experiment, numbers)
    )


def _passes(experiment: Experiment, numbers: Counter[int]) -> int:
    """Images that go forward alone: those that are scored, and those of sealed steps."""
    scored = sum(kind * number for kind, number in numbers.items() if kind > TRAIN)
    return scored + 2 * experiment.training.batch * numbers[SEALED]


def time_head(experiment: Experiment, repeats: int) -> dict[int, float]:
    """Seconds of each kind of step of the head, all three parties in this process."""
    inputs, labels = head_kind(experiment).inputs, targets(experiment.training.batch)
    found = {}
    with parties(head_kind(experiment), secure_optimizer(experiment)) as three:
        for kind in sorted(set(count.kinds(experiment))):
            x = zeros(kind if kind > TRAIN else len(labels), inputs)
            if kind <= TRAIN:
                step = partial(three.train, x, labels, open_gradient=kind == TRAIN)
                found[kind] = _timed(step, repeats)
            else:
                found[kind] = _timed(partial(three.score, x), repeats)
    return found


def time_classifier(experiment: Experiment, repeats: int, head: MintHead | None) -> dict[str, float]:
    """Seconds of a warm-up step, of a joint step with this head, and of a forward pass of one image."""
    training, kind = experiment.training, dataset(experiment.data)
    data = experiment.data.model_copy(update={"members": max(4, training.batch), "external": max(4, training.batch)})
    short = shortened(experiment.model_copy(update={"data": data.model_copy(update={"unseen": 4})}), repeats + 1)
    short = short.model_copy(update={"training": short.training.model_copy(update={"warmup_epochs": repeats + 1})})
    steps: dict[str, list[float]] = {"warm-up": [], "joint": []}
    for event in Trainer(short, noise_images(short), head, "cpu").run():
        if hasattr(event, "secure_seconds"):
            steps[event.phase].append(event.seconds)
    model = build_classifier(experiment, kind.shape, kind.classes).eval()
    batch = torch.rand(64, *kind.shape)
    with torch.no_grad():
        forward = _timed(lambda: model(batch), repeats) / len(batch)
    # the first step of a phase pays for what is made once
    return {"warm_up": median(steps["warm-up"][1:]), "joint": median(steps["joint"][1:]), "image": forward}


class _NoHead:
    """A head that costs nothing."""

    def step(self, features: torch.Tensor, members: int) -> torch.Tensor:
        return torch.zeros_like(features)

    def seal(self, features: torch.Tensor) -> None:
        """See `MintHead.seal`."""

    def fit(self, rows: MixedRows) -> None:
        """See `MintHead.fit`."""

    def score(self, features: torch.Tensor) -> torch.Tensor | None:
        return None


def _timed(work: Callable[[], Any], repeats: int) -> float:
    work()
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return median(found)


def _megabytes(traffic: Traffic) -> dict[str, float]:
    return {
        "mb_sent_developer": traffic.developer / 1e6,
        "mb_sent_auditor": traffic.auditor / 1e6,
        "mb_dealer": traffic.dealer / 1e6,
    }
