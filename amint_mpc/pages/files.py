"""Files of a run folder, which may come from another party: regular, bounded, plain data, or one clear error.

Guarantees: nothing longer than its bound is read; a link or a pipe is refused; JSON gives plain, finite values and
short texts; what does not fit ends in a `DataError`.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from amint_mpc.errors import DataError
from amint_mpc.printable import excerpt

MAX_RECORD_BYTES = 2**20  # summary.json of a thousand classes has some 20 kB
MAX_LINE_BYTES = 2**16
MAX_METRICS_BYTES = 2**28  # a million steps
_HINT = "Was the folder copied whole? Ask whoever made it for a fresh copy"


Model = TypeVar("Model", bound=BaseModel)


def read_record(path: Path, model: type[Model]) -> Model:
    """A JSON file as `model`.

    Raises:
        DataError: it is missing, too long, no JSON, or says something else.
    """
    value = _parsed(read_bytes(path, MAX_RECORD_BYTES), path)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = excerpt(".".join(str(part) for part in first["loc"]))
        damaged(path, f"{where or 'the record'}: {first['msg']}")


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines, one after another.

    Raises:
        DataError: as `read_record`, when its turn comes.
    """
    left = MAX_METRICS_BYTES
    with path.open("rb") if regular(path) else _missing(path) as file:
        while line := file.readline(MAX_LINE_BYTES + 1):
            left -= len(line)
            if len(line) > MAX_LINE_BYTES or left < 0:
                damaged(path, "it is too long")
            if not isinstance(value := _parsed(line, path), dict):
                damaged(path, "a line is not an object")
            yield value


def read_bytes(path: Path, limit: int) -> bytes:
    """A whole file.

    Raises:
        DataError: it is missing, no regular file, or longer than `limit`.
    """
    if not regular(path):
        _missing(path)
    with path.open("rb") as file:
        raw = file.read(limit + 1)
    if len(raw) > limit:
        damaged(path, f"it is longer than {limit:,} bytes")
    return raw


def regular(path: Path) -> bool:
    """Whether a regular file lies there; what a link points to does not count."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def damaged(path: Path, why: str) -> NoReturn:
    """The one complaint about a file that is not what it should be.

    Raises:
        DataError: always.
    """
    raise DataError(f"{path} is damaged: {why}", _HINT) from None


def _missing(path: Path) -> NoReturn:
    raise DataError(f"{path} is missing, or no regular file", _HINT)


def _parsed(raw: bytes, path: Path) -> Any:
    def no_number(name: str) -> NoReturn:
        raise ValueError(name)

    try:
        return json.loads(raw, parse_constant=no_number)
    except (ValueError, RecursionError):
        damaged(path, "it is no JSON")
