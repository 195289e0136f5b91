"""The dealer: makes correlated randomness for the developer and the auditor, and learns only how much they need.

1. Both connect, each over its own authenticated link, and agree on the experiment.
2. Each is sent a seed of its own and the number of this session; the two compare the number between themselves.
3. For every step of the agreed schedule: draw what both will draw, send the corrections to the developer.
Nothing but signs of life is read from the links after the handshake. Rounds between developer and auditor never wait
for the dealer, which runs ahead as far as the developer's memory for it allows.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from amint_mpc import identity
from amint_mpc.config import Experiment, Party
from amint_mpc.errors import UsageError
from amint_mpc.events import Event, Notice, StepEvent
from amint_mpc.mpc.channel import Channel
from amint_mpc.mpc.correlations.base import Plan
from amint_mpc.mpc.correlations.feed import serve
from amint_mpc.mpc.prg import SEED_BYTES, SecretStream
from amint_mpc.mpc.tls import Listener
from amint_mpc.roles import engine, session
from amint_mpc.runfolder import RunFolder


def run(experiment: Experiment, party: Party, folder: RunFolder, emit: Callable[[Event], None]) -> dict[str, Any]:
    """Serve one run. Returns the summary."""
    if party.listen is None:
        raise UsageError("the dealer's party file has no address to listen on", "add listen: {host: ..., port: ...}")
    own = identity.load(party.keys, "dealer")

    def say(text: str) -> None:
        emit(Notice(text))

    with (
        Listener(party.listen, own, ["developer", "auditor"], notify=say) as listener,
        session.Links(experiment, "dealer", say) as links,
    ):
        say(f"waiting for developer and auditor at {listener.address.host}:{listener.address.port}")
        # A developer in its warm-up takes no blocks for as long as that lasts, but gives signs of life: they are read.
        wait = party.connect_timeout_s
        options: dict[str, Any] = {"idle_timeout_s": party.idle_timeout_s, "prefetch_bytes": 4096}
        auditor = links.add(listener.accept("auditor", wait, **options))
        developer = links.add(listener.accept("developer", wait, **options))
        streams = hand_out_seeds(developer, auditor)
        say("dealing")
        start = time.perf_counter()
        total = sum(1 for _ in engine.plans(experiment))
        with session.standing("dealer"):
            blocks = serve(developer, streams, _told(engine.plans(experiment), total, developer, emit))
        summary = {
            "steps": engine.head_steps(experiment),
            "blocks": blocks,
            "seconds": time.perf_counter() - start,
            "mb_sent_per_step": session.train_bytes(experiment) / 1e6,
        }
        folder.finish(summary)
        return summary


def hand_out_seeds(developer: Channel, auditor: Channel) -> tuple[SecretStream, SecretStream]:
    """A fresh seed for each party and a number for the session. Returns the streams of developer and auditor."""
    number = os.urandom(16)
    seeds = os.urandom(SEED_BYTES), os.urandom(SEED_BYTES)
    for channel, seed in zip((developer, auditor), seeds, strict=True):
        channel.send("seed", 0, _tensor(number), _tensor(seed))
    return SecretStream(seeds[0], session.DEALT), SecretStream(seeds[1], session.DEALT)


def _tensor(data: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def _told(plans: Iterator[Plan], total: int, channel: Channel, emit: Callable[[Event], None]) -> Iterator[Plan]:
    """The plans, each reported when it has been dealt."""
    start, sent = time.perf_counter(), channel.stats.bytes_sent
    for number, plan in enumerate(plans, start=1):
        yield plan
        now, bytes_now = time.perf_counter(), channel.stats.bytes_sent
        emit(StepEvent(number, total, 0, "joint", now - start, bytes_sent=bytes_now - sent))
        start, sent = now, bytes_now
