"""What stands in the figures of a page where there is little to see."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from amint_mpc.pages import charts, drawing
from amint_mpc.pages.statistics import Scores

RANDOM = np.random.default_rng(1)


def scores(members: Any, unseen: Any, threshold: float = 0.5) -> Scores:
    """Args: members, unseen: a score of all, or mean and spread."""

    def drawn(kind: Any, count: int) -> Any:
        return np.clip(RANDOM.normal(*kind, count), 0, 1) if isinstance(kind, tuple) else np.full(count, kind)

    sets = (drawn(kind, 200) for kind in (members, members, unseen, unseen, unseen))
    return Scores(threshold, *sets)


ALIKE = [scores(0.5, 0.5), scores(1.0, 1.0, 1.0), scores((0.5, 1e-3), (0.5, 1e-3), 0.9)]
APART = [scores((0.6, 0.1), (0.4, 0.1)), scores(1.0, 0.0), scores(0.5001, 0.4999)]


@pytest.mark.parametrize("found", ALIKE)
def test_a_flat_curve_says_that_nothing_separates(found: Scores) -> None:
    assert "no threshold tells the two apart" in charts.threshold_curve(found)


@pytest.mark.parametrize("found", APART)
def test_a_curve_with_a_peak_says_nothing_of_the_kind(found: Scores) -> None:
    assert "tells the two apart" not in charts.threshold_curve(found)


@pytest.mark.parametrize("found", [*ALIKE, *APART])
def test_no_dot_covers_its_words(found: Scores, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []

    def keep(name: str, description: str, draw: drawing.Draw, size: tuple[float, float] = (460, 320)) -> None:
        with mpl.rc_context(drawing._STYLE):
            figure = Figure(figsize=(size[0] / 72, size[1] / 72))
            draw(figure)
            FigureCanvasAgg(figure).draw()
            drawn.append(figure)

    monkeypatch.setattr(charts, "svg", keep)
    charts.reliability_curve(found)
    (axes,) = drawn[0].axes
    (words,) = (each for each in axes.texts if isinstance(each, Annotation))
    box = words.get_window_extent()
    dots = axes.collections[0]
    for (x, y), area in zip(axes.transData.transform(dots.get_offsets()), dots.get_sizes(), strict=True):
        radius = np.sqrt(area / np.pi) * drawn[0].dpi / 72
        away = np.hypot(max(box.x0 - x, 0, x - box.x1), max(box.y0 - y, 0, y - box.y1))
        assert away > radius
