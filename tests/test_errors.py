"""What every message of an error has in common."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import amint_mpc
from amint_mpc import errors

PACKAGE = Path(amint_mpc.__file__).parent
ERRORS = {name for name, found in vars(errors).items() if isinstance(found, type) and issubclass(found, Exception)}


def _starts(node: ast.expr | None) -> Iterator[str]:
    """The first characters of the texts that an argument may be, where it is written out."""
    if isinstance(node, ast.IfExp):
        yield from _starts(node.body)
        yield from _starts(node.orelse)
    elif isinstance(node, ast.BinOp):
        yield from _starts(node.left)
    elif isinstance(node, ast.JoinedStr) and node.values:
        yield from _starts(node.values[0])
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
        yield node.value


def _hints(file: Path) -> Iterator[tuple[int, str]]:
    for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ERRORS:
            hint = next((each.value for each in call.keywords if each.arg == "hint"), None)
            for text in _starts(call.args[1] if len(call.args) > 1 else hint):
                yield call.lineno, text


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_hint_starts_with_a_capital_letter(file: Path) -> None:
    wrong = [f"line {line}: {text}" for line, text in _hints(file) if not text[0].isupper()]
    assert not wrong


def test_the_search_finds_hints() -> None:
    assert sum(len(list(_hints(file))) for file in PACKAGE.rglob("*.py")) > 150
