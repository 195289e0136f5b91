"""The developer: has the images and the classifier, trains it in plaintext, and never holds the head.

1. Load the images; connect to the auditor and agree on the experiment; then join the backend that the experiment names
   (`roles.backends`): a dealer, or none.
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
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from amint_mpc import identity
from amint_mpc.amint.stopping import told as stop_told
from amint_mpc.amint.trainer import Trainer
from amint_mpc.config import Experiment, Party
from amint_mpc.data.split import SplitImages, load_split
from amint_mpc.errors import UsageError
from amint_mpc.events import EpochEvent, Event, Notice, StepEvent
from amint_mpc.evidence.canonical import record_digest
from amint_mpc.evidence.commitments import SECRET_BYTES, Commitments, DataCommitment
from amint_mpc.evidence.files import SECRET, write_secret
from amint_mpc.mpc.shared_head import SharedHead
from amint_mpc.results import Outcome, Summary
from amint_mpc.roles import stopping
from amint_mpc.roles.backends import Backing, Connected, backend_of
from amint_mpc.roles.coin import toss
from amint_mpc.roles.links import Links
from amint_mpc.roles.meter import all_steps
from amint_mpc.roles.plans import epochs_with_figures
from amint_mpc.roles.secure_head import SecureMintHead
from amint_mpc.runfolder import RunFolder
from amint_mpc.runlog.interface import RunLog
from amint_mpc.runlog.kept_frames import KeptFrames, file_of_masks, keeps_frames
from amint_mpc.runlog.recorder import keep_log
from amint_mpc.runlog.replay_tape import Tape
from amint_mpc.transport.channel import Channel
from amint_mpc.transport.connect import connect


@contextmanager
def joined(
    experiment: Experiment, party: Party, on_notice: Callable[[str], None] = lambda _: None
) -> Iterator[SecureMintHead]:
    """The secure head of a run with the auditor, for as long as the context lasts.

    Leaving it ends the links: with a goodbye, or after an error with its reason.

    Args:
        on_notice: told what happens, a sentence at a time.

    Raises:
        UsageError: the experiment wants a log, which a loop of one's own cannot keep; or an address is missing.
        PeerError: a peer is absent, is not the one whose certificate is pinned, or has another experiment.
    """
    if experiment.evidence.log:
        raise UsageError("the experiment keeps a log, a training loop of your own cannot", "Set evidence.log to false")
    with _joined(experiment, party, on_notice) as head:
        yield head


@contextmanager
def _joined(
    experiment: Experiment,
    party: Party,
    on_notice: Callable[[str], None],
    folder: RunFolder | None = None,
    committed: DataCommitment | None = None,
    kept: KeptFrames | None = None,
) -> Iterator[SecureMintHead]:
    """The same.

    Args:
        folder: where the log goes. committed: to the images, for the log.
        kept: gets what this end of the head receives.
    """
    backend, address, own = backend_of(experiment), party.auditor, identity.load(party.keys, "developer")
    backend.check(party)
    if address is None:
        raise UsageError("the party file has no address of the auditor", "Add auditor: {host: ..., port: ...}")
    with Links(experiment, "developer", on_notice) as links:
        on_notice(f"connecting to the auditor at {address}")
        limits = {"idle_timeout_s": party.idle_timeout_s, "prefetch_bytes": int(backend.read_ahead_mb * 2**20)}
        auditor = links.add(connect(address, own, "auditor", party.connect_timeout_s, on_notice, **limits))
        session, coin = links.sessions["auditor"], toss(auditor, "developer")
        with (
            backend.developer(Connected(experiment, party, own, links, auditor, on_notice, coin, kept=kept)) as backing,
            keep_log(experiment, own, party.keys, session, auditor, folder, committed, backing.dealer, coin) as log,
        ):
            made = backing.make_head(log.channel if kept is None else kept.link(log.channel))
            yield receive_head(made, auditor, experiment, on_notice, log, coin, backing)


def receive_head(
    head: SharedHead,
    auditor: Channel,
    experiment: Experiment,
    on_notice: Callable[[str], None],
    log: RunLog,
    coin: bytes,
    backing: Backing | None = None,
) -> SecureMintHead:
    """Step 2, once connected.

    Args:
        head: at this party, without weights. auditor: the link. log: of this run. coin: the two parties' secret.
        backing: of the backend; None where nobody is told of the masks.
    """
    head.share_weights(None, None)
    stopper = stopping.developers(head, auditor, experiment, on_notice)
    return SecureMintHead(head, auditor, experiment, coin, stopper, log, backing)


def run(experiment: Experiment, party: Party, folder: RunFolder, on_event: Callable[[Event], None]) -> Summary:
    """Take part in one run. Returns the summary."""
    images, committed = prepare(experiment, party, folder, on_event)
    told = partial(_told, on_event)
    with (
        keep_frames(experiment, folder) as kept,
        _joined(experiment, party, told, folder, committed, kept) as head,
    ):
        return take_part(experiment, party, folder, on_event, images, head, kept)


@contextmanager
def keep_frames(experiment: Experiment, folder: RunFolder) -> Iterator[KeptFrames | None]:
    """What keeps the developer's side of the head, where the experiment wants that."""
    if not keeps_frames(experiment):
        yield None
        return
    with KeptFrames(folder.path, file_of_masks(experiment)) as kept:
        yield kept


