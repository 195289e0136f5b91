"""Text from elsewhere, made fit to be printed."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest

from amint_mpc.errors import AmintError
from amint_mpc.eventlines import json_line
from amint_mpc.printable import excerpt, printable, printable_json, shown

EVERY = [chr(number) for number in range(sys.maxunicode + 1)]
INVISIBLE = [c for c in EVERY if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


def test_no_character_that_a_terminal_obeys_is_left() -> None:
    assert {"\x1b", "\x9b", "\x07", "\r", "\b", "\u202e", "\u2066", "\u200f", "\u2028", "\ud800"} < {*INVISIBLE}
    for text in ("".join(INVISIBLE).replace("\n", ""), json_line(INVISIBLE)):
        assert printable(text).isascii()
        assert printable(text).isprintable()


def test_what_is_seen_stays_as_it_is() -> None:
    for text in ("plain", "naïve Größe", "日本\u3000語", "5\u00a0%", "two\nlines", r"C:\folder", "🙂"):
        assert printable(text) == text


def test_escapes_name_the_character_and_are_not_escaped_again() -> None:
    assert printable("\x1b[2J\u202e\U000e0001\ud800") == r"\x1b[2J\u202e\U000e0001\ud800"
    assert printable(printable("\x1b")) == r"\x1b"


@pytest.mark.parametrize("value", [INVISIBLE, {"\x1b]0;\x07": "\u202e"}, "\U000e0001", "日本"])
def test_json_says_the_same_and_is_printable(value: object) -> None:
    line = json_line(value)
    assert json.loads(line) == value
    assert all(c.isprintable() for c in line)
    assert printable_json(line) == line


def test_an_excerpt_is_one_short_line() -> None:
    assert excerpt("a\nb") == r"a\nb"
    assert excerpt("x" * 100, 10) == "xxxxxxx..."
    assert len(excerpt("\x1b" * 100, 40)) == 40


def test_any_value_can_be_shown() -> None:
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    assert shown("\x1b") == r'"\x1b"'
    assert shown(2**64) == "18446744073709551616"
    assert shown(10**5000) == "a very long int"
    assert len(shown(nested)) <= 60
    assert len(shown("x" * 10**6)) == 60


def test_every_error_can_be_printed() -> None:
    error = AmintError("said \x1b[2J\u202e", "Then \x9b1m\nsecond line")
    assert (error.message, str(error)) == (r"said \x1b[2J\u202e",) * 2
    assert error.hint == "Then \\x9b1m\nsecond line"
