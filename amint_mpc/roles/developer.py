"""The developer: has the images and the classifier, trains it in plaintext, and never holds the head.

1. Load the images; connect to the dealer and the auditor; agree on the experiment and the session.
2. Receive a uniformly random share of the head that the auditor has drawn.
3. Train. In every joint step the features go into the secure head and their gradient comes back, to the developer
   alone. When the schedule says so, features of whole sets are scored; the scores go to the auditor alone.
4. Give the share of the head back to the auditor, and learn the figures that the experiment says are shared.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from amint_mpc import identity
from amint_mpc.amint.trainer import Trainer
from amint_mpc.config import Address, Experiment, Party, Role
from amint_mpc.data.split import load_split
from amint_mpc.errors import UsageError
from amint_mpc.events import EpochEvent, Event, Notice, StepEvent
from amint_mpc.mpc.channel import Channel
from amint_mpc.mpc.correlations.base import DEVELOPER
from amint_mpc.mpc.correlations.feed import Supply
from amint_mpc.mpc.head import SecureHead
from amint_mpc.mpc.tls import connect
from amint_mpc.roles import embedded, engine, session
from amint_mpc.roles.twin import named_figures
from amint_mpc.runfolder import RunFolder


def run(experiment: Experiment, party: Party, folder: RunFolder, emit: Callable[[Event], None]) -> dict[str, Any]:
    """Take part in one run. Returns the summary."""
    own = identity.load(party.keys, "developer")
    images = load_split(experiment, party.data)

    def say(text: str) -> None:
        emit(Notice(text))

    with session.Links(experiment, "developer", say) as links:

        def link(peer: Role, address: Address | None, prefetch_mb: float = 0) -> Channel:
            if address is None:
                raise UsageError(
                    f"the party file has no address of the {peer}", f"add {peer}: {{host: ..., port: ...}}"
                )
            say(f"connecting to the {peer} at {address.host}:{address.port}")
            timeouts = {"idle_timeout_s": party.idle_timeout_s, "prefetch_bytes": int(prefetch_mb * 2**20)}
            return links.add(connect(address, own, peer, party.connect_timeout_s, say, **timeouts))

        if experiment.insecure:
            auditor = link("auditor", party.auditor)
            supply = embedded.developers_supply(auditor)
        else:
            dealer = link("dealer", party.dealer, party.dealer_memory_mb)
            number, stream = session.receive_seed(dealer)
            auditor = link("auditor", party.auditor)
            session.same_session(auditor, number)
            supply = Supply(stream, DEVELOPER, dealer)
        return _train(experiment, party, folder, emit, images, auditor, supply)


def _train(
    experiment: Experiment,
    party: Party,
    folder: RunFolder,
    emit: Callable[[Event], None],
    images: Any,
    auditor: Channel,
    supply: Supply,
) -> dict[str, Any]:
    head = SecureHead(auditor, DEVELOPER, supply, engine.head_inputs(experiment), experiment.head.hidden)
    head.share_weights(None, None)
    meter = engine.Meter(auditor)
    trainer = Trainer(experiment, images, engine.SecureMintHead(head, experiment, meter), party.device)
    start, joint = time.perf_counter(), []
    periodic = session.epochs_with_figures(experiment)
    for event in trainer.run():
        if isinstance(event, StepEvent) and event.phase == "joint":
            joint.append(event)
            event = replace(event, rounds=meter.last_rounds, bytes_sent=meter.last_bytes)
        if isinstance(event, EpochEvent):
            folder.save_tensors("backbone.safetensors", trainer.backbone.weights())
            if event.epoch in periodic and experiment.disclosure.epoch_figures:
                told = session.check_figures(auditor.receive_json("figures"))
                event = replace(event, figures=event.figures | {name: f["value"] for name, f in told.items()})
        emit(event)
    head.open_weights()
    seconds = time.perf_counter() - start
    figures = named_figures(None, trainer.task_accuracy())
    if experiment.disclosure.final_figures:
        figures |= session.check_figures(auditor.receive_json("figures"))
    summary = {
        "seconds": seconds,
        "images": images.digest(),
        **engine.joint_steps(joint),
        **meter.summary(),
        "figures": figures,
    }
    folder.finish(summary)
    return folder.summary or summary
