"""Numbers and sentences for a reader who was not there. Non-breaking spaces keep a number and its unit together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from amint_mpc.config import Experiment
from amint_mpc.pages.statistics import Scores, called_members, right_answers

_PICTURES = {
    "mnist-5k": "handwritten digits (5,000 images of MNIST)",
    "mnist": "handwritten digits (MNIST)",
    "fashion-mnist": "pieces of clothing (Fashion-MNIST)",
    "cifar-10": "small photographs (CIFAR-10)",
    "cifar-100": "small photographs (CIFAR-100)",
    "gtsrb": "traffic signs (GTSRB)",
    "tiny-imagenet": "small photographs (Tiny ImageNet)",
    "folder": "a folder of images, one class a folder",
}
NBSP = "\N{NO-BREAK SPACE}"


class Between(Protocol):
    """A value with the ends of its interval, if it has one."""

    @property
    def value(self) -> float: ...
    @property
    def interval(self) -> tuple[float, float] | None: ...


def percent(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f}{NBSP}%"


def interval(found: Between, digits: int = 1) -> str:
    """Empty where there is none."""
    if (ends := found.interval) is None:
        return ""
    return f"{100 * ends[0]:.{digits}f} to {percent(ends[1], digits)}"


def share(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}"


def points(value: float, digits: int = 1) -> str:
    """A difference of two shares, in percentage points, with its sign."""
    return f"{100 * value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def of_hundred(value: float) -> str:
    """A share as a count of 100, in words at the ends."""
    if 0 < value < 0.005:
        return "fewer than 1"
    if 0.995 < value < 1:
        return "more than 99"
    return f"{100 * value:.0f}"


def number(value: float) -> str:
    return f"{value:,.0f}"


def duration(seconds: float) -> str:
    """In the unit that suits it."""
    if seconds < 1:
        return f"{1000 * seconds:.{0 if seconds >= 0.01 else 2}f}{NBSP}ms"
    if seconds < 10:
        return f"{seconds:.1f}{NBSP}s"
    if seconds < 300:
        return f"{seconds:.0f}{NBSP}s"
    minutes = round(seconds / 60)
    return f"{minutes}{NBSP}min" if minutes < 120 else f"{minutes // 60}{NBSP}h {minutes % 60:02}{NBSP}min"


def size(megabytes: float) -> str:
    """1 MB is a million bytes."""
    if megabytes >= 1000:
        return f"{megabytes / 1000:.2f}{NBSP}GB"
    return f"{megabytes:.2f}{NBSP}MB" if megabytes >= 1 else f"{1000 * megabytes:.0f}{NBSP}kB"


def listed(parts: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]])) if parts else ""


def pictures(dataset: str) -> str:
    """What a data set shows."""
    return _PICTURES.get(dataset, f"images of the data set {dataset}")


def classes(experiment: Experiment) -> int | None:
    """How many classes the task has; None for a data set that we do not know."""
    from amint_mpc.data.registry import DATASETS  # loads torch

    data = experiment.data
    return data.classes or (DATASETS[data.dataset].classes if data.dataset in DATASETS else None)


def worth(scores: Scores) -> list[tuple[str, str]]:
    """What an answer "member" is worth, for several shares of members among the images that are asked about."""
    found = called_members(scores.members_report, scores.threshold).value
    false = called_members(scores.unseen_report, scores.threshold).value
    rows = []
    for words, asked in (("1 in 2", 0.5), ("1 in 10", 0.1), ("1 in 100", 0.01)):
        right = right_answers(found, false, asked)
        rows.append((words, "no image is called a member" if right is None else f"{of_hundred(right)} of 100"))
    return rows


def counted(pairs: Mapping[str, int]) -> str:
    """Set names with counts, for a sentence."""
    return listed([f"{count:,} in {name.replace('_', ' ')}" for name, count in pairs.items()])
