"""Reading a YAML file that may be wrong: bounded, plain data only, and every complaint says what to do.

Guarantees: only mappings, lists and scalars come out (`yaml.SafeLoader`); a key given twice, an anchor or an
alias is refused; nothing longer than `MAX_BYTES` is read; any malformed input ends in a `UsageError`.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from amint_mpc.errors import UsageError
from amint_mpc.printable import MAX_SHOWN, shown

MAX_BYTES = 64 * 1024  # our longest file has 4 kB
MAX_COMPLAINTS = 5


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses duplicate keys and aliases (YAML 1.2 forbids the first; few need the second)."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) is not None:
            raise yaml.constructor.ConstructorError(None, None, "anchors and aliases are not allowed", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {shown(key.value)} stands twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse(text: str, source: str) -> Any:
    """Plain data from YAML text.

    Raises:
        UsageError: the text is no YAML, or holds what we refuse; names the line where there is one.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a subclass of SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(
            f"{source}{line}: {error.problem or 'this is no YAML'}",
            "A file is `key: value` lines; nested keys are indented by two spaces",
        ) from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise UsageError(
            f"{source}: this is no YAML we read ({type(error).__name__})", "See configs/ for examples"
        ) from None


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises:
        UsageError: the file cannot be read, is too long, or holds no mapping with text keys.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}", "Check the path") from None
    if len(raw) > MAX_BYTES:
        raise UsageError(f"{path} is longer than {MAX_BYTES} bytes", "Is this the right file?")
    try:
        value = parse(raw.decode("utf-8"), str(path))
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text", "Is this the right file?") from None
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UsageError(f"{path} holds no `key: value` lines", "See configs/ for examples")
    return value


def put(values: dict[str, Any], assignment: str) -> None:
    """Apply one `a.b=value` to nested mappings, in place. The value is read as YAML (`1e-3` is a number too)."""
    key, equals, text = assignment.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise UsageError(f"--set {shown(assignment)} is not KEY=VALUE", "For example --set training.epochs=10")
    place(values, key.strip(), parse(text, f"--set {shown(assignment)}"), f"--set {shown(assignment)}")


def place(values: dict[str, Any], key: str, value: Any, source: str) -> None:
    """Put a value at a dotted key of nested mappings, in place.

    Raises:
        UsageError: the key leads through a value; `source` says where it was asked for.
    """
    *folders, last = key.split(".")
    for part in folders:
        inner = values.setdefault(part, {})
        if not isinstance(inner, dict):
            raise UsageError(f"{source}: {part} holds a value, not keys", "For example --set seed=2")
        values = inner
    values[last] = value


def keys_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every dotted key that has a value, in the order of the models."""
    for name, field in model.model_fields.items():
        inner = _model_in(field.annotation)
        if inner is None:
            yield prefix + name
        else:
            yield from keys_of(inner, f"{prefix}{name}.")


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return next(filter(None, map(_model_in, typing.get_args(annotation))), None)
    return None


def complain(error: ValidationError, model: type[BaseModel], source: str) -> UsageError:
    """The one error that a user sees for settings that do not fit `model`: each key, its value, what is allowed."""
    text, hint = sentences(error, model)
    return UsageError(f"{source}: {text}", hint)


def sentences(error: ValidationError, model: type[BaseModel]) -> tuple[str, str]:
    """What is wrong with settings that do not fit `model`, a line each, and a hint."""
    details = error.errors(include_url=False, include_context=True)
    lines = [_sentence(detail) for detail in details[:MAX_COMPLAINTS]]
    if len(details) > MAX_COMPLAINTS:
        lines.append(f"and {len(details) - MAX_COMPLAINTS} more")
    hints = [_suggest(detail, model) for detail in details if detail["type"] == "extra_forbidden"]
    hint = hints[0] if hints else "Run amint-mpc config show, which prints every key with its value"
    return "\n".join(lines), hint


def _sentence(detail: ErrorDetails) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return f"{shown(key)[1:-1]} is no key"
    if kind == "missing":
        return f"{key} is missing"
    if kind == "value_error":  # ours: a check over several keys
        return f"{key}: {context['error']}" if key else str(context["error"])
    if kind in ("model_type", "model_attributes_type"):
        return f"{key}: {shown(detail['input'])} should be keys of its own, as `{key}.something: value`"
    if kind == "literal_error":
        return f"{key}: {shown(detail['input'])} is none of {str(context['expected']).replace(chr(39), '')}"
    reason = detail["msg"].removeprefix("Input should be ")
    return f"{key}: {shown(detail['input'])} should be {reason}"


def _suggest(detail: ErrorDetails, model: type[BaseModel]) -> str:
    """What the user may have meant: the closest key of the whole tree, or one with the same last part."""
    key = ".".join(str(part) for part in detail["loc"])[:MAX_SHOWN]
    known = list(keys_of(model))
    last = key.rpartition(".")[2]
    same = [name for name in known if name.rpartition(".")[2] == last]
    close = same or difflib.get_close_matches(key, known, n=1, cutoff=0.7)
    if not close:
        ends = difflib.get_close_matches(last, [name.rpartition(".")[2] for name in known], n=1, cutoff=0.7)
        close = [name for name in known if ends and name.rpartition(".")[2] == ends[0]]
    if close:
        return "did you mean " + " or ".join(close) + "?"
    parent = key.rpartition(".")[0]
    beside = [name for name in known if name.startswith(parent + ".")] if parent else []
    return "known keys: " + ", ".join(beside or sorted({name.partition(".")[0] for name in known}))