def _told(on_event: Callable[[Event], None], text: str) -> None:
    on_event(Notice(text))


def prepare(
    experiment: Experiment, party: Party, folder: RunFolder, on_event: Callable[[Event], None]
) -> tuple[SplitImages, DataCommitment | None]:
    """What comes before any link: the images, and the commitment to them where the run keeps a log.

    Raises:
        UsageError, DataError: this experiment is for a loop of one's own, or its images are not here.
    """
    if experiment.head.features is not None:
        raise UsageError(
            "this experiment has head.features: it is for a training loop of your own",
            "Start your loop, as examples/own_loop.py does, or leave head.features out",
        )
    images = load_split(experiment, party.data, lambda text: on_event(Notice(text)))
    committed = _commitment(images, folder) if experiment.evidence.log else None
    return images, committed


def take_part(
    experiment: Experiment,
    party: Party,
    folder: RunFolder,
    on_event: Callable[[Event], None],
    images: SplitImages,
    head: SecureMintHead,
    kept: KeptFrames | None = None,
) -> Summary:
    """Steps 3 and 4, once connected.

    Args:
        images: of `prepare`. head: of `receive_head`. kept: gets the features that go into the head.
    """
    warm, evaluations = experiment.training.warmup_epochs, epochs_with_figures(experiment)
    tape = Tape(head, folder.path, kept) if experiment.evidence.replay else None
    trainer = Trainer(experiment, images, tape or head, party.device, party.overlap, head.stopper, head.order)

    def state(epoch: int) -> str | None:
        return None if tape is None else tape.keep(epoch, trainer.state())

    start, steps = time.perf_counter(), []
    if not warm:
        head.run_log.checkpoint(trainer.backbone.weights(), {}, replay=state(0))
    for event in trainer.run():
        if isinstance(event, StepEvent) and event.phase != "warm-up":
            meter = head.sealed_meter if event.phase == "sealed" else head.meter
            event = replace(event, rounds=meter.last_rounds, bytes_sent=meter.last_bytes, ahead=head.ahead())
            steps.append(event)
        if isinstance(event, EpochEvent):
            weights = trainer.backbone.weights()
            folder.save_tensors("backbone.safetensors", weights)
            if event.phase == "warm-up" and event.epoch == warm:
                head.run_log.checkpoint(weights, {}, replay=state(warm))
            if event.phase == "joint" and event.epoch in evaluations:
                head.run_log.scored()
                shared = head.epoch_figures(event.epoch)
                stop = trainer.stopped is not None
                head.run_log.checkpoint(weights, shared, stop, state(event.epoch))
                event = replace(event, figures=shared | event.figures)
        on_event(event)
    head.run_log.scored()
    told = head.finish()
    last = None if tape is None else tape.keep(experiment.last_epoch, None)
    found = Outcome(
        seconds=time.perf_counter() - start,
        head_engine=experiment.head_engine,
        figures=told | {"task_accuracy": trainer.task_accuracy()},
    )
    costs = all_steps(steps) | head.meter.summary()
    outcome = found | costs | images.summary() | stop_told(experiment, trainer.stopped)
    files = {"summary.json": record_digest(folder.summary_record(outcome))}
    if head.masks is not None:
        head.masks.note(head.run_log)
    head.run_log.end(trainer.backbone.weights(), told, last, files)
    return folder.finish(outcome)


def _commitment(images: SplitImages, folder: RunFolder) -> DataCommitment:
    """To the images; what opens it stays in the folder."""
    secret = os.urandom(SECRET_BYTES)
    public = Commitments(images, secret).public()
    write_secret(folder.path / SECRET, secret)
    return public
