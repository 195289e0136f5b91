"""The developer: has the images and the classifier, trains it in plaintext, and never holds the head.

1. Load the images; connect to the auditor and agree on the experiment; then join the backend that the experiment names
   (`roles.backends`): a dealer, or none.
2. Receive a uniformly random share of the head that the auditor has drawn.
3. Train. In every joint step the features go into the secure head and their gradient comes back, to the developer
   alone. When the schedule says so, features of whole sets are scored; the scores go to the auditor alone.
4. Give the share of the head back to the auditor, and learn the figures that the experiment says are shared.

`join` is the place of a training loop of one's own (examples/own_loop.py), `run` that of the loop of this program;
both go through an `Audit` and are written down by a `Part`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from amint_mpc import identity
from amint_mpc.amint.audit import Audit
from amint_mpc.amint.metrics import accuracy_figure
from amint_mpc.amint.plaintext_head import MintHead
from amint_mpc.amint.seat import Seat
from amint_mpc.amint.stopping import told as stop_told
from amint_mpc.amint.trainer import Trainer
from amint_mpc.config import Experiment, Party, Role, load_experiment, load_party
from amint_mpc.data.split import SplitImages, load_split
from amint_mpc.errors import UsageError
from amint_mpc.eventlines import epoch_line
from amint_mpc.events import EpochEvent, Event, Notice, StepEvent
from amint_mpc.evidence.canonical import record_digest
from amint_mpc.evidence.commitments import SECRET_BYTES, Commitments, DataCommitment
from amint_mpc.evidence.files import SECRET, write_secret
from amint_mpc.mpc.shared_head import SharedHead
from amint_mpc.printable import printable
from amint_mpc.results import Figure, Outcome, Summary
from amint_mpc.roles import stopping
from amint_mpc.roles.backends import Backing, Connected, backend_of
from amint_mpc.roles.coin import toss
from amint_mpc.roles.heads import check_experiment
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
def join(
    experiment: Experiment | Path | str,
    role: Role = "developer",
    party: Party | Path | str | None = None,
    *,
    name: str | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Iterator[Audit]:
    """The developer's place in a run, for a training loop of one's own, for as long as the context lasts.

    The loop taps its model, iterates the loader, adds `audit.loss()` to its loss and ends with `audit.finish()`
    (`amint_mpc.amint.audit`). All that a run of this program has comes with it: a run folder, the log, evaluation while
    training, sealed epochs, what a replay needs. The auditor (and the dealer, where there is one) run `amint-mpc run`.

    Leaving the context ends the links: with a goodbye, or after an error with its reason.

    Args:
        experiment: or its file or name; with `head.features`, the number of features that the tapped maps give.
        role: developer; the others have no loop.
        party: this machine's settings, or their file; None: what `amint_mpc.load_party(None, "developer")` finds.
        name: of the run folder, within the party's `runs`; None: experiment, role and time.
        on_event: told each notice, step and epoch; None: prints notices and epochs.

    Raises:
        UsageError: a folder or an address is missing; or the loop left before `finish`.
        PeerError: a peer is absent, is not the one whose certificate is pinned, or has another experiment.
    """
    if role != "developer":
        raise UsageError(f"the {role} has no training loop", f"Start it with amint-mpc run --role {role}")
    agreed = experiment if isinstance(experiment, Experiment) else load_experiment(experiment)
    check_experiment(agreed)
    own = party if isinstance(party, Party) else load_party(None if party is None else Path(party), "developer")
    if own.threads:
        torch.set_num_threads(own.threads)
    shown = on_event or _printed
    with RunFolder.create(own.runs, agreed, "developer", name) as folder:

        def tell(event: Event) -> None:
            folder.record(event)
            shown(event)

        def connect(
            committed: DataCommitment | None, kept: KeptFrames | None
        ) -> AbstractContextManager[SecureMintHead]:
            return _joined(agreed, own, partial(_told, tell), folder, committed, kept)

        with audited(agreed, own, folder, tell, connect) as audit:
            yield audit


@contextmanager
def audited(
    experiment: Experiment,
    party: Party,
    folder: RunFolder,
    on_event: Callable[[Event], None],
    connect: Callable[[DataCommitment | None, KeptFrames | None], AbstractContextManager[SecureMintHead]],
) -> Iterator[Audit]:
    """The audit of a loop of one's own, whose head is reached once its images are known.

    Args:
        connect: the head of the run; is given the commitment to the images, and what keeps this side's frames.

    Raises:
        UsageError: the loop left before `finish`.
    """
    with ExitStack() as stack:

        def take_seat(images: SplitImages) -> Seat:
            committed = None
            if experiment.evidence.log:
                _told(on_event, "reading every image once, for the commitment to them")
                committed = _commitment(images, folder)
            kept = stack.enter_context(keep_frames(experiment, folder))
            head = stack.enter_context(connect(committed, kept))
            stack.callback(audit.close)
            part = Part(experiment, folder, on_event, images, head, kept)
            part.audit = audit
            return Seat(part.head, part, head.order, head.stopper)

        def read() -> SplitImages:
            return load_split(experiment, party.data, partial(_told, on_event))

        audit = Audit(experiment, take_seat, read, party.overlap)
        yield audit
        audit.check_finished()


@contextmanager
def _joined(
    experiment: Experiment,
    party: Party,
    on_notice: Callable[[str], None],
    folder: RunFolder | None = None,
    committed: DataCommitment | None = None,
    kept: KeptFrames | None = None,
) -> Iterator[SecureMintHead]:
    """The secure head of a run with the auditor, for as long as the context lasts.

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
    """Steps 3 and 4, once connected, with the loop of this program.

    Args:
        images: of `prepare`. head: of `receive_head`. kept: gets the features that go into the head.
    """
    part = Part(experiment, folder, on_event, images, head, kept)
    trainer = Trainer(experiment, images, part.head, party.device, party.overlap, head.stopper, head.order)
    part.audit, part.state = trainer.audit, trainer.state
    part.ready()
    for event in trainer.run():
        part.tell(event)
    part.finish()
    return part.summary


