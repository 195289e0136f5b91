"""One of the three parties as a measured process: what `amint-mpc run` does, a given number of steps at a time.

Links, identities, handshake, seeds, masks and the head are those of a run (`amint_mpc.roles`). What differs: the steps
come in slices, so that others can be measured between them; the dealer makes as many blocks in a slice as the
parties use in it, so that no work of its is done outside; nothing is scored or saved; the log is kept in the slices
that want one (`logging_cost`).
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
from amint_mpc.amint.plaintext_head import HeadWrapper, MintHead
from amint_mpc.bench import logging_cost
from amint_mpc.bench.delay import DelayedLink, DelayingWire, slow_down
from amint_mpc.bench.device import WatchedTrainer
from amint_mpc.bench.logging_cost import SwitchedLog
from amint_mpc.bench.noise import noise_images
from amint_mpc.bench.worker import Handler, work
from amint_mpc.config import PARTIES, Experiment, Party, load_experiment, load_party
from amint_mpc.data.split import load_split
from amint_mpc.errors import AmintError
from amint_mpc.events import StepEvent
from amint_mpc.limits import FEATURE_LIMIT
from amint_mpc.memory import keep_freed
from amint_mpc.mpc.correlations.base import Memory, bytes_of
from amint_mpc.mpc.correlations.checking import UsedPlans, dealt
from amint_mpc.mpc.correlations.supply import serve_step
from amint_mpc.roles import auditor, coin
from amint_mpc.roles.backends import Backing, Connected, backend_of
from amint_mpc.roles.heads import head_kind
from amint_mpc.roles.links import Links
from amint_mpc.roles.plans import stretches_of, targets
from amint_mpc.roles.secure_head import SecureMintHead
from amint_mpc.roles.seeds import hand_out_seeds
from amint_mpc.transport.channel import ChannelStats
from amint_mpc.transport.connect import connect
from amint_mpc.transport.listener import Listener

OneStep = Callable[[], float]
"""Takes one step; returns the seconds in which nothing went on but the head."""

BATCHES = 4  # of random features, made beforehand
PATIENCE_S = 120  # for the masks of one step, which the parties make


@contextmanager
def opened(settings: dict[str, Any]) -> Iterator[Handler]:
    """Make a party ready.

    Args:
        settings: role, folder (as `host.processes.prepare` makes it), threads, delayed, and work: "head", "train", or
            "noise", which is training on images of noise. room: for the masks of so many steps, where the two parties
            make them; a command that says `ahead` ends when those of so many steps are ready.
    """
    torch.set_num_threads(settings["threads"])
    folder, role = Path(settings["folder"]), settings["role"]
    experiment = load_experiment(folder / "experiment.yaml")
    party = with_room(load_party(folder / role / "party.yaml", role), experiment, settings.get("room"))
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
    with Links(experiment, "developer", _say_nothing) as links, ExitStack() as inside:
        to_auditor = links.add(connect(party.auditor, own, "auditor", wait))
        secret = coin.toss(to_auditor, "developer")
        at = Connected(experiment, party, own, links, to_auditor, _say_nothing, secret)
        backing = inside.enter_context(backend_of(experiment).developer(at))
        from_dealer = links.to["dealer"].stats if "dealer" in links.to else ChannelStats()
        run_log = inside.enter_context(logging_cost.opened(experiment, to_auditor, folder))
        head = backing.make_head(run_log.channel)
        head.share_weights(None, None)
        mint = TimedHead(SecureMintHead(head, to_auditor, experiment, secret), run_log)
        step = head_alone(mint, experiment) if kind == "head" else JointSteps(mint, experiment, party, kind)
        wire = slow_down(to_auditor) if delayed else None

        def handle(command: dict[str, Any]) -> dict[str, Any]:
            _become(wire, command)
            run_log.on = command["log"]
            sent, received = to_auditor.stats.bytes_sent, from_dealer.bytes_received
            clock, peer = to_auditor.stats.rounds, to_auditor.stats.seconds_waiting
            masks, in_head, everywhere = from_dealer.seconds_waiting, mint.seconds, links.bytes_sent
            answer = take_steps(step, command["steps"])
            run_log.drain()
            wait_for_masks(backing, command.get("ahead"))
            return answer | {
                "bytes_sent": to_auditor.stats.bytes_sent - sent,
                "bytes_on_all_links": links.bytes_sent - everywhere,
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
        Links(experiment, "auditor", _say_nothing) as links,
        ExitStack() as inside,
    ):
        backend = backend_of(experiment)
        to_developer = links.add(listener.accept("developer", wait, more=backend.links_to_peer > 1))
        secret = coin.toss(to_developer, "auditor")
        at = Connected(experiment, party, own, links, to_developer, _say_nothing, secret, listener)
        backing = inside.enter_context(backend.auditor(at))
        run_log = inside.enter_context(logging_cost.opened(experiment, to_developer, folder))
        head = backing.make_head(run_log.channel)
        auditor.draw_and_share(head, head_kind(experiment))
        wire = slow_down(to_developer) if delayed else None
        labels = targets(experiment.training.batch)

        def handle(command: dict[str, Any]) -> dict[str, Any]:
            _become(wire, command)
            clock, sent, everywhere = to_developer.stats.rounds, to_developer.stats.bytes_sent, links.bytes_sent
            peer, run_log.on = to_developer.stats.seconds_waiting, command["log"]
            for _ in range(command["steps"]):
                head.train_step(None, labels)
                run_log.step()
            run_log.drain()
            wait_for_masks(backing, command.get("ahead"))
            return {
                "bytes_sent": to_developer.stats.bytes_sent - sent,
                "bytes_on_all_links": links.bytes_sent - everywhere,
                "clock": [clock, to_developer.stats.rounds],
                "waiting_for_peer": to_developer.stats.seconds_waiting - peer,
            }

        yield handle


@contextmanager
def _dealer(experiment: Experiment, party: Party) -> Iterator[Handler]:
    assert party.listen is not None
    own, wait = identity.load(party.keys, "dealer"), party.connect_timeout_s
    keep_freed()
    with (
        Listener(party.listen, own, ["developer", "auditor"]) as listener,
        Links(experiment, "dealer", _say_nothing) as links,
    ):
        to_auditor = links.add(listener.accept("auditor", wait, send_timeout_s=None))
        to_developer = links.add(listener.accept("developer", wait, send_timeout_s=None))
        _, streams = hand_out_seeds(to_developer, to_auditor)
        plans, memory = enumerate(dealt(stretches_of(experiment))), Memory()

        def handle(command: dict[str, Any]) -> dict[str, Any]:
            sent = to_developer.stats.bytes_sent
            for _ in range(command["steps"]):
                number, plan = next(plans)
                serve_step(to_developer, streams, number, plan, memory)
            to_developer.flush()
            return {"bytes_sent": to_developer.stats.bytes_sent - sent}

        yield handle


def with_room(party: Party, experiment: Experiment, steps: int | None) -> Party:
    """A party with room for the masks of the first steps, and half a step more; None: as it is."""
    if steps is None:
        return party
    plans = UsedPlans(stretches_of(experiment))
    sizes = [bytes_of(plans[number], PARTIES.index(party.role)) for number in range(steps)]
    return party.model_copy(update={"ahead_mb": (sum(sizes) + sizes[0] / 2) / 2**20})


def wait_for_masks(backing: Backing, steps: int | None) -> None:
    """Until the masks of so many steps are ready at this party.

    Raises:
        AmintError: they do not come; the supply has ended.
    """
    ready, since = 0, time.monotonic()
    while steps is not None and ready < steps:
        if (ahead := backing.ahead() or 0) != ready:
            ready, since = ahead, time.monotonic()
        elif time.monotonic() - since > PATIENCE_S:
            raise AmintError(f"masks were waited for, and none came for {PATIENCE_S} s: {ready} of {steps} are there")
        else:
            time.sleep(0.002)


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


class JointSteps:
    """Steps of the joint training, one a call; a warm-up that the experiment has is done at once.

    Args:
        kind: "train", or "noise": on images of noise.
    """

    def __init__(self, head: MintHead, experiment: Experiment, party: Party, kind: str) -> None:
        images = noise_images(experiment) if kind == "noise" else load_split(experiment, party.data)
        self.trainer = WatchedTrainer(experiment, images, head, party.device, party.overlap)
        self._events = self.trainer.run()
        for _ in range(experiment.training.warmup_epochs * (experiment.steps_per_epoch + 1)):
            next(self._events)

    def __call__(self) -> float:
        """Take a step; returns the seconds in which nothing went on but the head."""
        while not isinstance(event := next(self._events), StepEvent):
            pass  # the end of an epoch
        return event.secure_seconds


def take_steps(step: OneStep, count: int) -> dict[str, Any]:
    """Take some steps.

    Returns:
        the seconds of each, and those in which nothing went on but the head; of joint steps also the seconds in which
        the device waited for the head, all together, and the most memory that was in use on it.
    """
    whole, blocked = [], []
    for _ in range(count):
        start = time.perf_counter()
        blocked.append(step())
        whole.append(time.perf_counter() - start)
    answer: dict[str, Any] = {"seconds": whole, "blocked": blocked}
    if isinstance(step, JointSteps):
        answer |= {"device_waits": step.trainer.idle.take(), "peak_device_mb": step.trainer.peak_device_mb()}
    return answer


class TimedHead(HeadWrapper):
    """A head that adds up the seconds of its steps, in whichever thread they run."""

    def __init__(self, head: MintHead, run_log: SwitchedLog) -> None:
        super().__init__(head)
        self._log = run_log
        self.seconds = 0.0

    def step(self, features: Tensor, members: int) -> Tensor:
        """See `MintHead.step`."""
        start = time.perf_counter()
        gradient = super().step(features, members)
        self._log.step()
        self.seconds += time.perf_counter() - start
        return gradient


def _become(wire: DelayingWire | None, command: dict[str, Any]) -> None:
    if wire is not None and "rtt_ms" in command:
        wire.become(DelayedLink.of(command["rtt_ms"], command["mbit"]))


def _say_nothing(_: str) -> None:
    """What the roles say is no news here."""


if __name__ == "__main__":
    work(opened)
