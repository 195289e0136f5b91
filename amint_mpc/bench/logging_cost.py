"""The log of a measured party, which can be switched on for some slices and off for others: what it costs by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from amint_mpc.config import Experiment
from amint_mpc.evidence.canonical import Value
from amint_mpc.evidence.log import Log
from amint_mpc.runlog.expected import joint_batches
from amint_mpc.transport.channel import Channel
from amint_mpc.transport.hashing import Digests, HashingChannel

FILE = "bench-log.jsonl"


class SwitchedLog:
    """Does for a step what `runlog.recorder` does, while `on`; between checkpoints that is all a run does for its log.

    Args:
        link: between developer and auditor. log: which the entries are appended to.
    """

    def __init__(self, experiment: Experiment, link: Channel, hashing: HashingChannel, log: Log) -> None:
        self.on = False
        self._link, self._hashing, self._log = link, hashing, log
        self._batches, self._step = joint_batches(experiment), 0

    @property
    def channel(self) -> Channel:
        """For the head: observed while `on`, and as it is otherwise."""
        return cast(Channel, _SwitchedChannel(self))

    def used(self) -> Channel:
        """What `channel` stands for at present."""
        return self._hashing if self.on else self._link

    def step(self) -> None:
        """The head has taken a step."""
        if not self.on:
            return
        fields: dict[str, Value] = {"step": self._step, "epoch": 1, "batch": next(self._batches)}
        self._step += 1

        def append(digests: Digests) -> None:
            self._log.append("step", {**fields, "frames": list(digests)})

        self._hashing.mark(append)

    def drain(self) -> None:
        """Return when all entries are written."""
        self._hashing.drain()


class _SwitchedChannel:
    def __init__(self, log: SwitchedLog) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log.used(), name)


@contextmanager
def opened(experiment: Experiment, link: Channel, folder: Path) -> Iterator[SwitchedLog]:
    """A log whose file lies in the party's own folder."""
    hashing = HashingChannel(link)
    try:
        with Log.create(folder / FILE) as log:
            yield SwitchedLog(experiment, link, hashing, log)
    finally:
        hashing.end()
