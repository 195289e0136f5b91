"""Docstrings of this project are laid out for a terminal; the site needs Markdown (an extension of griffe).

Sections that griffe knows ("Args:", "Raises:") stay as they are. In the text before them, block by block:

    "Guarantees" over an indented block     a title over a list, an item for each sentence that ends a line
    numbered steps, indented or not         a list; a word set apart in front of a step is its title
    files in two columns                    a table
    "Rounds: ..." and the like              a paragraph of its own under that title
    anything else that is indented          stays indented: Markdown shows it as it stands
"""

from __future__ import annotations

import re
from textwrap import dedent
from typing import Any

import griffe

SECTION = re.compile(r"^(?:Args|Returns|Raises|Yields):$", re.MULTILINE)
LABEL = (
    "(?:Bytes|Cost|Dealer|Error|Exact|Exchanges|Guarantees|Input|Rounds|Sharp edge|Source|Sources|Threads"
    "|Who learns what)"
)
BLOCKS = re.compile(rf"\n\s*\n|\n(?={LABEL}(?::|\n))")
TITLE = re.compile(r"([A-Z][\w ]+)\n(?= {4}\S)")
FILE = re.compile(r" *([\w, ./]+?(?:\.py|/)) {2,}(.*)")
STEP = re.compile(r"(\d+\.) (\w+) {2,}(.*)")
SHORT = 76  # a line that ends before this column ends on purpose


class PlainDocstrings(griffe.Extension):
    """Rewrites every docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(text: str) -> str:
    """The docstring, its text in Markdown and its sections as they were."""
    found = SECTION.search(text)
    prose, sections = (text[: found.start()], text[found.start() :]) if found else (text, "")
    return "\n\n".join([*map(_block, BLOCKS.split(prose.rstrip())), sections])


def _block(block: str) -> str:
    if title := TITLE.match(block):
        lines = block[title.end() :].splitlines()
        end = next((number for number, line in enumerate(lines) if not line.startswith(" ")), len(lines))
        after = ["\n".join(lines[end:])] if end < len(lines) else []
        listed = _listed(dedent("\n".join(lines[:end])).splitlines())
        return "\n\n".join([f"**{title[1]}**", listed, *map(_block, after)])
    lines = dedent(block).splitlines()
    if len(lines) > 1 and FILE.match(lines[0]):
        return _table(lines)
    return _listed(lines) if re.match(r"[01]\. ", lines[0]) else re.sub(rf"^({LABEL}:)", r"**\1**", block)


def _listed(lines: list[str]) -> str:
    """A list, an item for each number; without numbers for each line after one that ends a sentence."""
    numbered, items = lines[0].startswith(("0. ", "1. ")), list[str]()
    for before, line in zip([".", *lines], lines, strict=False):
        text = line.strip()
        if step := STEP.match(text):
            text = f"{step[1]} **{step[2]}**: {step[3]}"
        if re.match(r"\d+\. ", text) if numbered else before.endswith(".") and line == text:
            items.append(text if numbered else f"- {text}")
        else:
            items[-1] += ("<br>" if len(before) < SHORT else " ") + text
    return "\n".join(items)


def _table(lines: list[str]) -> str:
    rows = list[list[str]]()
    for line in lines:
        if row := FILE.match(line):
            rows.append([f"`{row[1]}`", row[2]])
        else:
            rows[-1][1] += " " + line.strip()
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {what} |" for name, what in rows)])
