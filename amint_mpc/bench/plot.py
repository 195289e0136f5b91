"""Measured figures as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from amint_mpc.bench.scaling import AXES
from amint_mpc.errors import UsageError


def check(path: Path) -> None:
    """Refuse a file that could not be written, before anything is measured.

    Raises:
        UsageError: not a .png, or its folder does not exist.
    """
    if path.suffix != ".png" or not path.absolute().parent.is_dir():
        raise UsageError(f"{path} is not a place for a plot", "Name a .png file in a folder that exists")


def over_round_trips(points: Sequence[Mapping[str, float]], rounds: int, path: Path) -> None:
    """Time of a step over the round-trip time, beside what the rounds alone would add: half a round trip each."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    at, found = [point["rtt_ms"] for point in points], [point["ms"] for point in points]
    axes.plot(at, found, "o-", label="measured")
    expected = [found[0] + rounds * (rtt - at[0]) / 2 for rtt in at]
    axes.plot(at, expected, "--", color="grey", label=f"loopback + {rounds} rounds of half a round trip")
    axes.set(xlabel="round-trip time between developer and auditor (ms)", ylabel="a training step of the head (ms)")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.legend()
    figure.savefig(path, dpi=150)


def over_sizes(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Time of a step over batch, features and hidden units."""
    figure = Figure(figsize=(10, 3.5), layout="constrained")
    for place, axis in enumerate(AXES, start=1):
        axes = figure.add_subplot(1, 3, place)
        chosen = [row for row in rows if row["axis"] == axis]
        ms = [row["ms"] for row in chosen]
        bars = [[row["ms"] - row["low"] for row in chosen], [row["high"] - row["ms"] for row in chosen]]
        axes.errorbar([row[axis] for row in chosen], ms, yerr=bars, fmt="o-", capsize=3)
        axes.set(xlabel=axis, ylabel="a training step of the head (ms)" if place == 1 else "")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
    figure.savefig(path, dpi=150)
