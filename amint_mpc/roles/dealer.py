"""The dealer: makes correlated randomness for the developer and the auditor, and learns only how much they need.

1. Both connect, each over its own authenticated link, and agree on the experiment.
2. Each is sent a seed of its own and the number of this session; the two compare the number between themselves.
3. For every step of the agreed schedule, and some more: draw what both will draw, send the corrections to the
   developer. The two use most of these blocks and check the others (`mpc.correlations.checking`).
4. Sign what was dealt, for both.
Nothing but signs of life is read from the links after the handshake. Rounds between developer and auditor never wait
for the dealer, which runs ahead as far as the developer's memory for it allows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from amint_mpc import identity
from amint_mpc.config import Experiment, Party
from amint_mpc.errors import UsageError
from amint_mpc.events import Event, Notice, StepEvent
from amint_mpc.memory import keep_freed
from amint_mpc.mpc.correlations.base import Plan
from amint_mpc.mpc.correlations.checking import dealt
from amint_mpc.mpc.correlations.supply import serve
from amint_mpc.results import Outcome, Summary
from amint_mpc.roles.links import Links, name_lost_third_party
from amint_mpc.roles.plans import correction_bytes, head_steps, stretches_of
from amint_mpc.roles.seeds import hand_out_seeds, sign_off
from amint_mpc.runfolder import RunFolder
from amint_mpc.transport.channel import Channel
from amint_mpc.transport.listener import Listener


def run(experiment: Experiment, party: Party, folder: RunFolder, on_event: Callable[[Event], None]) -> Summary:
    """Serve one run. Returns the summary."""
    if party.listen is None:
        raise UsageError("the dealer's party file has no address to listen on", "Add listen: {host: ..., port: ...}")
    own = identity.load(party.keys, "dealer")
    keep_freed()

    def on_notice(text: str) -> None:
        on_event(Notice(text))

    with (
        Listener(party.listen, own, ["developer", "auditor"], on_notice=on_notice) as listener,
        Links(experiment, "dealer", on_notice) as links,
    ):
        on_notice(f"waiting for developer and auditor at {listener.address}")
        # A developer in its warm-up takes no blocks for as long as that lasts, but gives signs of life: they are read.
        wait = party.connect_timeout_s
        options: dict[str, Any] = {"idle_timeout_s": party.idle_timeout_s, "prefetch_bytes": 4096}
        auditor = links.add(listener.accept("auditor", wait, **options))
        developer = links.add(listener.accept("developer", wait, **options))
        session, streams = hand_out_seeds(developer, auditor)
        on_notice("dealing")
        start = time.perf_counter()
        with name_lost_third_party("dealer"):
            chain = serve(developer, streams, _told(experiment, developer, on_event))
            sign_off(own, experiment, session, chain, (developer, auditor))
        return folder.finish(
            Outcome(
                steps=head_steps(experiment),
                blocks=chain.blocks,
                seconds=time.perf_counter() - start,
                mb_sent_per_step=correction_bytes(experiment) / 1e6,
            )
        )


def _told(experiment: Experiment, channel: Channel, on_event: Callable[[Event], None]) -> Iterator[Plan]:
    """The plans of all blocks. Each is reported when it has been dealt; which ones are used the dealer cannot know."""
    total = sum(part.dealt for part in stretches_of(experiment))
    for number, plan in enumerate(dealt(stretches_of(experiment)), start=1):
        start, sent = time.perf_counter(), channel.stats.bytes_sent
        yield plan
        seconds = time.perf_counter() - start
        on_event(StepEvent(number, total, 0, "dealing", seconds, bytes_sent=channel.stats.bytes_sent - sent))
