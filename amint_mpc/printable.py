"""Text that came from a file or a peer, made fit for a screen, a log or a page.

A terminal obeys control characters, and marks of direction make a line read as something else. Every character that
is not shown as itself becomes an escape of printable ASCII, as Python writes it: `\\x1b`, `\\u202e`. What is printed
goes through `printable` at the one place where it is printed (`amint_mpc.cli.terminal`, `amint_mpc.errors`,
`amint_mpc.eventlines`), whether or not whoever made the message thought of it.

Source: Boucher and Anderson, "Trojan Source" (2021), for the marks of direction.
"""

from __future__ import annotations

import json
import unicodedata
from typing import Final

MAX_SHOWN: Final = 60
"""Characters of a wrong value that a message repeats."""
_BLANK: Final = frozenset("\u115f\u1160\u3164\uffa0")  # letters, says Unicode, that show nothing


def printable(text: str) -> str:
    """`text` with all but line breaks and visible characters escaped. Doing it twice changes nothing."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c == "\n" or _visible(c) else _escape(c) for c in text)


def printable_json(text: str) -> str:
    """The same for JSON on one line: its own escapes, so that it says what it said."""
    if text.isprintable():
        return text
    return "".join(c if _visible(c) else json.dumps(c)[1:-1] for c in text)


def excerpt(text: str, length: int = MAX_SHOWN) -> str:
    """`text` on one line, of at most `length` characters."""
    text = printable(text[: length + 1]).replace("\n", "\\n")
    return text if len(text) <= length else text[: length - 3] + "..."


def shown(value: object, length: int = MAX_SHOWN) -> str:
    """A value for a message: on one line, short, and text in quotes."""
    if isinstance(value, str):
        return excerpt(f'"{value}"', length)
    try:
        return excerpt(repr(value), length)
    except (ValueError, RecursionError):  # a number of thousands of digits; lists within lists
        return f"a very long {type(value).__name__}"


def _visible(c: str) -> bool:
    return (c.isprintable() and c not in _BLANK) or unicodedata.category(c) == "Zs"


def _escape(c: str) -> str:
    return c.encode("unicode_escape").decode("ascii")
