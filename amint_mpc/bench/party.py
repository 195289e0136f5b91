"""One of the three parties as a measured process: what `amint-mpc run` does, a given number of steps at a time.

Links, identities, handshake, seeds, masks and the head are those of a run (`amint_mpc.roles`). What differs: the steps
come in slices, so that others can be measured between them; the dealer makes as many blocks in a slice as the
parties use in it, so that no work of its is done outside; nothing is scored or saved; the log is kept in the slices
that want one (`scribe`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from amint_mpc import identity
from amint_mpc.amint.head import MintHead, Wrapped
from amint_mpc.amint.trainer import Trainer
from amint_mpc.bench import scribe
from amint_mpc.bench.delay import DelayingWire, Link, slow_down
from amint_mpc.bench.scribe import Scribe
from amint_mpc.bench.worker import Handler, work
from amint_mpc.config import Experiment, Party, load_experiment, load_party
from amint_mpc.data.split import load_split
from amint_mpc.events import StepEvent
from amint_mpc.models.features import FEATURE_LIMIT
from amint_mpc.mpc.channel import Channel, ChannelStats
from amint_mpc.mpc.correlations.base import AUDITOR, DEVELOPER, Memory
from amint_mpc.mpc.correlations.feed import Supply, serve_step
from amint_mpc.mpc.shared_head import SharedHead
from amint_mpc.mpc.tls import Listener, connect
from amint_mpc.mpc.two_party.engine import SpuEngine
from amint_mpc.roles import auditor, dealer, engine, session
from amint_mpc.roles.heads import Masks, head_kind

OneStep = Callable[[], float]
"""Takes one step; returns the seconds in which nothing went on but the head."""

BATCHES = 4  # of random features, made beforehand


@contextmanager
def opened(settings: dict[str, Any]) -> Iterator[Handler]:
    """Args: settings: role, folder (as `roles.local.prepare` makes it), threads, work ("head" or "train"), delayed."""
    torch.set_num_threads(settings["threads"])
    folder, role = Path(settings["folder"]), settings["role"]
    experiment = load_experiment(folder / "experiment.yaml")
    party = load_party(folder / role / "party.yaml", role)
    if role == "developer":
        with _developer(experiment, party, folder / role, settings["work"], settings["delayed"]) as handle:
            yield handle
    elif role == "auditor":
        with _auditor(experiment, party, folder / role, settings["delayed"]) as handle:
            yield handle
    else:
        with _dealer(experiment, party) as handle:
            yield handle


@contextmanager
def _developer(experiment: Experiment, party: Party, folder: Path, kind: str, delayed: bool) -> Iterator[Handler]:
    assert party.auditor is not None
    own, wait = identity.load(party.keys, "developer"), party.connect_timeout_s
    with session.Links(experiment, "developer", _say_nothing) as links, ExitStack() as inside:
        to_auditor = links.add(connect(party.auditor, own, "auditor", wait))
        supply: Masks
        from_dealer = ChannelStats()
        if experiment.two_party:
            second = links.also(connect(party.auditor, own, "auditor", wait, idle_timeout_s=None))
            supply = inside.enter_context(SpuEngine(second, DEVELOPER))
        else:
            assert party.dealer is not None
            memory = int(party.dealer_memory_mb * 2**20)
            to_dealer = links.add(connect(party.dealer, own, "dealer", wait, prefetch_bytes=memory))
            number, stream = session.receive_seed(to_dealer)
            session.same_session(to_auditor, number)
            supply, from_dealer = Supply(stream, DEVELOPER, to_dealer), to_dealer.stats
        pen = inside.enter_context(scribe.opened(experiment, to_auditor, folder))
        head = head_kind(experiment).secure(pen.channel, DEVELOPER, supply)
        head.share_weights(None, None)
        mint = Clocked(engine.SecureMintHead(head, to_auditor, experiment), pen)
        step = head_alone(mint, experiment) if kind == "head" else training(mint, experiment, party, party.overlap)
        wire = slow_down(to_auditor) if delayed else None

        def handle(command: dict[str, Any]) -> dict[str, Any]:
            _become(wire, command)
            pen.on = command["log"]
            sent, received = bytes_sent(to_auditor, head), from_dealer.bytes_received
            clock, peer = to_auditor.stats.rounds, to_auditor.stats.seconds_waiting
            masks, in_head = from_dealer.seconds_waiting, mint.seconds
            answer = take_steps(step, command["steps"])
            pen.drain()
            return answer | {
                "bytes_sent": bytes_sent(to_auditor, head) - sent,
                "clock": [clock, to_auditor.stats.rounds],
                "bytes_from_dealer": from_dealer.bytes_received - received,
                "waiting_for_peer": to_auditor.stats.seconds_waiting - peer,
                "waiting_for_dealer": from_dealer.seconds_waiting - masks,
                "in_head": mint.seconds - in_head,
            }

        yield handle


@contextmanager
def _auditor(experiment: Experiment, party: Party, folder: Path, delayed: bool) -> Iterator[Handler]:
    assert party.listen is not None
    own, wait = identity.load(party.keys, "auditor"), party.connect_timeout_s
    with (
        Listener(party.listen, own, ["developer"]) as listener,
        session.Links(experiment, "auditor", _say_nothing) as links,
        ExitStack() as inside,
    ):
        to_developer = links.add(listener.accept("developer", wait, more=experiment.two_party))
        supply: Masks
        if experiment.two_party:
            second = links.also(listener.accept("developer", wait, idle_timeout_s=None))
            supply = inside.enter_context(SpuEngine(second, AUDITOR))
        else:
            assert party.dealer is not None
            to_dealer = links.add(connect(party.dealer, own, "dealer", wait, idle_timeout_s=None, prefetch_bytes=4096))
            number, stream = session.receive_seed(to_dealer)
            session.same_session(to_developer, number)
            supply = session.WatchedSupply(stream, to_dealer)
        pen = inside.enter_context(scribe.opened(experiment, to_developer, folder))
        head = head_kind(experiment).secure(pen.channel, AUDITOR, supply)
        auditor.draw_and_share(head, head_kind(experiment))
        wire = slow_down(to_developer) if delayed else None
        labels, optimizer = engine.targets(experiment.training.batch), engine.head_optimizer(experiment)

        def handle(command: dict[str, Any]) -> dict[str, Any]:
            _become(wire, command)
            clock, sent = to_developer.stats.rounds, bytes_sent(to_developer, head)
            peer, pen.on = to_developer.stats.seconds_waiting, command["log"]
            for _ in range(command["steps"]):
                head.train_step(None, labels, optimizer)
                pen.step()
            pen.drain()
            return {
                "bytes_sent": bytes_sent(to_developer, head) - sent,
                "clock": [clock, to_developer.stats.rounds],
                "waiting_for_peer": to_developer.stats.seconds_waiting - peer,
            }

        yield handle


@contextmanager
def _dealer(experiment: Experiment, party: Party) -> Iterator[Handler]:
    assert party.listen is not None
    own, wait = identity.load(party.keys, "dealer"), party.connect_timeout_s
    with (
        Listener(party.listen, own, ["developer", "auditor"]) as listener,
        session.Links(experiment, "dealer", _say_nothing) as links,
    ):
        to_auditor = links.add(listener.accept("auditor", wait, send_timeout_s=None))
        to_developer = links.add(listener.accept("developer", wait, send_timeout_s=None))
        streams = dealer.hand_out_seeds(to_developer, to_auditor)
        plans, memory = enumerate(engine.plans(experiment)), Memory()

        def handle(command: dict[str, Any]) -> dict[str, Any]:
            sent = to_developer.stats.bytes_sent
            for _ in range(command["steps"]):
                number, plan = next(plans)
                serve_step(to_developer, streams, number, plan, memory)
            to_developer.flush()
            return {"bytes_sent": to_developer.stats.bytes_sent - sent}

        yield handle


def bytes_sent(link: Channel, head: SharedHead) -> int:
    """By this party to the other one, on every way."""
    return link.stats.bytes_sent + (head.aside.bytes_sent if head.aside else 0)


def head_alone(head: MintHead, experiment: Experiment) -> OneStep:
    """Steps of the head on random features of the usual size and range."""
    members, random = experiment.training.batch, torch.Generator().manual_seed(experiment.seed)
    assert experiment.head.features is not None
    shape = (2 * members, experiment.head.features)
    batches = [torch.randn(shape, generator=random).clamp(-FEATURE_LIMIT, FEATURE_LIMIT) for _ in range(BATCHES)]
    turn = 0

    def step() -> float:
        nonlocal turn
        start = time.perf_counter()
        head.step(batches[turn % BATCHES], members)
        turn += 1
        return time.perf_counter() - start

    return step


def training(head: MintHead, experiment: Experiment, party: Party, overlap: bool) -> OneStep:
    """Steps of the joint training; a warm-up that the experiment has is done at once."""
    events = Trainer(experiment, load_split(experiment, party.data), head, party.device, overlap).run()
    for _ in range(experiment.training.warmup_epochs * (experiment.steps_per_epoch + 1)):
        next(events)

    def step() -> float:
        while not isinstance(event := next(events), StepEvent):
            pass  # the end of an epoch
        return event.secure_seconds

    return step


def take_steps(step: OneStep, count: int) -> dict[str, Any]:
    """Take some steps. Returns the seconds of each, and those in which nothing went on but the head."""
    whole, blocked = [], []
    for _ in range(count):
        start = time.perf_counter()
        blocked.append(step())
        whole.append(time.perf_counter() - start)
    return {"seconds": whole, "blocked": blocked}


class Clocked(Wrapped):
    """A head that adds up the seconds of its steps, in whichever thread they run."""

    def __init__(self, head: MintHead, pen: Scribe) -> None:
        super().__init__(head)
        self._pen = pen
        self.seconds = 0.0

    def step(self, features: Tensor, members: int) -> Tensor:
        """See `MintHead.step`."""
        start = time.perf_counter()
        gradient = super().step(features, members)
        self._pen.step()
        self.seconds += time.perf_counter() - start
        return gradient


def _become(wire: DelayingWire | None, command: dict[str, Any]) -> None:
    if wire is not None and "rtt_ms" in command:
        wire.become(Link.of(command["rtt_ms"], command["mbit"]))


def _say_nothing(_: str) -> None:
    """What the roles say is no news here."""


if __name__ == "__main__":
    work(opened)
