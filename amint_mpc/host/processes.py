"""Developer, auditor and dealer as three processes on this machine, for the demo and for studies.

They are ordinary `amint-mpc run` commands with keys, addresses and folders of their own; nothing is shared but
loopback. Each tells its events as JSON lines on its stdout. None outlives us: at the end they are asked to stop, then
made to; and should we be killed, each sees its stdin close and ends by itself.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from amint_mpc import identity
from amint_mpc.config import ROLES, Experiment, Role
from amint_mpc.errors import AmintError
from amint_mpc.eventlines import from_record
from amint_mpc.events import Event
from amint_mpc.host import ending
from amint_mpc.results import SecureRun, Summary

GRACE_S = 5.0  # for a process that was asked to stop
ECHO_S = 10.0  # in which the others' errors may still arrive, after one party has failed


def run(
    folder: Path,
    experiment: Experiment,
    data: Path | None,
    runs: Path,
    on_event: Callable[[str, Event], None],
    threads: int | None = None,
    device: str = "auto",
) -> SecureRun:
    """A whole secure run: prepares `folder`, starts the three, and waits for their end.

    Args:
        runs: where their run folders go, named by role.
        on_event: told each event, with the role it comes from.
        threads: of the developer's torch; None: as many as there are cores.
        device: of the developer's classifier.

    Raises:
        AmintError: one party failed; with its own message, hint and exit code.
    """
    prepare(folder, experiment, data, threads, device)
    done = SecureRun({}, {})
    with Processes({role: command(folder, role, runs, role) for role in experiment.roles}, folder) as processes:
        for role, record in processes.records():
            if record["event"] == "summary":
                done.reports[role], done.paths[role] = Summary.model_validate(record["summary"]), Path(record["folder"])
            else:
                on_event(role, from_record(record))
    return done


def prepare(
    folder: Path, experiment: Experiment, data: Path | None, threads: int | None = None, device: str = "auto"
) -> None:
    """Write keys, party files and the experiment of all who take part into `folder` (private to this user)."""
    auditor, dealer = free_ports(2)
    links: dict[Role, dict[str, Any]] = {
        "developer": {"auditor": {"port": auditor}, "dealer": {"port": dealer}},
        "auditor": {"listen": {"port": auditor}, "dealer": {"port": dealer}},
        "dealer": {"listen": {"port": dealer}},
    }
    identity.create_for_one_machine({role: folder / role / "keys" for role in ROLES})
    for role in experiment.roles:
        # Threads of torch that wait for a core spin: leave the other parties theirs.
        own = threads or os.cpu_count() or 1 if role == "developer" else 1
        party = {"role": role, "keys": "keys", "runs": "runs", "threads": own, **links[role]}
        if role == "developer":
            party |= {"device": device} | ({} if data is None else {"data": str(data.absolute())})
        (folder / role / "party.yaml").write_text(yaml.safe_dump(party), encoding="utf-8")
    text = yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False)
    (folder / "experiment.yaml").write_text(text, encoding="utf-8")


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on at this moment."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def command(folder: Path, role: Role, runs: Path, name: str) -> list[str]:
    """The command that runs one role of a prepared folder."""
    party, experiment = folder / role / "party.yaml", folder / "experiment.yaml"
    options = ["--role", role, "--config", str(experiment), "--party", str(party), "--runs", str(runs), "--name", name]
    return [sys.executable, "-m", "amint_mpc", "run", "--events", *options]


class Processes:
    """Child processes that tell JSON lines. Use as a context: on leaving it none is alive, whatever happened.

    Args:
        commands: by name.
        logs: folder for what each writes to stderr, NAME.err.
    """

    def __init__(self, commands: dict[str, list[str]], logs: Path) -> None:
        self._commands = commands
        self._logs = logs
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._readers: list[threading.Thread] = []
        self._told: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()  # b"": that stdout has closed

    def __enter__(self) -> Processes:
        try:
            for name, line in self._commands.items():
                self._start(name, line)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop()

    def records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every record of every child as it comes, until all have ended well.

        Raises:
            AmintError: one failed; with its own message, hint and exit code.
        """
        failures: dict[str, AmintError] = {}
        running, deadline = set(self._children), None
        while running:
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                name, line = self._told.get(timeout=wait)
            except queue.Empty:
                break
            record = self._parse(line) if line else None
            if record and record.get("event") == "error":
                failures[name] = _failure(name, record)
            elif record:
                yield name, record
            elif not line:
                running.discard(name)
                code = self._exit_code(name)
                if code and name not in failures:
                    failures[name] = self._crash(name, code)
            if failures and deadline is None:
                deadline = time.monotonic() + ECHO_S
        if failures:
            # A lost peer is what the others see of the first failure: prefer the one that is no such echo.
            raise next((f for f in failures.values() if f.exit_code != 3), next(iter(failures.values())))

    def _start(self, name: str, line: list[str]) -> None:
        with (self._logs / f"{name}.err").open("wb") as err:
            child = subprocess.Popen(
                line,
                stdin=subprocess.PIPE,  # held open: its end tells the child that we are gone
                stdout=subprocess.PIPE,
                stderr=err,
                start_new_session=True,  # Ctrl-C reaches us alone, and we stop them in order
            )
        self._children[name] = child
        self._readers.append(threading.Thread(target=self._read, args=(name, child), daemon=True))
        self._readers[-1].start()

    def _read(self, name: str, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        with child.stdout:
            for line in child.stdout:
                self._told.put((name, line))
        self._told.put((name, b""))

    @staticmethod
    def _parse(line: bytes) -> dict[str, Any] | None:
        """A record; None for a line that is none (a library may print)."""
        try:
            record = json.loads(line)
        except ValueError:
            return None
        return record if isinstance(record, dict) and "event" in record else None

    def _exit_code(self, name: str) -> int:
        """Of a child whose stdout has closed: it has ended, or is about to."""
        try:
            return self._children[name].wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._children[name].kill()
            return self._children[name].wait()

    def _crash(self, name: str, code: int) -> AmintError:
        text = (self._logs / f"{name}.err").read_text(encoding="utf-8", errors="replace").strip()
        failure = AmintError(f"the {name} ended with code {code}\n" + "\n".join(text.splitlines()[-5:]))
        failure.exit_code = code if code > 0 else 128 - code
        return failure

    def _stop(self) -> None:
        children = list(self._children.values())
        try:
            ending.end(children, GRACE_S)
        finally:
            for child in children:
                if child.stdin is not None:
                    child.stdin.close()
            for reader in self._readers:
                reader.join(GRACE_S)


def _failure(name: str, record: dict[str, Any]) -> AmintError:
    failure = AmintError(f"{name}: {record['message']}", str(record["hint"]))
    failure.exit_code = int(record["code"])
    return failure
