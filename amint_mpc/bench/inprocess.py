"""The three parties in one process, over memory channels: for dry counts, calibration and micro-benchmarks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from amint_mpc.errors import PeerError
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import Memory, Plan
from amint_mpc.mpc.correlations.prg import SecretStream
from amint_mpc.mpc.correlations.supply import Supply, serve_step
from amint_mpc.mpc.dense.step import Optimizer
from amint_mpc.mpc.protocols.linear import Combination
from amint_mpc.mpc.shared_head import SharedHead
from amint_mpc.roles.auditor import draw_and_share
from amint_mpc.roles.heads import HeadKind
from amint_mpc.roles.seeds import both_seeds
from amint_mpc.transport.channel import Channel, memory_pair

MEMORY = 1 << 28


@dataclass
class Parties:
    """Both parties' heads, shared and ready, and their links.

    Args:
        to_auditor, to_developer: the ends of the link between the two.
        from_dealer: the dealer's end of its link to the developer.
    """

    kind: HeadKind
    optimizer: Optimizer
    developer: SharedHead
    auditor: SharedHead
    to_auditor: Channel
    to_developer: Channel
    from_dealer: Channel
    _streams: tuple[SecretStream, SecretStream]
    _dealt: int = 0
    _memory: Memory = field(default_factory=dict)
    _trained: int = 0

    def restart(self) -> None:
        """Share a fresh head."""
        self.together(lambda: self.developer.share_weights(None, None), lambda: draw_and_share(self.auditor, self.kind))
        self._trained = 0

    def share_features(self, x: Tensor) -> None:
        """Share rows for later steps. x: [N, f]."""
        rows = len(x)
        work = (
            lambda: self.developer.share_features(x, rows),
            lambda: self.auditor.share_features(None, rows),
        )
        plan = self.kind.table_plan(rows)
        self.together(*work) if plan is None else self._step(plan, *work)

    def train_on_shared(self, rows: Combination, targets: Tensor, optimizer: Optimizer) -> None:
        """One step of all three on shared rows."""
        plan = self.kind.train_plan(len(targets), optimizer, self._trained, rows)
        self._trained += 1
        self._step(
            plan,
            lambda: self.developer.train_on_shared(rows, targets, optimizer),
            lambda: self.auditor.train_on_shared(rows, targets, optimizer),
        )

    def train(self, x: Tensor, targets: Tensor, open_gradient: bool = True) -> Tensor | None:
        """One training step of all three. x: [n, f]. Returns the gradient of the sum by x, [n, f], if it is opened."""
        plan = self.kind.train_plan(len(targets), self.optimizer, self._trained)
        self._trained += 1
        gradient = self._step(
            plan,
            lambda: self.developer.train_step(x, targets, open_gradient),
            lambda: self.auditor.train_step(None, targets, open_gradient),
        )[0]
        assert gradient is None or isinstance(gradient, Tensor)
        return gradient

    def score(self, x: Tensor) -> Tensor:
        """One scoring batch of all three. x: [n, f]. Returns the auditor's logits, [n]."""
        plan = self.kind.score_plan(len(x))
        both = self._step(plan, lambda: self.developer.logits(x, len(x)), lambda: self.auditor.logits(None, len(x)))
        logits = both[1]
        assert isinstance(logits, Tensor)
        return logits

    def _step(self, plan: Plan, developer: Callable[[], Any], auditor: Callable[[], Any]) -> list[Any]:
        number, self._dealt = self._dealt, self._dealt + 1

        def deal() -> None:
            serve_step(self.from_dealer, self._streams, number, plan, self._memory)

        return self.together(developer, auditor, deal)

    def together(self, *work: Callable[[], Any]) -> list[Any]:
        """Do all of it at the same time; the first error that is not the echo of another one is raised."""
        return together(work, self.end)

    def end(self) -> None:
        """Wake whoever waits on a link."""
        for channel in (self.to_auditor, self.to_developer, self.from_dealer):
            channel.abort("failed")


@contextmanager
def parties(
    kind: HeadKind, optimizer: Optimizer, wrap: Callable[[Channel], Channel] = lambda channel: channel
) -> Iterator[Parties]:
    """Three parties with a fresh head. Only one process, so nothing is hidden from anybody.

    Args:
        kind: of the head. optimizer: of the head.
        wrap: is given each end of a link that is sent on, and gives what is used in its place.
    """
    to_auditor, to_developer = map(wrap, memory_pair())
    to_dealer, dealers_end = memory_pair("developer", "dealer", prefetch_bytes=MEMORY)
    from_dealer = wrap(dealers_end)
    seeds = both_seeds()

    def streams() -> tuple[SecretStream, SecretStream]:
        return SecretStream(seeds[DEVELOPER], "in process"), SecretStream(seeds[AUDITOR], "in process")

    own = streams()
    developer = kind.secure(to_auditor, DEVELOPER, Supply(own[DEVELOPER], DEVELOPER, to_dealer), optimizer)
    auditor = kind.secure(to_developer, AUDITOR, Supply(own[AUDITOR], AUDITOR), optimizer)
    found = Parties(kind, optimizer, developer, auditor, to_auditor, to_developer, from_dealer, streams())
    try:
        found.together(lambda: developer.share_weights(None, None), lambda: draw_and_share(auditor, kind))
        yield found
    finally:
        for channel in (to_auditor, to_developer, from_dealer, to_dealer):
            channel.abort("failed")


def together(work: Iterable[Callable[[], Any]], end: Callable[[], None]) -> list[Any]:
    """Run each in a thread of its own. end: called at the first error, to wake the others."""
    failed = threading.Event()

    def one(task: Callable[[], Any]) -> Any:
        try:
            return task()
        except BaseException:
            if not failed.is_set():
                failed.set()
                end()
            raise

    tasks = list(work)
    with ThreadPoolExecutor(len(tasks)) as pool:
        futures = [pool.submit(one, task) for task in tasks]
        errors = [error for future in futures if (error := future.exception()) is not None]
    if errors:
        raise next((error for error in errors if not isinstance(error, PeerError)), errors[0])
    return [future.result() for future in futures]


def zeros(rows: int, inputs: int) -> Tensor:
    """Features that say nothing: time and bytes depend on shapes alone."""
    return torch.zeros(rows, inputs, dtype=torch.float64)
