"""What README and docs name exists: files of this repository, commands with their options, and settings."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from amint_mpc.cli import main
from amint_mpc.config import Experiment

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "parties/*/README.md", "examples/README.md", "benchmarks/README.md")
    for page in ROOT.glob(pattern)
)
FOLDERS = "amint_mpc|benchmarks|configs|docs|examples|parties|tests"
PATH = re.compile(rf"(?<![\w/.*-])(?:(?:{FOLDERS})/[\w*/.-]*[\w*/]|[\w*/.-]+\.(?:py|c)(?!\w))")
CODE = re.compile(r"^ *```[^\n]*\n(.*?)^ *```|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
OTHERS = {"--userns", "--volume", "--size", "--version"}  # options of podman, of a script, and of the program itself
SETTING = re.compile(r"^(data|model|head|training|security|disclosure|evidence)\.([a-z_0-9]+)(?:[:=]|$)")


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def code(page: str) -> Iterator[str]:
    """Lines of code blocks, and code between words."""
    for block, inline in CODE.findall(text(page)):
        yield from (block or inline).splitlines()


def inline(page: str) -> list[str]:
    return [span for _, span in CODE.findall(text(page)) if span]


@pytest.mark.parametrize("page", PAGES)
def test_paths_exist(page: str) -> None:
    places = (ROOT, ROOT / "amint_mpc", ROOT / "amint_mpc" / "mpc", (ROOT / page).parent)
    for path in PATH.findall(text(page)):
        pattern = path.replace("ROLE", "*").rstrip("/")
        found = any(next(place.glob(pattern), None) for place in places)
        assert found or ("/" not in path and next((ROOT / "amint_mpc").rglob(path), None)), f"{path}, in {page}"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", text(page)):
        if "://" not in target:
            assert ((ROOT / page).parent / target).exists(), f"{target}, in {page}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_their_options_exist(page: str) -> None:
    for line in code(page):
        words = line.split("#")[0].split()
        named = [number + 1 for number, word in enumerate(words) if word == "amint-mpc" or word.endswith("/amint-mpc")]
        if named:
            for start, end in zip(named, [*named[1:], None], strict=True):
                check_command(words[start:end], page)
        elif words and words[0] in main.commands and len(words) > 1:
            check_command(words, page)
    every = OTHERS | set(options_below(main))
    for span in inline(page):
        assert not span.startswith("--") or span.split()[0].split("=")[0] in every, f"{span}, in {page}"


def check_command(words: list[str], page: str) -> None:
    command: click.Command = main
    rest = list(words)
    while isinstance(command, click.Group) and rest and re.fullmatch(r"[a-z]+", rest[0]):
        assert rest[0] in command.commands, f"amint-mpc {' '.join(words)}, in {page}"
        command = command.commands[rest.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts} | OTHERS
    for word in rest:
        option = word.strip("[]").split("=")[0]
        assert not option.startswith("--") or option in known, f"{option} of {' '.join(words)}, in {page}"


def options_below(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        yield from parameter.opts
    if isinstance(command, click.Group):
        for below in command.commands.values():
            yield from options_below(below)


@pytest.mark.parametrize("page", PAGES)
def test_settings_exist(page: str) -> None:
    parts = {name: field.annotation for name, field in Experiment.model_fields.items()}
    for line in code(page):
        for part, key in (match.groups() for match in map(SETTING.match, line.split()) if match):
            if part == "head" and key in ("safetensors", "salt"):
                continue  # a file
            assert key in parts[part].model_fields, f"{part}.{key}, in {page}"
