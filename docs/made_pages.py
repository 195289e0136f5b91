"""What two pages say is taken from the program when the site is built (a hook of mkdocs): commands and settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click

from amint_mpc.cli import main
from amint_mpc.config import Experiment, Party

BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put in what stands for the marks of a page."""
    made: dict[str, Callable[[], Iterator[str]]] = {
        "<!-- commands -->": commands,
        "<!-- experiment -->": lambda: settings(Experiment.model_json_schema()),
        "<!-- party -->": lambda: settings(Party.model_json_schema()),
    }
    for mark, make in made.items():
        if mark in markdown:
            markdown = markdown.replace(mark, "\n".join(make()))
    return markdown


def commands() -> Iterator[str]:
    """The help of each command, under its name; what a group says of itself stands before its commands."""
    top = click.Context(main, info_name="amint-mpc", max_content_width=100)
    for context in _below(top):
        level = 1 + len(context.command_path.split()[1:])
        yield f"{'#' * level} {context.command_path}\n\n```text\n{context.get_help()}\n```\n"


def _below(context: click.Context) -> Iterator[click.Context]:
    assert isinstance(context.command, click.Group)
    for name in context.command.list_commands(context):
        command = context.command.get_command(context, name)
        assert command is not None
        inner = click.Context(command, parent=context, info_name=name, max_content_width=100)
        yield inner
        if isinstance(command, click.Group):
            yield from _below(inner)


def settings(schema: Mapping[str, Any]) -> Iterator[str]:
    """A table of the keys of a model, then one for each part of it."""
    parts = {key: field["$ref"].rsplit("/", 1)[1] for key, field in schema["properties"].items() if "$ref" in field}
    yield from _table(schema, "", leave_out=parts)
    for key, name in parts.items():
        yield from (f"\n### {key}\n", schema["$defs"][name]["description"].replace("\n", " ").replace("  ", "\n\n"), "")
        yield from _table(schema["$defs"][name], f"{key}.")


def _table(schema: Mapping[str, Any], prefix: str, leave_out: Mapping[str, str] | None = None) -> Iterator[str]:
    yield from ("| key | value | default | meaning |", "|---|---|---|---|")
    for key, field in schema["properties"].items():
        if key not in (leave_out or {}):
            default = "" if field.get("default") in (None, []) else f"`{_plain(field['default'])}`"
            meaning = field.get("description", "")
            yield f"| `{prefix}{key}` | {_values(field)} | {default} | {meaning} |"


def _values(field: Mapping[str, Any]) -> str:
    """Which values a key takes."""
    kind = next((one for one in field.get("anyOf", ()) if one.get("type") != "null"), field)
    if "enum" in kind:
        return ", ".join(f"`{_plain(value)}`" for value in kind["enum"])
    if "$ref" in kind:
        return "`host`, `port`"
    names = {"integer": "whole number", "number": "number", "boolean": "`true`, `false`", "array": "list"}
    bounds = [f"{words} {kind[bound]:,}" for bound, words in BOUNDS.items() if bound in kind]
    return ", ".join([names.get(kind["type"], kind.get("format", "text")), *bounds])


def _plain(value: object) -> str:
    """A value as YAML has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
