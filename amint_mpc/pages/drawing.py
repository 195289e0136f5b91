"""matplotlib figures as inline SVG whose colours are those of the page.

Charts are drawn in stand-in colours (`INK` and so on), which become CSS variables: the browser picks light or dark.
Text stays text, in the page's font. Only our own words go into a chart; names from a run stand in the page beside it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, SOFT, LINE, PAPER, MEMBERS, EXTERNAL, UNSEEN = (f"#01010{number}" for number in range(1, 8))
_VARIABLES = dict(
    zip(
        (INK, SOFT, LINE, PAPER, MEMBERS, EXTERNAL, UNSEEN),
        ("ink", "soft", "line", "paper", "members", "external", "unseen"),
        strict=True,
    )
)
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "{http://www.w3.org/1999/xlink}"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "amint-mpc",  # the same figure is the same text
    "text.parse_math": False,
    "font.size": 12.5,
    "text.color": SOFT,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.labelsize": 12.5,
    "axes.titlecolor": SOFT,
    "axes.titlesize": 12.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 1,
    "lines.linewidth": 2,
    "lines.solid_capstyle": "round",
    "xtick.color": LINE,
    "xtick.labelcolor": SOFT,
    "ytick.color": LINE,
    "ytick.labelcolor": SOFT,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
}
Draw = Callable[[Figure], None]


def svg(name: str, description: str, draw: Draw, size: tuple[float, float] = (460, 320)) -> Markup:
    """One figure.

    Args:
        name: a prefix for its ids, once a page.
        description: for those who cannot see it.
        size: width and height in CSS pixels; it shrinks with the page.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(size[0] / 72, size[1] / 72))  # matplotlib's SVG has 72 pixels an inch
        draw(figure)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(file.getvalue())  # noqa: S314 - written by matplotlib a moment ago
    return Markup(_inline(root, name, description))  # noqa: S704 - serialised by ElementTree, which escapes


def _inline(root: ElementTree.Element, name: str, description: str) -> str:
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        _own(element, name)
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib |= {"role": "img", "aria-label": description, "class": "chart"}
    ElementTree.register_namespace("", _SVG)
    text = ElementTree.tostring(root, encoding="unicode")
    for stand_in, variable in _VARIABLES.items():
        text = text.replace(stand_in, f"var(--{variable})")
    return text


def _own(element: ElementTree.Element, name: str) -> None:
    """Short numbers, ids that no other figure has, links within the page, and no font of its own."""
    for key in ("d", "x", "y", "transform"):
        if key in element.attrib:  # a hundredth of a pixel is enough
            element.set(key, re.sub(r"(\.\d\d)\d+", r"\1", " ".join(element.attrib[key].split())))
    if "id" in element.attrib:
        element.set("id", f"{name}-{element.get('id')}")
    if (link := element.attrib.pop(f"{_XLINK}href", None)) is not None:
        element.set("href", f"#{name}-{link.removeprefix('#')}")
    if (clip := element.get("clip-path")) is not None:
        element.set("clip-path", clip.replace("url(#", f"url(#{name}-"))
    if (style := element.get("style")) is not None:
        element.set("style", re.sub(r"font-family: [^;]*;? ?", "", style))


def percent_axis(axes: Axes, which: str, ticks: list[float]) -> None:
    """Ticks as percentages."""
    labels = [f"{100 * tick:g} %" for tick in ticks]
    (axes.set_xticks if which == "x" else axes.set_yticks)(ticks, labels)
