"""The folder of one run at one party: what was agreed, which versions ran, what happened, what came out.

Guarantees: an existing folder is never written into; only its owner can enter it (an auditor's head and scores are
its own); summary.json appears whole or not at all; keys, shares and masks are never given to it; each of its files
carries the marks of the run, such as INSECURE when the experiment gives up a security claim (then the folder's name
says it, too).
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import yaml
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from amint_mpc.config import Experiment
from amint_mpc.errors import UsageError
from amint_mpc.eventlines import json_line, to_line
from amint_mpc.events import EpochEvent, Event, Notice, StepEvent
from amint_mpc.printable import printable
from amint_mpc.results import Outcome, Summary

INSECURE = "INSECURE: the auditor made the correlated randomness and could read what the developer shared"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_PACKAGES = ("amint-mpc", "torch", "torchvision", "crypten", "numpy", "pillow", "cryptography", "pydantic")


class RunFolder:
    """Opened by `create`; use it in a `with` block, so that its files are closed whatever happens."""

    def __init__(self, path: Path, experiment: Experiment, role: str, marks: Mapping[str, str]) -> None:
        self.path = path
        self.experiment = experiment
        self.role = role
        self._marks = {**marks, **({"insecure": INSECURE} if experiment.insecure else {})}
        self._lock = threading.RLock()
        self._metrics = (path / "metrics.jsonl").open("x", encoding="utf-8")
        self._log = (path / "log.txt").open("x", encoding="utf-8")
        self._board = SummaryWriter(str(path / "tensorboard"))
        self._write("experiment.yaml", self._experiment_text())
        self._write("versions.json", json_line(self._marked(versions())) + "\n")
        for name, text in self._marks.items():
            self.record(Notice(text))
            self._board.add_text(name, text)

    @classmethod
    def create(
        cls,
        root: Path,
        experiment: Experiment,
        role: str,
        name: str | None = None,
        marks: Mapping[str, str] = MappingProxyType({}),
    ) -> RunFolder:
        """A new folder in `root`.

        Args:
            name: the folder's name; None: experiment, role and time. `-insecure` is added where it holds.
            marks: sentences that each file carries, by the key of its JSON field.

        Raises:
            UsageError: the folder exists, the name is not a plain file name, or `root` cannot be written.
        """
        name = name or f"{experiment.name}-{role}-{time.strftime('%Y%m%d-%H%M%S')}"
        if experiment.insecure and not name.endswith("-insecure"):
            name += "-insecure"
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name[:60]!r} is not a name for a run", "Letters, digits, dots, dashes; no folders")
        path = root / name
        if path.exists():
            raise UsageError(f"{path} exists already", "Give another --name; a run never writes over another")
        try:
            root.mkdir(parents=True, exist_ok=True)
            path.mkdir(mode=0o700)  # fails when another run has made it meanwhile
        except OSError as error:
            raise UsageError(f"cannot make {path}: {error.strerror}", "Give another place with --runs") from None
        return cls(path, experiment, role, marks)

    def record(self, event: Event) -> None:
        """One event into metrics.jsonl and TensorBoard; notices go to the log as well. Any thread may call; what comes
        after `close` (a stranger refused while the links end) is dropped."""
        with self._lock:
            if not self._metrics.closed:
                self._record(event)

    def _record(self, event: Event) -> None:
        self._metrics.write(to_line(event) + "\n")
        if isinstance(event, Notice):
            self.log(event.text)
            return
        at, values = (event.step, event.losses) if isinstance(event, StepEvent) else (event.epoch, event.figures)
        kind = "epoch" if isinstance(event, EpochEvent) else "warm-up" if event.phase == "warm-up" else "step"
        for key, value in {**values, "seconds": event.seconds}.items():
            self._board.add_scalar(f"{kind}/{key}", value, at)
        if kind == "epoch":
            self._metrics.flush()

    def log(self, text: str) -> None:
        """A line of log.txt, with the time (UTC)."""
        with self._lock:
            at, said = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), printable(" ".join(text.split()))
            self._log.write(f"{at} {said}\n")
            self._log.flush()

    def save_tensors(self, name: str, tensors: dict[str, Tensor]) -> Path:
        """`name` (it ends in .safetensors) in this folder."""
        from safetensors.torch import save

        note = {"role": self.role, "experiment": self.experiment.digest()}
        raw = save({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}, self._marked(note))
        return self._write(name, raw)

    def save_json(self, name: str, record: dict[str, Any]) -> Path:
        """`name` (it ends in .json) in this folder."""
        return self._write(name, json_line(self._marked(record)) + "\n")

    def finish(self, outcome: Outcome) -> Summary:
        """Write summary.json and close. Who runs, what was agreed and whether it was secure is added here."""
        record = self.summary_record(outcome)
        summary = Summary.model_validate(record)
        self._write("summary.json", json_line(record) + "\n")
        self.close()
        return summary

    def summary_record(self, outcome: Outcome) -> dict[str, Any]:
        """What `finish` will write into summary.json, for whoever commits to it beforehand."""
        agreed = {"role": self.role, "name": self.experiment.name, "method": self.experiment.method}
        return self._marked({**agreed, "digest": self.experiment.digest(), **outcome.as_json()})

    def close(self) -> None:
        """Close every file; can be called twice."""
        with self._lock:
            self._metrics.close()
            self._log.close()
            self._board.close()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None and not self._log.closed:
            self.log(f"ended early: {type(error).__name__}: {error}")
        self.close()

    def _marked(self, record: dict[str, Any]) -> dict[str, Any]:
        return {**self._marks, **record}

    def _experiment_text(self) -> str:
        head = "".join(f"# {text}\n" for text in self._marks.values())
        head += f"# What all parties agreed on. SHA-256 of the canonical JSON: {self.experiment.digest()}\n"
        return head + yaml.safe_dump(self.experiment.model_dump(mode="json"), sort_keys=False)

    def _write(self, name: str, content: str | bytes) -> Path:
        """Write whole or not at all: a reader never meets half a file."""
        path = self.path / name
        part = path.with_name(name + ".part")
        with part.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        return part.replace(path)


def new_folder(stem: str, root: Path = Path("runs")) -> Path:
    """A place for a run that nothing stands at yet: stem and time, numbered within a second."""
    name = f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    names = (name if number == 1 else f"{name}-{number}" for number in range(1, 10**6))
    return next(root / each for each in names if not (root / each).exists())


def make_new_folder(stem: str, root: Path = Path("runs")) -> Path:
    """The same, made: two runs that begin at once get two folders."""
    while True:
        path = new_folder(stem, root)
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        return path


def versions() -> dict[str, Any]:
    """What ran: Python, platform and the packages that decide a result."""
    found = {name: _version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), "platform": platform.platform(), "cores": os.cpu_count(), **found}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
