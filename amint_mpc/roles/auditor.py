"""The auditor: owns the head, and learns its scores and in the end its weights; never images or activations.

1. Listen for the developer and agree on the experiment; then join the backend that the experiment names
   (`roles.backends`): a dealer, or none.
2. Draw the head, alone, and share it: both shares are uniformly random.
3. Walk the same schedule as the developer: take part in every step, learn the scores of every scoring; with
   `training.patience`, tell the developer after each evaluation whether to stop.
4. Open the head, save it; choose the threshold on calibration images and read the report images once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from amint_mpc import identity
from amint_mpc.amint.metrics import calibration_figures, membership_figures
from amint_mpc.amint.schedule import ScheduleCursor, ScoreSets, ShareFeatures, TrainStep
from amint_mpc.amint.scoring import ScoringOrder, drawn_from, sets_of
from amint_mpc.amint.stopping import told
from amint_mpc.config import Experiment, Party
from amint_mpc.errors import UsageError
from amint_mpc.events import Event, Notice
from amint_mpc.evidence.canonical import record_digest, tensors_digest
from amint_mpc.mpc.correlations.prg import SEED_BYTES, SecretStream
from amint_mpc.mpc.shared_head import SharedHead
from amint_mpc.results import Outcome, Summary
from amint_mpc.roles import stopping
from amint_mpc.roles.auditor_events import AuditorEvents
from amint_mpc.roles.backends import Backing, Connected, backend_of
from amint_mpc.roles.coin import toss
from amint_mpc.roles.heads import HeadKind, head_kind, secure_optimizer
from amint_mpc.roles.links import Links
from amint_mpc.roles.masks import MasksEnded
from amint_mpc.roles.plans import sealed_rows, targets
from amint_mpc.roles.scoring import scored
from amint_mpc.runfolder import RunFolder
from amint_mpc.runlog.interface import RunLog
from amint_mpc.runlog.recorder import keep_log
from amint_mpc.transport.channel import Channel
from amint_mpc.transport.listener import Listener

FIRST_HEAD = "first-head.safetensors"
"""In the auditor's folder beside the final head, which began with it: a secret of the same kind."""


def run(experiment: Experiment, party: Party, folder: RunFolder, on_event: Callable[[Event], None]) -> Summary:
    """Take part in one run. Returns the summary."""
    backend, own = backend_of(experiment), identity.load(party.keys, "auditor")
    if party.listen is None:
        raise UsageError("the auditor's party file has no address to listen on", "Add listen: {host: ..., port: ...}")
    backend.check(party)

    def on_notice(text: str) -> None:
        on_event(Notice(text))

    with (
        Listener(party.listen, own, ["developer"], on_notice=on_notice) as listener,
        Links(experiment, "auditor", on_notice) as links,
    ):
        # The developer first: whether there is a dealer at all is one of the terms that the two compare.
        on_notice(f"waiting for the developer at {listener.address}")
        limits = {"idle_timeout_s": party.idle_timeout_s, "prefetch_bytes": int(backend.read_ahead_mb * 2**20)}
        more = backend.links_to_peer > 1
        developer = links.add(listener.accept("developer", party.connect_timeout_s, more=more, **limits))
        session, coin = links.sessions["developer"], toss(developer, "auditor")
        with (
            backend.auditor(Connected(experiment, party, own, links, developer, on_notice, coin, listener)) as backing,
            keep_log(experiment, own, party.keys, session, developer, folder, None, backing.dealer, coin) as log,
        ):
            head = backing.make_head(log.channel)
            return take_part(experiment, folder, on_event, developer, head, log, coin, backing)


