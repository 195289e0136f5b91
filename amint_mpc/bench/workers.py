"""The outside of the measured processes: start them, give them work in turns, and end them whatever happens."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from amint_mpc.errors import AmintError
from amint_mpc.host.processes import Processes

Answers = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Worker:
    """One process: a module of this package that calls `worker.work`, and its settings."""

    module: str
    settings: Mapping[str, Any]


class Workers(Processes):
    """Workers, ready when the context is entered. On leaving it none is alive.

    Args:
        workers: by name.
        logs: folder for what each writes to stderr, NAME.err.
    """

    def __init__(self, workers: Mapping[str, Worker], logs: Path) -> None:
        commands = {name: [sys.executable, "-m", f"amint_mpc.bench.{w.module}"] for name, w in workers.items()}
        super().__init__(commands, logs)
        self._workers = workers
        self._answers: Iterator[tuple[str, dict[str, Any]]] = iter(())

    @property
    def names(self) -> frozenset[str]:
        """Of all workers."""
        return frozenset(self._workers)

    def __enter__(self) -> Workers:
        super().__enter__()
        try:
            self._answers = self.records()
            self.ask({name: worker.settings for name, worker in self._workers.items()})
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        super().__exit__(kind, error, at)

    def ask(self, commands: Mapping[str, Mapping[str, Any]]) -> Answers:
        """Give several workers a command at the same time; returns when all of them have answered.

        Raises:
            AmintError: one failed.
        """
        for name, command in commands.items():
            stdin = self._children[name].stdin
            assert stdin is not None
            with suppress(BrokenPipeError):  # it has ended: its last words say more
                stdin.write(json.dumps(command).encode() + b"\n")
                stdin.flush()
        answers: Answers = {}
        for name, record in self._answers:
            answers[name] = record
            if answers.keys() >= commands.keys():
                return answers
        raise AmintError("a measured process ended before its work was done")


def seconds(answers: Answers) -> float:
    """From the moment the first of them began to the moment the last was done."""
    return float(max(a["end"] for a in answers.values()) - min(a["start"] for a in answers.values()))
