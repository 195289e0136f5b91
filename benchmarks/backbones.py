"""What a joint step of each backbone costs: python benchmarks/backbones.py [--size full] [NAME ...]

One row each: weights, million multiply-adds of one image's forward pass, features of an image for each tap (pooled;
maps), and a joint step of 128 images of 28 x 28 with 1 and with 2 threads: milliseconds by the clock, in brackets of
CPU time, which other work on the machine disturbs less. Medians; the backbones take their steps in turns. The
classifier's part alone: the head costs nothing here. `--threads` without a number: nothing is timed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from statistics import median

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from amint_mpc.amint.trainer import Trainer
from amint_mpc.config import Experiment
from amint_mpc.data.split import SplitImages
from amint_mpc.models import BACKBONES, TAPS, build_classifier, feature_count

SHAPE, CLASSES, MEMBERS, UNTIMED = (1, 28, 28), 10, 64, 2


class NoHead:
    """A head that costs nothing."""

    def step(self, features: torch.Tensor, members: int) -> torch.Tensor:
        return torch.zeros_like(features)

    def score(self, features: torch.Tensor) -> torch.Tensor | None:
        return None


def settings(name: str, size: str, taps: str = "middle", kind: str = "pooled", steps: int = 1) -> Experiment:
    """Every epoch has one step."""
    training = {"epochs": steps, "warmup_epochs": 0, "batch": MEMBERS, "evaluate_every": 0}
    return Experiment.model_validate(
        {
            "data": {"members": MEMBERS, "external": MEMBERS, "unseen": 4},
            "model": {"backbone": name, "size": size, "taps": taps},
            "head": {"input": kind},
            "training": training,
        }
    )


def steps(name: str, size: str, repeats: int) -> Iterator[tuple[float, float]]:
    """Seconds of one joint step after another: by the clock, of CPU time."""
    random = torch.Generator().manual_seed(1)

    def noise(number: int) -> torch.Tensor:
        return torch.randint(256, (number, *SHAPE), generator=random, dtype=torch.uint8)

    labels = torch.arange(MEMBERS) % CLASSES
    images = SplitImages(noise(MEMBERS), labels, noise(MEMBERS), noise(4), labels[:4], CLASSES)
    events = Trainer(settings(name, size, steps=repeats), images, NoHead(), "cpu").run()
    for _ in range(repeats):
        clock, cpu = time.perf_counter(), time.process_time()
        next(events)
        yield time.perf_counter() - clock, time.process_time() - cpu
        next(events)  # the end of the epoch


def measure(names: list[str], size: str, threads: int, repeats: int) -> dict[str, str]:
    """Median milliseconds of a joint step, by the clock and of CPU time."""
    torch.set_num_threads(threads)
    in_turns = zip(*(steps(name, size, repeats + UNTIMED) for name in names), strict=True)
    found = zip(names, zip(*list(in_turns)[UNTIMED:], strict=True), strict=True)
    return {n: "{:.0f} ({:.0f})".format(*(1e3 * median(t) for t in zip(*each, strict=True))) for n, each in found}


def multiply_adds(name: str, size: str) -> float:
    """Millions, of one image. In training: the counter misses the fused attention of scoring."""
    model = build_classifier(settings(name, size), SHAPE, CLASSES)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model.logits(torch.zeros(2, *SHAPE))
    return counter.get_total_flops() / 4e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--size", default="small", choices=("full", "small"))
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    asked = parser.parse_args()
    names = asked.names or sorted(BACKBONES)
    times = [measure(names, asked.size, threads, asked.repeats) for threads in asked.threads]
    columns = ["backbone", "weights", "million multiply-adds", "features: entry / middle / output", "with `maps`"]
    columns += [f"ms, {number} thread{'s' * (number > 1)} (CPU)" for number in asked.threads]
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for name in names:
        weights = sum(p.numel() for p in build_classifier(settings(name, asked.size), SHAPE, CLASSES).parameters())
        counts = [
            " / ".join(f"{feature_count(settings(name, asked.size, taps, kind), SHAPE):,}" for taps in TAPS)
            for kind in ("pooled", "maps")
        ]
        cells = [f"`{name}`", f"{weights:,}", f"{multiply_adds(name, asked.size):,.1f}", *counts]
        print("| " + " | ".join(cells + [each[name] for each in times]) + " |")


if __name__ == "__main__":
    main()
