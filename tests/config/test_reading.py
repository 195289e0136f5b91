"""Whatever a YAML file holds: plain data, or one error that says what is wrong."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from amint_mpc.config import Experiment, load_experiment, load_party
from amint_mpc.errors import UsageError
from amint_mpc.reading import MAX_DEPTH, MAX_NUMBER, parse, read_mapping
from amint_mpc.study.plan import load_study

VALUES = [
    *("!!int ''", "!!float ''", "!!float x", "!!bool maybe", "!!null x", "!!timestamp x", "!!timestamp 2001-01-01"),
    *("!!binary YWJj", "!!binary '*'", "!!str 1", "! 1", "!local x", "!<tag:yaml.org,2002:int> x", "!!set {a}"),
    *("!!omap [a: 1]", "!!pairs [a: 1]", "!!map [1]", "!!seq {a: 1}", "!!python/object/apply:os.system [ls]"),
    *("0x" + "f" * 4000, "9" * 5000, "-" + "9" * 5000, "1" * 41 + ".5", "0b" + "1" * 5000, "0" * 5000),
    *("1:" * 2000 + "1", "1e999", "-.inf", ".nan", "1_0", "0o17", "190:20:30", "2001-01-01", "2001-99-99"),
    *("=", "<<", "~", "yes", "''", "?", ":", "-", "#", ", ,", "'", "|", ">", "@", "`", "%", "[" * 9, "]" * 9),
    *("[" * 20 + "]" * 20, "[" * 20_000, "{a: " * 200, "- " * 3000 + "x", "? " * 3000 + "x"),
    *("&a 1", "*a", "&a [*a]", "{<<: {seed: 1}, seed: 2}", "{<<: x}", "{<<: [{a: 1}]}", "{=: 1}"),
    *("{a: 1, a: 2}", "{a: 1, 'a': 2}", "{1: 1, 1: 2}", "{[]: 1}", "{{}: 1}", "{? [a] : 1}", "{~: 1}", "{2.5: 1}"),
    *('"\\0"', '"\\e[2J"', '"\\x9b1m"', '"\\uD800"', '"\\uDC00\\uD800"', '"\\N{x}"', '"\\"', '"\\x1"'),
    *("---", "--- 1\n--- 2", "...", "%YAML 9.9\n---\n1", "%TAG ! x\n---\n1", "\t- a", "a: b: c", "- a\nb"),
    *("\ufeff1", "1\ufeff", "\u2028", "\x85", "\x00", "\x1b", "\U0001f600", "\ud800", "\uffff"),
    *(2000 * "a: 1\n", "a" * 60_000, "? " + "a" * 2000 + "\n: 1", '"' + "a\\\n" * 3000 + '"'),
]
PLAIN = (str, int, float, bool, type(None))


def plain(value: Any, depth: int = 0) -> bool:
    if isinstance(value, list):
        return depth <= MAX_DEPTH and all(plain(each, depth + 1) for each in value)
    if isinstance(value, dict):
        keys = all(type(key) is str for key in value)
        return keys and depth <= MAX_DEPTH and all(plain(each, depth + 1) for each in value.values())
    if isinstance(value, str):
        return all(c.isprintable() or c in "\n\t" or c.isspace() or ord(c) > 0xA0 for c in value)
    return type(value) in PLAIN and (not isinstance(value, int) or abs(value) < 10 ** (2 * MAX_NUMBER))


def outcome(read: Callable[..., Any], *arguments: Any) -> Any:
    """What was read, or the error that refused it. Anything else that is raised fails the test."""
    try:
        return read(*arguments)
    except UsageError as error:
        return error


def check(text: str) -> None:
    found = outcome(parse, text, "file.yaml")
    if not isinstance(found, UsageError):
        assert plain(found), found
        return
    assert found.message.startswith("file.yaml")
    assert found.message.replace("\n", "").isprintable()
    assert len(found.message) < 400


def readers() -> Iterator[Callable[[Path], Any]]:
    yield from (read_mapping, load_experiment)
    yield lambda path: load_party(path, "auditor")
    yield lambda path: load_study(str(path))


@pytest.mark.parametrize("value", VALUES, ids=lambda value: ascii(value)[:40])
def test_a_nasty_value_is_plain_data_or_refused(value: str, tmp_path: Path) -> None:
    for text in (value, f"seed: {value}", f"data: {{dataset: {value}}}", f"name: x\n{value}: 1\n", f"- {value}"):
        check(text)
    for setting in (f"seed={value}", f"name={value}", f"data={value}", f"training.epochs={value}", f"{value}=1"):
        found = outcome(load_experiment, "smoke", [setting])
        assert isinstance(found, Experiment) or len(found.message) < 1000
    path = tmp_path / "file.yaml"
    for text in (value, *(f"{key}: {value}\n" for key in ("seed", "name", "keys", "listen")), f"{value}: 1\n"):
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        for read in readers():
            found = outcome(read, path)
            assert not isinstance(found, UsageError) or str(path) in found.message


@pytest.mark.parametrize("seed", range(5))
def test_any_text_is_plain_data_or_refused(seed: int) -> None:
    draw = random.Random(seed)
    words = [
        "!!int",
        "!!binary ",
        "&a ",
        "*a",
        "<<: ",
        "? ",
        ": ",
        "- ",
        "a",
        "1",
        ".5",
        "\n",
        "\n  ",
        "'",
        '"',
        "[",
        "]",
    ]
    words += ["{", "}", ",", "|", ">", "#", "%", "---", "\\", "\t", "\ufeff", "\x85", "0x", "e9", "true", "~", "=", "@"]
    for _ in range(400):
        check("".join(draw.choices(words, k=draw.randrange(1, 30))))
        check("".join(draw.choices(string.printable, k=draw.randrange(1, 30))))


@pytest.mark.parametrize("text", ["!!int '1'", "!!str a", "! a", "[!!float 1]", "{a: !!null x}", "{!!str a: 1}"])
def test_a_tag_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"file.yaml, line 1: tags are not allowed"):
        parse(text, "file.yaml")


def test_what_is_no_number_or_truth_value_stays_text() -> None:
    assert parse("[2001-01-01, 12:30:45.5x, <<, '=', '1', abc, '']", "f") == [
        *("2001-01-01", "12:30:45.5x", "<<", "=", "1", "abc", "")
    ]
    assert parse("[1, -2, 0x10, 1.5, .inf, true, null, ~, ]", "f") == [1, -2, 16, 1.5, float("inf"), True, None, None]
    assert parse("{<<: {a: 1}}", "f") == {"<<": {"a": 1}}


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_bytes(b"\xef\xbb\xbfseed: 3\r\nname: x\r\n")
    assert read_mapping(path) == {"seed": 3, "name": "x"}


def test_what_we_write_is_read_again() -> None:
    values = load_experiment("quickstart").model_dump(mode="json")
    assert parse(yaml.safe_dump(values), "f") == values
    assert parse(yaml.safe_dump({"a": ["yes", "1", "0x1", "<<", "=", "2001-01-01", "1.5", "~", "a: b"]}), "f") == {
        "a": ["yes", "1", "0x1", "<<", "=", "2001-01-01", "1.5", "~", "a: b"]
    }


def test_nesting_is_counted() -> None:
    def nested(depth: int) -> str:
        return "[" * depth + "]" * depth

    assert parse(nested(MAX_DEPTH), "f") is not None
    with pytest.raises(UsageError, match="nested more than"):
        parse(nested(MAX_DEPTH + 2), "f")
