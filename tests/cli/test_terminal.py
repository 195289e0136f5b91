"""Nothing that a file or a peer says is obeyed by the terminal, or read as markup."""

from __future__ import annotations

import ast
import io
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.table import Table
from rich.text import Text

import amint_mpc.cli
from amint_mpc.cli import main
from amint_mpc.cli.failures import explain
from amint_mpc.cli.progress import progress
from amint_mpc.cli.screen import Screen
from amint_mpc.cli.terminal import PlainConsole
from amint_mpc.errors import AmintError
from amint_mpc.events import EpochEvent, Notice, StepEvent

EVIL = "\x1b[2J\x1b[1;32mall is well\x1b[0m\u202e\x9b1m[bold red]not bold:smile:"
SEEN = r"\x1b[2J\x1b[1;32mall is well\x1b[0m\u202e\x9b1m[bold red]not bold:smile:"
OURS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")  # what rich itself writes to draw


def ran(*arguments: str) -> Result:
    """With colours, as in a terminal: click takes escapes out of what it writes elsewhere."""
    return CliRunner().invoke(main, arguments, color=True)


@pytest.mark.parametrize("live", [True, False])
def test_a_screen_shows_what_a_peer_said_as_text(live: bool) -> None:
    out = io.StringIO()
    with Screen(PlainConsole(file=out, force_terminal=live, width=200), ["developer"], EVIL) as screen:
        screen.show("developer", Notice(EVIL))
        screen.show("developer", StepEvent(1, 1, 1, "joint", 0.5))
        screen.show("developer", EpochEvent(1, 1, "joint", 0.5, {EVIL: 0.5}))
    text = out.getvalue()
    assert SEEN in text
    assert "\x1b[2J" not in text
    assert all(c.isprintable() or c in "\r\n" for c in OURS.sub("", text))


@pytest.mark.parametrize("what", [EVIL, Text(EVIL), pytest.param(None, id="table")])
def test_a_console_escapes_whatever_it_is_given(what: object) -> None:
    out = io.StringIO()
    if what is None:
        what = Table(EVIL, box=None)
        what.add_row(EVIL)
        what.add_row(Text(EVIL))
    PlainConsole(file=out, force_terminal=True, width=200).print(what)
    assert SEEN in OURS.sub("", out.getvalue())
    assert "\x1b[2J" not in out.getvalue()


@pytest.mark.parametrize("live", [True, False])
def test_progress_shows_names_as_text(live: bool) -> None:
    out = io.StringIO()
    with progress(PlainConsole(file=out, force_terminal=live, width=200)) as on_progress:
        on_progress(EVIL, 1, 2)
    assert SEEN[:40] in OURS.sub("", out.getvalue())
    assert "\x1b[2J" not in out.getvalue()


def test_an_error_that_forgot_to_escape_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    error = AmintError("")
    error.message, error.hint = EVIL, EVIL
    explain(error)
    assert capsys.readouterr().err == f"error: {SEEN}\nhint:  {SEEN}\n"


def test_a_role_and_a_key_of_a_party_file(tmp_path: Path) -> None:
    file = tmp_path / "party.yaml"
    for content in ('role: "\\e[2J"', '"\\e[2J": 1', 'listen: "\\e[2J"', "listen: {port: 1, '\N{ESCAPE}[2J': 1}"):
        file.write_text(content)
        found = ran("run", "--role", "auditor", "--party", str(file))
        assert found.exit_code == 2
        assert "\x1b[2J" not in found.output


def test_names_of_files(tmp_path: Path) -> None:
    folder = tmp_path / EVIL
    folder.mkdir()
    (folder / "experiment.yaml").write_text("seed: x\n")
    for command in (
        ("verify", str(folder)),
        ("report", str(folder)),
        ("config", "check", str(folder / "experiment.yaml")),
        ("evidence", "check", str(folder / "proof"), "--run", str(folder)),
        ("attest", "--check", str(folder / "other.json")),
        ("replay", str(folder)),
        ("keys", "show", "--role", "auditor", "--keys", str(folder)),
        ("compare", "--run", str(folder)),
        ("audit", "--role", "dealer", "--run", str(folder)),
    ):
        found = ran(*command)
        assert found.exit_code in (2, 3, 5, 6), found.output
        assert SEEN in found.stderr
        assert EVIL not in found.output
        assert "\u202e" not in found.output


def test_keys_are_made_in_a_folder_of_any_name(tmp_path: Path) -> None:
    found = ran("keys", "new", "--role", "auditor", "--keys", str(tmp_path / EVIL))
    assert found.exit_code == 0
    assert SEEN in found.stdout
    assert "\x1b[2J" not in found.output


def test_only_one_module_writes_to_the_terminal() -> None:
    folder = Path(amint_mpc.cli.__file__).parent
    writes = set()
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                if name in ("click.echo", "click.secho", "print", "Console", "rich.print"):
                    writes.add((path.name, name))
    assert writes == {("terminal.py", "click.echo")}
