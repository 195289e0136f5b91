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
from amint_mpc.bench.delay import DelayedLink
from amint_mpc.bench.inprocess import parties, zeros
from amint_mpc.bench.masks import PROFILES, SETUP, THREADS, Costs, crossing, mask_costs
from amint_mpc.bench.noise import noise_images
from amint_mpc.bench.train import shortened
from amint_mpc.config import PARTIES, Experiment
from amint_mpc.data.registry import dataset
from amint_mpc.errors import UsageError
from amint_mpc.events import OnProgress
from amint_mpc.models.classifier import build_classifier
from amint_mpc.models.head_weights import init_head, seeded_normal
from amint_mpc.roles.heads import head_kind, needs_dealer, secure_optimizer
from amint_mpc.roles.plans import targets

REPEATS = 3
LEFT_OUT = (
    "starting the processes, reading images, waiting for each other",
    "what TLS takes of the processors",
    "what TLS and TCP add to the bytes, signs of life, hellos and seeds of the dealer, figures that the auditor tells",
    "what a link adds, without --rtt-ms and --mbit; TCP's slow start and losses",
    "that several machines compute at the same time: the steps were timed with all parties in one process",
    "an accelerator: the classifier was timed on the CPU, on images of noise",
)
STOPPING = "that training.patience may end the run early: these figures are the most it can take"


def estimate(
    experiment: Experiment,
    rtt_ms: float = 0.0,
    repeats: int = REPEATS,
    on_progress: OnProgress = lambda *_: None,
    mbit: float | None = None,
) -> dict[str, Any]:
    """Count and time the parts of a run, and add them up: with the masks as the experiment says, and the other way.

    Args:
        rtt_ms: a round trip on every link. In a round both send at the same time, so a round takes half of it.
        mbit: millions of bits a second that a link carries in each direction; None: no limit.
        repeats: of each timed step; the median counts.

    Returns:
        rounds, seconds and MB (a million bytes) of the whole run and of a training step; the same for each way of
        making masks, under `ways`; with what `security.link` may say, under `links`, and the Mbit/s below which wan is
        quicker; the machine's load average when the timing began, with its cores; what is left out.
    """
    if experiment.insecure:
        raise UsageError("the estimate is of a run that protects both", "Leave security.correlations as it is")
    if rtt_ms < 0 or repeats < 1 or (mbit is not None and mbit <= 0):
        raise UsageError("a round trip takes 0 ms or more, and a link carries more than 0 Mbit/s")
    load, link = load_average(), DelayedLink.of(rtt_ms, mbit)
    on_progress("counting", 0, 4)
    transcripts = count.record(experiment)
    whole, step = count.whole_run(experiment, transcripts), count.training_step(transcripts)
    on_progress("timing the head", 1, 4)
    head = time_head(experiment, repeats)
    on_progress("timing the classifier", 2, 4)
    plain = {"warm_up": 0.0, "joint": 0.0, "image": 0.0}
    if experiment.head.features is None:
        plain = time_classifier(experiment, repeats, _NoHead())
    on_progress("timing the masks", 3, 4)
    masks = None if needs_dealer(experiment.head) else mask_costs(experiment, repeats)
    on_progress("adding up", 4, 4)
    numbers = Counter(count.kinds(experiment))
    training = experiment.training
    parts = {
        "warm_up": plain["warm_up"] * training.warmup_epochs * experiment.steps_per_epoch,
        "classifier": plain["joint"] * numbers[TRAIN],
        "head": sum(head[kind] * numbers[kind] for kind in (TRAIN, SEALED) if numbers[kind]),
        "scoring": plain["image"] * _passes(experiment, numbers)
        + sum(head[kind] * number for kind, number in numbers.items() if kind > TRAIN),
        "round_trips": whole.rounds * rtt_ms / 2e3,
        "sending": _sending(link, whole.developer, whole.auditor),
    }
    alone = sum(parts.values())
    ways = {"dealer": _with_dealer(alone, whole, step, link)}
    if masks is not None:
        ways["two-party"] = _by_pair(alone, link, masks[experiment.security.link], numbers)
    return {
        "experiment": experiment.name,
        "digest": experiment.digest(),
        "steps": numbers[TRAIN] + numbers[SEALED],
        "score_batches": sum(number for kind, number in numbers.items() if kind > TRAIN),
        "rounds": whole.rounds,
        **_megabytes(whole),
        "seconds": alone,
        "ways": ways,
        "links": None if masks is None else {name: _by_pair(alone, link, masks[name], numbers) for name in PROFILES},
        "wan_below_mbit": None
        if masks is None
        else crossing(masks["lan"][TRAIN], masks["wan"][TRAIN], rtt_ms, os.cpu_count() or 1),
        "seconds_by_part": parts,
        "step": {
            "ms": 1e3 * (head[TRAIN] + plain["joint"] + _sending(link, step.developer, step.auditor))
            + step.rounds * rtt_ms / 2,
            "rounds": step.rounds,
            **_megabytes(step),
        },
        "rtt_ms": rtt_ms,
        "mbit": mbit,
        "load_average": load,
        "cores": os.cpu_count() or 1,
        "leaves_out": [
            *LEFT_OUT,
            *(["your own training loop"] if experiment.head.features is not None else []),
            *([STOPPING] if training.patience else []),
        ],
    }


def _sending(link: DelayedLink, *sent: int) -> float:
    """Seconds that the larger of two directions takes."""
    return max(sent) / link.bytes_per_s if link.bytes_per_s else 0.0


def _with_dealer(alone: float, whole: Traffic, step: Traffic, link: DelayedLink) -> dict[str, Any]:
    """Blocks come while the parties compute, so the slower of the two counts."""
    return {
        "seconds": max(alone, _sending(link, whole.dealer)),
        "masks_seconds": _sending(link, whole.dealer),
        "masks_mb": {"dealer": whole.dealer / 1e6},
        "step": {"masks_ms": 1e3 * _sending(link, step.dealer), "masks_mb": {"dealer": step.dealer / 1e6}},
    }


def _by_pair(alone: float, link: DelayedLink, masks: Costs, numbers: Counter[int]) -> dict[str, Any]:
    """Masks are made while the parties compute, on the same cores: both parties' in a run on one machine."""
    counted, cores = {**numbers, SETUP: THREADS}, os.cpu_count() or 1
    seconds = sum(masks[kind].on(link, cores) * number for kind, number in counted.items())
    sent = {role: sum(getattr(masks[kind], role) * number for kind, number in counted.items()) for role in PARTIES}
    one = masks[TRAIN]
    return {
        "seconds": max(alone, seconds) if cores > THREADS else alone + seconds,
        "masks_seconds": seconds,
        "masks_mb": {role: value / 1e6 for role, value in sent.items()},
        "step": {
            "masks_ms": 1e3 * one.on(link, cores),
            "masks_cpu_ms": {role: 1e3 * cpu for role, cpu in zip(PARTIES, one.cpu, strict=True)},
            "masks_mb": {role: getattr(one, role) / 1e6 for role in PARTIES},
        },
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
