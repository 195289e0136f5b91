"""MINT accuracy against task accuracy, as SVG and PNG: colour tells the backbone, the marker the taps."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from amint_mpc.pages.study import Variant
from amint_mpc.results import AT_HALF, CALIBRATED
from amint_mpc.study.folder import write
from amint_mpc.study.paper import SOURCE

# Okabe and Ito's colours, told apart by colour-blind readers, too
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
_MARKERS = {"entry": "o", "middle": "s", "output": "^"}
_PANELS = {CALIBRATED: "calibrated threshold", AT_HALF: "threshold 0.5"}


def draw(entries: Sequence[Variant], folder: Path) -> list[Path]:
    """A figure for each data set, mode and method that has a head. Returns what was written."""
    heads = sorted((entry for entry in entries if CALIBRATED in entry.measures), key=lambda entry: entry.section)
    written = []
    for section, found in groupby(heads, key=lambda entry: entry.section):
        figure = _figure(section, list(found))
        for ending in ("svg", "png"):
            image = io.BytesIO()
            with mpl.rc_context({"svg.hashsalt": "amint-mpc"}):  # the same figure is the same file
                figure.savefig(image, format=ending, dpi=150, metadata={"Date": None} if ending == "svg" else None)
            written.append(folder / f"mint-against-task-{'-'.join(section)}.{ending}")
            write(written[-1], image.getvalue())
    return written


def _figure(section: tuple[str, str, str], entries: list[Variant]) -> Figure:
    dataset, mode, method = section
    backbones = list(dict.fromkeys(entry.row.backbone for entry in entries))
    colours = {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(backbones)}
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    left = figure.add_subplot(1, 2, 1)
    right = figure.add_subplot(1, 2, 2, sharex=left, sharey=left)
    for axes, (key, title) in zip((left, right), _PANELS.items(), strict=True):
        for entry in entries:
            _point(axes, entry, key, colours[entry.row.backbone])
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set(title=title, xlabel="task accuracy, unseen images", ylabel="MINT accuracy" if axes is left else "")
    figure.suptitle(f"{dataset}, {mode}, method {method}")
    handles = list(_legend(entries, colours))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(handles)), frameon=False)
    return figure


def _point(axes: Axes, entry: Variant, key: str, colour: str) -> None:
    marker = _MARKERS[entry.row.taps]
    task, mint = entry.measures["task_accuracy"], entry.measures[key]
    axes.errorbar(
        *(task.mean, mint.mean, mint.deviation, task.deviation),
        fmt=marker,
        color=colour,
        markersize=8,
        markeredgecolor="white",
        elinewidth=1,
        capsize=2,
        alpha=0.9,
    )
    paper = entry.paper if key == AT_HALF else None  # the paper's threshold
    if paper is not None and paper.task_accuracy is not None and paper.mint_accuracy_at_half is not None:
        axes.plot(
            *(paper.task_accuracy, paper.mint_accuracy_at_half),
            marker,
            markerfacecolor="none",
            markeredgecolor=colour,
            markersize=7,
            alpha=0.7,
        )


def _legend(entries: list[Variant], colours: dict[str, str]) -> Iterator[Line2D]:
    for name, colour in colours.items():
        yield Line2D([], [], marker="D", linestyle="", color=colour, label=name)
    for taps in _MARKERS:
        if any(entry.row.taps == taps for entry in entries):
            yield Line2D([], [], marker=_MARKERS[taps], linestyle="", color="dimgrey", label=f"taps: {taps}")
    if any(entry.paper for entry in entries):
        yield Line2D([], [], marker="o", linestyle="", color="dimgrey", fillstyle="none", label=f"hollow: {SOURCE}")
    if any(len(entry.runs) > 1 for entry in entries):
        yield Line2D([], [], color="dimgrey", linewidth=1, label="bars: standard deviation over seeds")
