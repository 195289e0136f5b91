"""What a joint step of each backbone costs: python benchmarks/backbones.py [--size full] [NAME ...]

One row each: weights, features of an image for each tap (pooled; maps), and a joint step of 128 images of 28 x 28 with 1
and with 2 threads: milliseconds by the clock, and in brackets of CPU time, which other work on the machine disturbs less
(medians). The classifier's part alone: the head costs nothing here.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch

from amint_mpc.amint.trainer import Trainer
from amint_mpc.config import Experiment
from amint_mpc.data.split import SplitImages
from amint_mpc.events import StepEvent
from amint_mpc.models import BACKBONES, build_classifier, feature_count

SHAPE, CLASSES, MEMBERS = (1, 28, 28), 10, 64


class NoHead:
    """A head that costs nothing."""

    def step(self, features: torch.Tensor, members: int) -> torch.Tensor:
        return torch.zeros_like(features)

    def score(self, features: torch.Tensor) -> torch.Tensor | None:
        return None


def settings(name: str, size: str, taps: str = "middle", kind: str = "pooled", epochs: int = 1) -> Experiment:
    return Experiment.model_validate(
        {
            "data": {"members": MEMBERS, "external": MEMBERS, "unseen": 4},
            "model": {"backbone": name, "size": size, "taps": taps},
            "head": {"input": kind},
            "training": {"epochs": epochs, "warmup_epochs": 0, "batch": MEMBERS, "evaluate_every": 0},
        }
    )


def step_times(name: str, size: str, threads: int, repeats: int) -> tuple[float, float]:
    """Median milliseconds of a joint step: by the clock, of CPU time."""
    torch.set_num_threads(threads)
    random = torch.Generator().manual_seed(1)

    def noise(number: int) -> torch.Tensor:
        return torch.randint(256, (number, *SHAPE), generator=random, dtype=torch.uint8)

    images = SplitImages(noise(64), torch.arange(64) % CLASSES, noise(64), noise(4), torch.arange(4), CLASSES)
    clock, cpu, before = [], [], 0.0
    for event in Trainer(settings(name, size, epochs=repeats + 2), images, NoHead(), "cpu").run():
        if isinstance(event, StepEvent):
            clock.append(event.seconds)
            cpu.append(time.process_time() - before)
        before = time.process_time()
    return 1e3 * median(clock[2:]), 1e3 * median(cpu[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=sorted(BACKBONES))
    parser.add_argument("--size", default="small", choices=("full", "small"))
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    asked = parser.parse_args()
    print("| backbone | weights | features: entry / middle / output | the same with `maps` |", end="")
    print("".join(f" ms, {n} thread{'s' * (n > 1)} (CPU) |" for n in asked.threads))
    print("|---" * (4 + len(asked.threads)) + "|")
    for name in asked.names:
        weights = sum(p.numel() for p in build_classifier(settings(name, asked.size), SHAPE, CLASSES).parameters())
        counts = [
            " / ".join(f"{feature_count(settings(name, asked.size, t, kind), SHAPE):,}" for t in ("entry", "middle", "output"))
            for kind in ("pooled", "maps")
        ]
        times = [step_times(name, asked.size, threads, asked.repeats) for threads in asked.threads]
        shown = " | ".join(f"{clock:.0f} ({cpu:.0f})" for clock, cpu in times)
        print(f"| `{name}` | {weights:,} | {counts[0]} | {counts[1]} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
