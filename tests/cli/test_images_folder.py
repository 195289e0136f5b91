"""Where images lie: `--data FOLDER` at every command that reads them, or `data` in the developer's party file."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from amint_mpc.afterwards import parties, replay
from amint_mpc.afterwards.proving import Prover
from amint_mpc.cli import main
from amint_mpc.errors import DataError

CIFAR = ("--config", "smoke", "--set", "data.dataset=cifar-10", "--set", "model.taps=middle")
STUDY = 'name: s\ntitle: "S"\nbase: smoke\nset: {data.dataset: cifar-10}\ngrid: {model.taps: [entry]}\n'
READING = {  # what asks for images before anything else
    "run": ("run", "--role", "developer", *CIFAR),
    "train": ("train", *CIFAR),
    "demo": ("demo", *CIFAR),
    "compare": ("compare", *CIFAR),
    "bench leakage": ("bench", "leakage", *CIFAR),
    "bench train": ("bench", "train", *CIFAR, "--steps", "1"),
    "study": ("study", "--config", "study.yaml"),
    "doctor": ("doctor", "--role", "developer", "--config", "cifar.yaml"),
}
AFTERWARDS = {  # those need a finished run first
    "replay": ("replay", "RUN", "--steps", "0"),
    "evidence prove": ("evidence", "prove", "--run", "RUN", "--position", "0", "--out", "proof"),
    "audit": ("audit", "--role", "developer", "--run", "RUN"),
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AMINT_MPC_DATA", raising=False)
    monkeypatch.delenv("AMINT_MPC_PARTY", raising=False)
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "cifar.yaml").write_text("name: c\ndata: {dataset: cifar-10}\n")


def ran(*arguments: str) -> Result:
    for runs in ("runs", "parties"):  # a run's name has the second in it
        shutil.rmtree(runs, ignore_errors=True)
    result = CliRunner().invoke(main, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def said(result: Result) -> str:
    return " ".join(result.output.split())


def commands(group: click.Group = main, before: str = "") -> set[str]:
    """Every command with `--data`."""
    found = set()
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found |= commands(command, f"{name} ")
        elif any("--data" in option.opts for option in command.params):
            found.add(before + name)
    return found


def test_every_command_with_the_option_is_tested_here() -> None:
    assert commands() == {*READING, *AFTERWARDS}


@pytest.mark.parametrize("name", READING)
def test_without_a_folder_the_message_names_ways_that_work(name: str, tmp_path: Path) -> None:
    missing = ran(*READING[name])
    assert missing.exit_code == (2 if name == "doctor" else 5)
    assert "cifar-10 needs a data folder" in said(missing)
    assert "Give --data FOLDER, or name the folder under `data` in the developer's party file" in said(missing)

    (tmp_path / "given").mkdir()
    assert "given has no cifar-10" in said(ran(*READING[name], "--data", "given"))

    (tmp_path / "told").mkdir()
    (tmp_path / "party.yaml").write_text("role: developer\ndata: told\n")
    assert "told has no cifar-10" in said(ran(*READING[name]))
    assert "given has no cifar-10" in said(ran(*READING[name], "--data", "given"))


@pytest.mark.parametrize("name", AFTERWARDS)
def test_after_a_run_the_same_ways_work(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path | None] = []

    def load(run: Path, data: Path | None, *_: Any) -> None:
        asked.append(data)
        raise DataError("stop here")

    monkeypatch.setattr(Prover, "load", load)
    monkeypatch.setattr(replay, "replay", load)
    monkeypatch.setattr(replay, "last_step", lambda run: 0)
    monkeypatch.setattr(parties, "developer", lambda run, party, *_: load(run, party.data))
    (tmp_path / "party.yaml").write_text("role: developer\nauditor: {port: 1}\ndealer: {port: 2}\ndata: told\n")
    for more in ((), ("--data", "given")):
        assert ran(*AFTERWARDS[name], *more).exit_code == 5
    assert asked == [tmp_path / "told", Path("given")]
