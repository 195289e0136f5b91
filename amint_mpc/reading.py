"""Reading a YAML file that may be wrong: bounded, plain data only, and every complaint says what to do.

Guarantees: only mappings with text keys, lists, text, numbers, booleans and null come out; explicit tags, anchors,
aliases, and a key given twice are refused; nothing longer than `MAX_BYTES` or deeper than `MAX_DEPTH` is read; any
malformed input ends in a `UsageError`.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from amint_mpc.errors import UsageError
from amint_mpc.printable import MAX_SHOWN, excerpt, shown

MAX_BYTES = 64 * 1024  # our longest file has 4 kB
MAX_DEPTH = 16  # of mappings and lists in one another
MAX_NUMBER = 40  # characters
MAX_COMPLAINTS = 5
MAX_SENTENCE = 300  # characters of a complaint of ours, which may repeat what was written
CLOSE = 0.7  # of difflib: how like a known key a wrong one must be
_PLAIN = {f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float", "null")}
_TEXT = "tag:yaml.org,2002:str"
# In quotes YAML writes any character as an escape. None of these belongs into a name, a path or an address.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader for plain data. Dates, merge keys (`<<`) and whatever else YAML 1.1 reads into a word stay text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) is not None:
            _refuse("anchors and aliases are not allowed", event)
        if getattr(event, "tag", None) is not None:
            _refuse("tags are not allowed", event)
        if self._depth > MAX_DEPTH:
            _refuse(f"this is nested more than {MAX_DEPTH} deep", event)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != _TEXT:
                _refuse(f"the key {shown(key.value) if isinstance(key, yaml.ScalarNode) else ''} is not text", key)
            if key.value in seen:
                _refuse(f"the key {shown(key.value)} stands twice", key)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        if node.tag in _PLAIN and len(node.value) > MAX_NUMBER:
            _refuse("this number is too long", node)
        if _CONTROL.search(node.value):
            _refuse(f"{shown(node.value)} has a control character", node)
        return super().construct_scalar(node)


_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in _PLAIN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _refuse(problem: str, at: Any) -> NoReturn:
    raise yaml.constructor.ConstructorError(None, None, problem, at.start_mark)


def parse(text: str, source: str) -> Any:
    """Plain data from YAML text.

    Raises:
        UsageError: the text is not YAML, or holds what we refuse; names the line where there is one.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a subclass of SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(
            f"{source}{line}: {error.problem or 'this is not YAML'}",
            "A file is `key: value` lines; nested keys are indented by two spaces",
        ) from None
    except (yaml.YAMLError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise UsageError(
            f"{source}: this is not YAML as it is read here ({type(error).__name__})", "See configs/ for examples"
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
    key = excerpt(".".join(str(part) for part in detail["loc"]))
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return f"{key} is not a known key"
    if kind == "missing":
        return f"{key} is missing"
    if kind == "value_error":  # ours: a check over several keys
        said = excerpt(str(context["error"]), MAX_SENTENCE)
        return f"{key}: {said}" if key else said
    if kind in ("model_type", "model_attributes_type"):
        return f"{key}: {shown(detail['input'])} should be keys of its own, as `{key}.something: value`"
    if kind == "literal_error":
        return f"{key}: {shown(detail['input'])} is none of {str(context['expected']).replace(chr(39), '')}"
    reason = detail["msg"].removeprefix("Input should be ")
    return f"{key}: {shown(detail['input'])} should be {reason}"


def _suggest(detail: ErrorDetails, model: type[BaseModel]) -> str:
    """What the user may have meant: the closest key at each level, or else of the whole tree."""
    known = list(keys_of(model))
    if close := _closest(detail, model) or _elsewhere(detail, known):
        return "Did you mean " + " or ".join(close) + "?"
    parent = ".".join(str(part) for part in detail["loc"][:-1])
    beside = [name for name in known if name.startswith(parent + ".")] if parent else []
    return "Known keys: " + ", ".join(beside or sorted({name.partition(".")[0] for name in known}))


def _closest(detail: ErrorDetails, model: type[BaseModel]) -> list[str]:
    """The key with each part replaced by the closest name at its level; what stands under it is looked at, too."""
    parts, under = [str(part) for part in detail["loc"]], detail["input"]
    least = len(parts)
    while isinstance(under, dict) and under:
        first, under = next(iter(under.items()))
        parts.append(str(first))
    found: list[str] = []
    annotation: Any = model
    for part in parts:
        inner = _model_in(annotation)
        if inner is None:
            annotation = _element(annotation)
            if annotation is None:
                break
            found.append(part)
            continue
        near = difflib.get_close_matches(part[:MAX_SHOWN], inner.model_fields, n=1, cutoff=CLOSE)
        if not near:
            break
        found.append(near[0])
        annotation = inner.model_fields[near[0]].annotation
    return [".".join(found)] if len(found) >= least else []


def _elsewhere(detail: ErrorDetails, known: list[str]) -> list[str]:
    """Keys of the whole tree that are like this one, or whose last part is."""
    key = ".".join(str(part) for part in detail["loc"])[:MAX_SHOWN]
    last = key.rpartition(".")[2]
    ends = [name.rpartition(".")[2] for name in known]
    if last not in ends:
        if near := difflib.get_close_matches(key, known, n=1, cutoff=CLOSE):
            return near
        last = next(iter(difflib.get_close_matches(last, ends, n=1, cutoff=CLOSE)), last)
    return [name for name, end in zip(known, ends, strict=True) if end == last]


def _element(annotation: Any) -> Any:
    """What a list, tuple or mapping holds; None for anything else."""
    held = typing.get_args(annotation)
    if typing.get_origin(annotation) in (list, tuple):
        return held[0]
    return held[1] if typing.get_origin(annotation) is dict else None
