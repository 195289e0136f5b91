"""The developer: has the images and the classifier, trains it in plaintext, and never holds the head.

1. Load the images; connect to the auditor and agree on the experiment; then to the dealer, and agree on the session.
   Where the experiment says `two-party` there is no dealer: SPU is started instead, and joined with the auditor's.
2. Receive a uniformly random share of the head that the auditor has drawn.
3. Train. In every joint step the features go into the secure head and their gradient comes back, to the developer
   alone. When the schedule says so, features of whole sets are scored; the scores go to the auditor alone.
4. Give the share of the head back to the auditor, and learn the figures that the experiment says are shared.

`joined` does 1 and 2 and gives the head to any training loop (examples/own_loop.py); `run` is the loop of this program.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from amint_mpc import identity
from amint_mpc.amint.stopping import told as stop_told
from amint_mpc.amint.trainer import Trainer
from amint_mpc.config import Address, Experiment, Party, Role
from amint_mpc.data.split import SplitImages, load_split
from amint_mpc.errors import UsageError
from amint_mpc.events import EpochEvent, Event, Notice, StepEvent
from amint_mpc.evidence.commitments import SECRET_BYTES, Commitments, DataCommitment
from amint_mpc.evidence.files import SECRET, write_new
from amint_mpc.mpc.channel import FramedChannel
from amint_mpc.mpc.correlations.base import DEVELOPER
from amint_mpc.mpc.correlations.feed import Supply
from amint_mpc.mpc.tls import connect
from amint_mpc.mpc.two_party.engine import SAID, SpuEngine, check_installed
from amint_mpc.roles import embedded, engine, session, stopping
from amint_mpc.roles.heads import Masks, head_kind
from amint_mpc.roles.record import recording
from amint_mpc.roles.tape import Tape
from amint_mpc.roles.twin import named_figures
from amint_mpc.runfolder import RunFolder


@contextmanager
def joined(
    experiment: Experiment,
    party: Party,
    say: Callable[[str], None] = lambda _: None,
    folder: RunFolder | None = None,
    data: DataCommitment | None = None,
) -> Iterator[engine.SecureMintHead]:
    """The secure head of a run with auditor and dealer, for as long as the context lasts.

    Leaving it ends the links: with a goodbye, or after an error with its reason.

    Args:
        say: told what happens, a sentence at a time.
        folder: where the log goes; a loop of one's own has none and keeps no log.
        data: the commitment to its images, for the log.

    Raises:
        UsageError: the experiment wants a log, and there is no folder.
        PeerError: a peer is absent, is not the one whose certificate is pinned, or has another experiment.
    """
    if experiment.evidence.log and folder is None:
        raise UsageError("the experiment keeps a log, a training loop of your own cannot", "set evidence.log to false")
    if experiment.two_party:
        check_installed()
    own = identity.load(party.keys, "developer")
    with session.Links(experiment, "developer", say) as links, ExitStack() as stack:

        def link(peer: Role, address: Address | None, prefetch_mb: float = 0) -> FramedChannel:
            if address is None:
                raise UsageError(f"the party file has no address of the {peer}", f"add {peer}: {{port: ...}}")
            say(f"connecting to the {peer} at {address.host}:{address.port}")
            options = {"idle_timeout_s": party.idle_timeout_s, "prefetch_bytes": int(prefetch_mb * 2**20)}
            with embedded.offered() if peer == "dealer" else nullcontext():
                channel = connect(address, own, peer, party.connect_timeout_s, say, **options)
            return links.add(channel)

        # read ahead where SPU computes for long, so that the loss of the auditor is noticed meanwhile
        auditor = link("auditor", party.auditor, session.AHEAD_MB if experiment.two_party else 0)
        supply: Masks
        if experiment.two_party:
            assert party.auditor is not None
            say(SAID)
            wait = party.connect_timeout_s
            second = links.also(connect(party.auditor, own, "auditor", wait, say, idle_timeout_s=None))
            supply = stack.enter_context(SpuEngine(second, DEVELOPER, auditor.check, party.idle_timeout_s))
        elif experiment.insecure:
            supply = embedded.developers_supply(auditor)
        else:
            dealer = link("dealer", party.dealer, party.dealer_memory_mb)
            number, stream = session.receive_seed(dealer)
            session.same_session(auditor, number)
            supply = Supply(stream, DEVELOPER, dealer)
        with (
            session.standing("developer") if experiment.security.correlations == "dealer" else nullcontext(),
            recording(experiment, own, party.keys, links.sessions["auditor"], auditor, folder, data) as pen,
        ):
            head = head_kind(experiment).secure(pen.channel, DEVELOPER, supply)
            head.share_weights(None, None)
            stopper = stopping.developers(head, auditor, experiment, say)
            yield engine.SecureMintHead(head, auditor, experiment, stopper, pen)


def run(experiment: Experiment, party: Party, folder: RunFolder, emit: Callable[[Event], None]) -> dict[str, Any]:
    """Take part in one run. Returns the summary."""
    if experiment.head.features is not None:
        raise UsageError(
            "this experiment has head.features: it is for a training loop of your own",
            "start your loop, as examples/own_loop.py does, or leave head.features out",
        )
    images = load_split(experiment, party.data, lambda text: emit(Notice(text)))
    warm, evaluations = experiment.training.warmup_epochs, engine.epochs_with_figures(experiment)
    committed = _commitment(images, folder) if experiment.evidence.log else None
    with joined(experiment, party, lambda text: emit(Notice(text)), folder, committed) as head:
        tape = Tape(head, folder.path) if experiment.evidence.replay else None
        trainer = Trainer(experiment, images, tape or head, party.device, party.overlap, head.stopper)

        def kept(epoch: int) -> str | None:
            return None if tape is None else tape.keep(epoch, trainer.state())

        start, joint = time.perf_counter(), []
        if not warm:
            head.pen.checkpoint(trainer.backbone.weights(), {}, replay=kept(0))
        for event in trainer.run():
            if isinstance(event, StepEvent) and event.phase != "warm-up":
                joint.append(event)
                event = replace(event, rounds=head.meter.last_rounds, bytes_sent=head.meter.last_bytes)
            if isinstance(event, EpochEvent):
                weights = trainer.backbone.weights()
                folder.save_tensors("backbone.safetensors", weights)
                if event.phase == "warm-up" and event.epoch == warm:
                    head.pen.checkpoint(weights, {}, replay=kept(warm))
                if event.phase == "joint" and event.epoch in evaluations:
                    head.pen.scored()
                    shared = head.epoch_figures(event.epoch)
                    stop = trainer.stopped is not None
                    head.pen.checkpoint(weights, shared, stop, kept(event.epoch))
                    event = replace(event, figures=shared | event.figures)
            emit(event)
        head.pen.scored()
        told = head.finish()
        last = None if tape is None else tape.keep(experiment.last_epoch, None)
        head.pen.end(trainer.backbone.weights(), told, last)
        summary = {
            "seconds": time.perf_counter() - start,
            **stop_told(experiment, trainer.stopped),
            **images.summary(),
            **engine.joint_steps(joint),
            **head.meter.summary(),
            "head_engine": experiment.head_engine,
            "figures": told | named_figures(None, trainer.task_accuracy()),
        }
    folder.finish(summary)
    return folder.summary or summary


def _commitment(images: SplitImages, folder: RunFolder) -> DataCommitment:
    """To the images; what opens it stays in the folder."""
    secret = os.urandom(SECRET_BYTES)
    public = Commitments(images, secret).public()
    write_new(folder.path / SECRET, secret.hex().encode() + b"\n", mode=0o600)
    return public
