"""The one place where text reaches the terminal. Files, peers and other processes have their say in it: it is escaped.

What is printed is plain text: nothing of it is read as rich's markup, and whatever a terminal would obey is shown as an
escape (`amint_mpc.printable`). Colours are ours, given as styles.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from amint_mpc.printable import printable


def echo(text: str = "", *, err: bool = False, label: str = "") -> None:
    """A line on stdout, or on stderr. Args: label: stands before it, and is ours: it may have colours."""
    click.echo(label + printable(text), err=err)


def console(as_json: bool = False) -> Console:
    """Progress and results go to stdout, or to stderr when stdout is for a program."""
    return PlainConsole(stderr=as_json)


class PlainConsole(Console):
    """A console that shows text as it is, whatever it holds."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Escaped before its width is measured; texts in tables come this way, too."""
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Everything else: only segments that rich marks as control codes stay what they are."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))