def take_part(
    experiment: Experiment,
    folder: RunFolder,
    on_event: Callable[[Event], None],
    developer: Channel,
    head: SharedHead,
    log: RunLog,
    coin: bytes,
    backing: Backing,
) -> Summary:
    """Steps 2 to 4, once connected.

    Args:
        developer: the link. head: at this party, without weights. log: of this run. coin: the two parties' secret.
        backing: of the backend (`roles.backends`).
    """
    kind, labels, order = head_kind(experiment), targets(experiment.training.batch), drawn_from(coin)
    rows_of_sealed = sealed_rows(experiment, coin)
    first = kind.stored(draw_and_share(head, kind))
    folder.save_tensors(FIRST_HEAD, first)
    events = AuditorEvents(experiment, developer, backing.ahead, on_event)
    stopper, cursor = stopping.auditors(head, developer, experiment), ScheduleCursor(experiment)
    stopped: int | None = None
    log.checkpoint(None, {})  # waits for the developer's warm-up
    for item in cursor:
        if isinstance(item, TrainStep):
            with events.step(item):
                if item.sealed:
                    rows = rows_of_sealed[item.number]
                    head.train_on_shared(rows, targets(rows.batch), secure_optimizer(experiment, rows))
                else:
                    head.train_step(None, labels)
            if not item.sealed:
                log.step()
            elif item.number == len(rows_of_sealed) - 1:
                log.sealed()
            continue
        if isinstance(item, ShareFeatures):
            first = kind.stored(draw_and_share(head, kind))
            folder.save_tensors(FIRST_HEAD, first)
            head.share_features(None, item.rows)
            continue
        scores = score(head, item, order)
        log.scored()
        known = calibration_figures(scores)
        if not item.final:
            if experiment.training.patience and stopper.evaluated(scores, cursor):
                stopped = item.epoch
                events.stopped()
            if experiment.disclosure.epoch_figures:
                developer.send_json("figures", dict(known))
            log.checkpoint(None, known, stop=stopped is not None)
            known |= stopper.figures
        events.scored(stopped or item.epoch, known)
    return _open(experiment, folder, developer, head, log, first, scores, events, stopped, backing.finish())


def _open(
    experiment: Experiment,
    folder: RunFolder,
    developer: Channel,
    head: SharedHead,
    log: RunLog,
    first: dict[str, Tensor],
    scores: dict[str, Tensor],
    events: AuditorEvents,
    stopped: int | None,
    masks: MasksEnded | None,
) -> Summary:
    """Step 4. Args: first: head, as it was saved. scores: of the five sets at the end."""
    opened = head.open_weights()
    assert opened is not None
    found = Outcome(seconds=events.seconds(), head_engine=experiment.head_engine) | told(experiment, stopped)
    stored = head_kind(experiment).stored(opened)
    folder.save_tensors("head.safetensors", stored)
    folder.save_tensors("scores.safetensors", scores)
    membership = membership_figures(scores, experiment.seed)
    if experiment.disclosure.final_figures:
        developer.send_json("figures", {name: figure.as_json() for name, figure in membership.figures.items()})
    outcome = found | events.summary() | Outcome(threshold=membership.threshold, figures=membership.figures)
    files = {
        "scores.safetensors": tensors_digest(scores),
        FIRST_HEAD: tensors_digest(first),
        "summary.json": record_digest(folder.summary_record(outcome)),
    }
    if masks is not None:
        masks.note(log)
    log.end(stored, membership.figures, files=files)
    return folder.finish(outcome)


def draw_and_share(head: SharedHead, kind: HeadKind) -> dict[str, Tensor]:
    """Draw the first weights and the masks that share them, from this machine's randomness alone.

    Returns:
        the first weights.
    """
    weights = kind.first_weights(SecretStream(os.urandom(SEED_BYTES), "first head").normal)
    share_head(head, weights)
    return weights


def share_head(head: SharedHead, weights: Mapping[str, Tensor]) -> None:
    """Share weights under masks from this machine's randomness alone."""
    stream = SecretStream(os.urandom(SEED_BYTES), "shares of the head")
    masks = stream.draw(0, [(torch.int64, shape) for shape in head.shapes.values()])
    head.share_weights(weights, dict(zip(head.shapes, masks, strict=True)))


def score(head: SharedHead, item: ScoreSets, order: ScoringOrder) -> dict[str, Tensor]:
    """Membership probabilities of whole sets, float64 [count] each."""
    logits = scored(head, None, item.count)
    assert logits is not None
    return sets_of(item, order(item), logits.sigmoid())
