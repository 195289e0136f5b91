"""The figures of a study's page: for each backbone, membership against the task by tap."""

from __future__ import annotations

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amint_mpc.pages.drawing import EXTERNAL, LINE, MEMBERS, PAPER, UNSEEN, svg
from amint_mpc.pages.study import TAPS, Section, Spread, Variant
from amint_mpc.results import AT_HALF, CALIBRATED

_MARKERS = dict(zip(TAPS, "os^", strict=True))
_COLOURS = {CALIBRATED: MEMBERS, AT_HALF: EXTERNAL}
Limits = tuple[tuple[float, float], tuple[float, float]]


def multiples(section: Section, prefix: str) -> list[tuple[str, Markup]]:
    """(backbone, figure) for each backbone, all with the same axes; empty where there is no head."""
    shown = [each for each in section.variants if CALIBRATED in each.measures and "task_accuracy" in each.measures]
    limits = _limits(shown) if shown else ((0.0, 1.0), (0.0, 1.0))
    names = dict.fromkeys(each.row.backbone for each in shown)
    return [
        (name, _one([each for each in shown if each.row.backbone == name], f"{prefix}-{number}", limits))
        for number, name in enumerate(names)
    ]


def _one(variants: list[Variant], name: str, limits: Limits) -> Markup:
    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for each in variants:
            _points(axes, each)
        axes.set(xlim=limits[0], ylim=limits[1])
        axes.grid(True, axis="both")
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(axis="x", length=0)
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}")
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}")
        axes.locator_params(nbins=5)

    return svg(name, "Right answers of the audit against accuracy of the task, by tap.", draw, (320, 260))


def _points(axes: Axes, variant: Variant) -> None:
    measures, marker = variant.measures, _MARKERS.get(variant.row.taps, "D")
    task = measures["task_accuracy"]
    known = [(key, measures[key]) for key in reversed(_COLOURS) if key in measures]
    axes.plot([task.mean] * len(known), [found.mean for _, found in known], color=LINE, linewidth=1.5, zorder=1)
    for key, mint in known:
        axes.errorbar(
            *(task.mean, mint.mean, mint.deviation, task.deviation),
            fmt=marker,
            color=_COLOURS[key],
            markersize=8 if key == CALIBRATED else 6,
            markeredgecolor=PAPER,
            elinewidth=1,
        )
    if variant.row.taps:
        axes.annotate(
            variant.row.taps if variant.row.taps in TAPS else "",
            (task.mean, measures[CALIBRATED].mean),
            (7, 6),
            textcoords="offset points",
            fontsize=11.5,
        )
    paper = variant.paper
    if paper is not None and paper.mint_accuracy_at_half is not None and paper.task_accuracy is not None:
        axes.plot(
            *(paper.task_accuracy, paper.mint_accuracy_at_half),
            marker,
            markerfacecolor="none",
            markeredgecolor=UNSEEN,
            markersize=7,
            markeredgewidth=1.5,
        )


def _limits(variants: list[Variant]) -> Limits:
    """Of all panels alike, with room for what stands beside a point."""
    task: list[float] = []
    mint: list[float] = []
    for each in variants:
        task += _ends(each.measures["task_accuracy"])
        for key in _COLOURS:
            if key in each.measures:
                mint += _ends(each.measures[key])
        if each.paper is not None:
            task += [] if each.paper.task_accuracy is None else [each.paper.task_accuracy]
            mint += [] if each.paper.mint_accuracy_at_half is None else [each.paper.mint_accuracy_at_half]
    return _wide(task), _wide(mint)


def _ends(spread: Spread) -> list[float]:
    off = spread.deviation or 0.0
    return [spread.mean - off, spread.mean + off]


def _wide(values: list[float]) -> tuple[float, float]:
    room = max(0.02, 0.12 * (max(values) - min(values)))
    return min(values) - room, max(values) + 1.6 * room
