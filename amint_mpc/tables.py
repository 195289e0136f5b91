"""Small HTML tables, as notebooks show a result (`_repr_html_`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape


def table(header: Sequence[str], rows: Iterable[Sequence[object]], notes: Sequence[str] = ()) -> str:
    """Header and rows, with a paragraph below for each note. All text is escaped; floats have four decimals."""
    head = "".join(f"<th>{escape(title)}</th>" for title in header)
    body = "".join(f"<tr>{''.join(f'<td>{_shown(cell)}</td>' for cell in row)}</tr>" for row in rows)
    below = "".join(f"<p>{escape(note)}</p>" for note in notes if note)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"


def figures(found: Mapping[str, Mapping[str, float]], notes: Sequence[str] = ()) -> str:
    """A row for each figure of a summary: value and 95 % interval."""
    rows = [(name, figure["value"], figure["low"], figure["high"]) for name, figure in found.items()]
    return table(("figure", "value", "95 % from", "to"), rows, notes)


def _shown(cell: object) -> str:
    return f"{cell:.4f}" if isinstance(cell, float) else escape(str(cell))
