"""The figures of a run's page."""

from __future__ import annotations

import math

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from amint_mpc.pages.drawing import EXTERNAL, INK, LINE, MEMBERS, PAPER, SOFT, UNSEEN, percent_axis, svg
from amint_mpc.pages.history import History, Points
from amint_mpc.pages.statistics import (
    EDGE,
    Scores,
    accuracy_by_threshold,
    balanced_accuracy,
    called_members,
    logit,
    reliability,
    roc,
)

BINS = 37
SEPARATES = 0.52  # balanced accuracy: below it the calibration halves are as good as alike
MAX_POINTS = 400
_LINES = {"task": (MEMBERS, "task"), "distillation": (EXTERNAL, "distillation")}
_WATCHED = {"mint_auc": (MEMBERS, "membership, AUC"), "task_accuracy": (EXTERNAL, "task accuracy")}


def histogram(scores: Scores) -> Markup:
    """Scores of the three kinds of images, apart, with the threshold."""
    kinds = (
        ("members", scores.members_report, MEMBERS),
        ("external", scores.external, EXTERNAL),
        ("unseen", scores.unseen_report, UNSEEN),
    )
    threshold = float(logit(np.array([scores.threshold]))[0])
    edges = np.linspace(-EDGE, EDGE, BINS + 1)

    def draw(figure: Figure) -> None:
        rows = figure.subplots(3, 1, sharex=True)
        for axes, (name, values, colour) in zip(rows, kinds, strict=True):
            share = np.histogram(logit(values), edges)[0] / len(values)
            axes.bar(edges[:-1], share, np.diff(edges) * 0.86, align="edge", color=colour)
            axes.axvline(threshold, color=INK, linewidth=1.2, dashes=(3, 2.5))
            axes.set_title(f"{name}, {len(values):,}", color=colour, fontweight="bold", pad=5)
            percent_axis(axes, "y", _two_ticks(float(share.max())))
            axes.tick_params(axis="x", length=0 if axes is not rows[-1] else 3.5)
        _score_axis(rows[-1])
        right = threshold < EDGE / 2
        rows[0].annotate(
            f"threshold {shown_threshold(scores.threshold)}",
            (threshold, 1),
            (6 if right else -6, 7),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="left" if right else "right",
            color=INK,
        )

    return svg("scores", "Histograms of membership scores, with the threshold.", draw, (460, 400))


def roc_curve(scores: Scores) -> Markup:
    """True- over false-positive rate, the latter in powers of ten down to one image."""
    false, true = roc(scores.members_report, scores.unseen_report)
    least = 1 / len(scores.unseen_report)
    at = np.geomspace(least, 1, MAX_POINTS)
    height = np.array([true[false <= rate + 1e-12].max() for rate in at])
    here = called_members(scores.unseen_report, scores.threshold).value
    found = called_members(scores.members_report, scores.threshold).value

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.fill_between(at, height, color=MEMBERS, alpha=0.1, step="post", linewidth=0)
        axes.plot(at, height, color=MEMBERS, drawstyle="steps-post")
        axes.plot(at, at, color=SOFT, linewidth=1.2, dashes=(1, 2.5))
        if here >= least:
            axes.plot([here], [found], "o", color=MEMBERS, markeredgecolor=PAPER, markersize=9, markeredgewidth=1.5)
            right = here < 0.3
            axes.annotate(
                "threshold",
                (here, found),
                (2 if right else -9, -12),
                textcoords="offset points",
                ha="left" if right else "right",
                va="top",
                color=INK,
            )
        for rate in (0.01, 0.001):
            if rate >= least - 1e-12:
                axes.axvline(rate, color=LINE, linewidth=1)
        powers = [10.0**-k for k in range(math.floor(-math.log10(least) + 1e-9), -1, -1)]
        axes.minorticks_off()
        percent_axis(axes, "x", powers)
        percent_axis(axes, "y", [0, 0.25, 0.5, 0.75, 1])
        axes.set(xlim=(least, 1.1), ylim=(0, 1.04), title="members found")
        axes.set_xlabel("unseen images wrongly called members", loc="right")

    return svg("roc", "ROC curve with a logarithmic axis of false positives.", draw, (460, 400))


def threshold_curve(scores: Scores) -> Markup:
    """Accuracy over the threshold, on the calibration halves."""
    at, accuracy = accuracy_by_threshold(scores)
    chosen = float(logit(np.array([scores.threshold]))[0])
    taken = balanced_accuracy(scores.members_calibration, scores.unseen_calibration, scores.threshold)
    best = max(taken, float(accuracy.max()))

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot(at, accuracy, color=MEMBERS)
        if best < SEPARATES:
            said = f"no threshold tells the two apart:\n{100 * best:.1f} % right at best, 50 % by guessing"
            box = {"facecolor": PAPER, "edgecolor": "none"}
            axes.text(0.5, 0.5, said, transform=axes.transAxes, ha="center", va="center", color=INK, bbox=box)
        axes.axvline(chosen, color=INK, linewidth=1.2, dashes=(3, 2.5))
        axes.set_title(f"chosen: {shown_threshold(scores.threshold)}", loc="right", color=INK)
        percent_axis(axes, "y", [0.5, 0.6, 0.7, 0.8, 0.9, 1])
        axes.set(ylim=(min(0.48, float(accuracy.min()) - 0.02), 1.03), title="right answers, calibration halves")
        _score_axis(axes)

    return svg("threshold", "Accuracy on the calibration halves over the threshold.", draw)


