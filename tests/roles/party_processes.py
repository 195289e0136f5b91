"""Developer, auditor and dealer as processes with files of their own, all ended whatever a test does.

Importing torch and its like costs each process seconds. So most are forked from a server that has imported them and
then run the very command line (`fork`); a few are started as a user does (`execute`).
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import yaml

from amint_mpc.cli import main
from amint_mpc.config import Experiment, Role
from amint_mpc.host import processes

MODULES = ["cli", "roles.developer", "roles.auditor", "roles.dealer", "runfolder"]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([f"amint_mpc.{module}" for module in MODULES])


class Child:
    """One process. `out` and `err` are what it has written so far."""

    def __init__(self, process: BaseProcess | subprocess.Popen[bytes], files: dict[str, Path]) -> None:
        self.process, self._files = process, files

    @property
    def out(self) -> str:
        return self._files["out"].read_text(encoding="utf-8") if self._files["out"].exists() else ""

    @property
    def err(self) -> str:
        return self._files["err"].read_text(encoding="utf-8") if self._files["err"].exists() else ""

    def code(self) -> int | None:
        """The exit code, None while it runs."""
        return self.process.poll() if isinstance(self.process, subprocess.Popen) else self.process.exitcode

    def send(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def end(self) -> None:
        if self.code() is None:
            self.process.kill()
        wait_until(lambda: self.code() is not None, 10, "a killed process ends")

    def wait(self, seconds: float = 120) -> int:
        """The exit code; fails with what the process wrote when it takes longer."""
        wait_until(lambda: self.code() is not None, seconds, lambda: f"the process ends\n{self.out}\n{self.err}")
        code = self.code()
        assert code is not None
        assert "Traceback" not in self.err, self.err
        return code


class Site:
    """A folder with the files of all three parties.

    Args:
        folder: holds experiment.yaml, ROLE/party.yaml, ROLE/keys; run folders go to `runs`.
        party: settings for each party file.
    """

    def __init__(self, folder: Path, experiment: Experiment, **party: Any) -> None:
        self.folder, self.runs, self.children = folder, folder / "runs", []
        processes.prepare(folder, experiment, None)
        self.roles = experiment.roles
        for role in self.roles:
            self.change(role, **party)

    children: list[Child]

    def party(self, role: str) -> Path:
        return self.folder / role / "party.yaml"

    def change(self, role: str, **settings: Any) -> None:
        """Change settings in a party file."""
        old = yaml.safe_load(self.party(role).read_text(encoding="utf-8"))
        self.party(role).write_text(yaml.safe_dump({**old, **settings}), encoding="utf-8")

    def port(self, role: str) -> int:
        return int(yaml.safe_load(self.party(role).read_text(encoding="utf-8"))["listen"]["port"])

    def fork(self, role: Role, *more: str) -> Child:
        """`amint-mpc run` for this role, forked from a process that has imported it."""
        files = self._files(role)
        process = CONTEXT.Process(target=_be, args=(self._arguments(role, more), files["out"], files["err"]))
        process.start()
        return self._keep(Child(process, files))

    def execute(self, *command: str, name: str) -> Child:
        """`python ...`, as a user starts it."""
        files = self._files(name)
        with files["out"].open("wb") as out, files["err"].open("wb") as err:
            process = subprocess.Popen([sys.executable, *command], cwd=self.folder, stdout=out, stderr=err)
        return self._keep(Child(process, files))

    def execute_role(self, role: Role, *more: str) -> Child:
        return self.execute("-m", "amint_mpc", *self._arguments(role, more), name=role)

    def run_folder(self, name: str) -> Path:
        return self.runs / name

    def end(self) -> None:
        """Nobody lives, nobody listens, no half-written file lies about."""
        for child in self.children:
            child.end()
        for role in self.roles[1:]:
            socket.create_server(("127.0.0.1", self.port(role))).close()
        assert not list(self.folder.rglob("*.part"))

    def _arguments(self, role: Role, more: tuple[str, ...]) -> list[str]:
        files = ["--config", str(self.folder / "experiment.yaml"), "--party", str(self.party(role))]
        return ["run", "--role", role, *files, "--runs", str(self.runs), "--name", role, *more]

    def _files(self, name: str) -> dict[str, Path]:
        return {stream: self.folder / f"{len(self.children)}-{name}.{stream}" for stream in ("out", "err")}

    def _keep(self, child: Child) -> Child:
        self.children.append(child)
        return child


def _be(arguments: list[str], out: Path, err: Path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite started in the background ignores it
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), number)
    main(arguments, prog_name="amint-mpc")


def wait_until(holds: Callable[[], bool], seconds: float, what: str | Callable[[], str]) -> None:
    """Look every few milliseconds; an error with `what` when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"within {seconds} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.02)


def records(folder: Path) -> list[dict[str, Any]]:
    """What metrics.jsonl holds; a last line that is cut short is left out."""
    path = folder / "metrics.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def joint_epochs(folder: Path) -> int:
    return sum(r["event"] == "epoch" and r["phase"] in ("joint", "score") for r in records(folder))