class Part:
    """Writes down what an audit does, into the log and the run folder: a `amint.seat.Watch`.

    Args:
        as `take_part`.

    Attributes:
        head: what the training gets as its head. summary: after `finish`.
        audit: whose steps these are. state: what is kept of the training at a checkpoint; None: what the audit knows.
    """

    audit: Audit
    summary: Summary

    def __init__(
        self,
        experiment: Experiment,
        folder: RunFolder,
        on_event: Callable[[Event], None],
        images: SplitImages,
        head: SecureMintHead,
        kept: KeptFrames | None,
    ) -> None:
        self._experiment, self._folder, self._on_event, self._images = experiment, folder, on_event, images
        self._secure, self._evaluations = head, epochs_with_figures(experiment)
        self._tape = Tape(head, folder.path, kept) if experiment.evidence.replay else None
        self.head: MintHead = self._tape or head
        self.state: Callable[[], dict[str, Tensor]] | None = None
        self._start, self._steps = time.perf_counter(), list[StepEvent]()

    def ready(self) -> None:
        """See `Watch`: without a warm-up, the first checkpoint."""
        self._start = time.perf_counter()
        if not self._experiment.training.warmup_epochs:
            self._secure.run_log.checkpoint(self.audit.weights(), {}, replay=self._kept(0))

    def tell(self, event: StepEvent | EpochEvent) -> None:
        """See `Watch`: after the warm-up and each evaluation, a checkpoint."""
        if isinstance(event, StepEvent):
            if event.phase != "warm-up":
                meter = self._secure.sealed_meter if event.phase == "sealed" else self._secure.meter
                ahead = self._secure.ahead()
                event = replace(event, rounds=meter.last_rounds, bytes_sent=meter.last_bytes, ahead=ahead)
                self._steps.append(event)
            self._on_event(event)
            return
        log, weights = self._secure.run_log, self.audit.weights()
        self._folder.save_tensors("backbone.safetensors", weights)
        if event.phase == "warm-up" and event.epoch == self._experiment.training.warmup_epochs:
            log.checkpoint(weights, {}, replay=self._kept(event.epoch))
        if event.phase == "joint" and event.epoch in self._evaluations:
            log.scored()
            shared = self._secure.epoch_figures(event.epoch)
            log.checkpoint(weights, shared, self.audit.stopped is not None, self._kept(event.epoch))
            event = replace(event, figures=shared | event.figures)
        self._on_event(event)

    def finish(self) -> dict[str, Figure]:
        """See `Watch`: step 4, and the log's end."""
        experiment, head, audit = self._experiment, self._secure, self.audit
        head.run_log.scored()
        told = head.finish()
        last = None if self._tape is None else self._tape.keep(experiment.last_epoch, None)
        accuracy = accuracy_figure(audit.right("unseen_report").double(), experiment.seed)
        found = Outcome(
            seconds=time.perf_counter() - self._start,
            head_engine=experiment.head_engine,
            figures=told | {"task_accuracy": accuracy},
        )
        costs = all_steps(self._steps) | head.meter.summary()
        outcome = found | costs | self._images.summary() | stop_told(experiment, audit.stopped)
        files = {"summary.json": record_digest(self._folder.summary_record(outcome))}
        if head.masks is not None:
            head.masks.note(head.run_log)
        head.run_log.end(audit.weights(), told, last, files)
        self.summary = self._folder.finish(outcome)
        return dict(self.summary.figures)

    def _kept(self, epoch: int) -> str | None:
        """The digest of what is kept of the training now, with `evidence.replay`."""
        return None if self._tape is None else self._tape.keep(epoch, (self.state or self.audit.state)())


def _commitment(images: SplitImages, folder: RunFolder) -> DataCommitment:
    """To the images; what opens it stays in the folder."""
    secret = os.urandom(SECRET_BYTES)
    public = Commitments(images, secret).public()
    write_secret(folder.path / SECRET, secret)
    return public


def _printed(event: Event) -> None:
    """For whoever starts a loop in a terminal."""
    if isinstance(event, Notice):
        print(printable(event.text))
    elif isinstance(event, EpochEvent):
        print(epoch_line(event))