def reliability_curve(scores: Scores) -> Markup:
    """Share of members over the score."""
    bins = reliability(scores)
    # Where no dot stands on the words, which begin here and go to the left.
    places = (0.5, 0.75, 0.4, 0.9)
    free = max(places, key=lambda x: min(math.hypot(each.score - x + 0.14, each.members - x - 0.03) for each in bins))

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1.2, dashes=(1, 2.5))
        axes.annotate("as the score says", (free, free), (-6, 4), textcoords="offset points", ha="right", fontsize=11.5)
        axes.plot([each.score for each in bins], [each.members for each in bins], color=UNSEEN, linewidth=1.2)
        axes.scatter(
            [each.score for each in bins],
            [each.members for each in bins],
            [20 + 500 * each.weight for each in bins],
            color=UNSEEN,
            edgecolors=PAPER,
            linewidths=1.5,
            zorder=3,
            clip_on=False,
        )
        percent_axis(axes, "y", [0, 0.25, 0.5, 0.75, 1])
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
        axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.06), title="are members, report halves")
        axes.set_xlabel("membership score", loc="right")

    return svg("reliability", "Share of members among images, over their score.", draw)


def losses(history: History) -> Markup | None:
    """Losses by epoch, on a logarithmic axis; None where this party has none."""
    known = {name: positive for name in _LINES if (positive := _thinned(history.losses.get(name, []), above=0.0))}
    if not known:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for name, points in known.items():
            axes.plot(*zip(*points, strict=True), color=_LINES[name][0])
        axes.set_yscale("log")
        axes.minorticks_off()
        values = [value for points in known.values() for _, value in points]
        low, high = min(values) / 1.7, max(values) * 1.7
        ticks = _powers(low, high)
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set(ylim=(low, high), title="cross-entropy, mean of an epoch")
        _name_lines(axes, [(*_LINES[name], points) for name, points in known.items()])
        _epoch_axis(axes, history)

    return svg("losses", "Losses over the epochs.", draw)


def watched(history: History) -> Markup | None:
    """Membership on calibration images, and the task on unseen ones, by epoch; None where nothing was watched."""
    known = {name: points for name in _WATCHED if len(points := _thinned(history.figures.get(name, []))) > 1}
    if not known:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for name, points in known.items():
            at, values = zip(*points, strict=True)
            axes.plot(at, values, "o-", color=_WATCHED[name][0], markersize=5, markeredgecolor=PAPER)
        lowest = min(value for points in known.values() for _, value in points)
        bottom = min(0.5, math.floor(10 * lowest) / 10)
        percent_axis(axes, "y", [tick / 10 for tick in range(round(10 * bottom), 11, 1 if bottom > 0.35 else 2)])
        axes.set(ylim=(bottom - 0.02, 1.03), title="calibration halves")
        _name_lines(axes, [(*_WATCHED[name], points) for name, points in known.items()])
        _epoch_axis(axes, history)

    return svg("watched", "Membership and task accuracy on calibration images over the epochs.", draw)


def shown_threshold(value: float) -> str:
    """With as many digits as tell it from 0 and 1."""
    away = min(value, 1 - value)
    digits = 3 if away <= 0 or away >= 0.01 else min(6, 1 - math.floor(math.log10(away)))
    return f"{value:.{digits}f}"


def _score_axis(axes: Axes) -> None:
    shares = (0.0001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.9999)
    axes.set_xticks([math.log(share / (1 - share)) for share in shares], [f"{share:g}" for share in shares])
    axes.set_xlim(-EDGE * 1.04, EDGE * 1.04)
    axes.set_xlabel("membership score", loc="right")


def _epoch_axis(axes: Axes, history: History) -> None:
    """From the first epoch to the last, the same for all figures; the warm-up stands on grey."""
    last = max(points[-1][0] for points in (*history.losses.values(), *history.figures.values()))
    axes.set_xlim(0.5, last + 0.5)
    axes.set_xlabel("epoch", loc="right")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if history.warmup:
        axes.axvspan(0.5, history.warmup + 0.5, color=LINE, alpha=0.4, linewidth=0, zorder=0)


def _name_lines(axes: Axes, lines: list[tuple[str, str, Points]]) -> None:
    """Each line's name (colour, name, points) by its end: where it does not run, nor another ends."""
    place = axes.transScale + axes.transLimits
    heights = [float(place.transform(points[-1])[1]) for _, _, points in lines]
    for (colour, name, points), height in zip(lines, heights, strict=True):
        falls = points[-1][1] < points[-min(3, len(points))][1]
        gaps = [other - height for other in heights if other != height]
        under = any(0 < gap < 0.14 for gap in gaps) or (falls and not any(-0.14 < gap < 0 for gap in gaps))
        axes.annotate(
            name,
            points[-1],
            (0, -9 if under else 8),
            textcoords="offset points",
            ha="right",
            va="top" if under else "bottom",
            color=colour,
            fontweight="bold",
        )


def _powers(low: float, high: float) -> list[float]:
    """Powers of ten between two values; where there is hardly one, two and five times them as well."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for factors in ((1,), (1, 2, 5)):
        ticks = [tick for k in exponents for factor in factors if low <= (tick := factor * 10.0**k) <= high]
        if len(ticks) > 1:
            break
    return ticks


def _two_ticks(most: float) -> list[float]:
    """Zero and a round share near the highest bar."""
    step = next((s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if s >= most / 1.6), 1.0)
    return [0, step]


def _thinned(points: Points, above: float = -math.inf) -> Points:
    """At most `MAX_POINTS`, the last one always among them."""
    kept = [point for point in points if point[1] > above]
    step = max(1, math.ceil(len(kept) / MAX_POINTS))
    return kept[::-1][::step][::-1]
