"""The auditor: owns the head, and learns its scores and in the end its weights; never images or activations.

1. Listen for the developer and agree on the experiment; then connect to the dealer and agree on the session.
   Where the experiment says `two-party` there is no dealer: SPU is started instead, and joined with the developer's.
2. Draw the head, alone, and share it: both shares are uniformly random.
3. Walk the same schedule as the developer: take part in every step, learn the scores of every scoring; with
   `training.patience`, tell the developer after each evaluation whether to stop.
4. Open the head, save it; choose the threshold on calibration images and read the report images once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from amint_mpc import identity
from amint_mpc.amint.metrics import calibration_figures, membership_figures
from amint_mpc.amint.schedule import ScoreSets, TrainStep, schedule, score_batches
from amint_mpc.amint.stopping import told
from amint_mpc.config import Experiment, Party
from amint_mpc.errors import UsageError
from amint_mpc.events import EpochEvent, Event, Notice, Phase, StepEvent
from amint_mpc.mpc.channel import Channel
from amint_mpc.mpc.correlations.base import AUDITOR
from amint_mpc.mpc.prg import SEED_BYTES, SecretStream
from amint_mpc.mpc.shared_head import SharedHead
from amint_mpc.mpc.tls import Listener, connect
from amint_mpc.mpc.two_party.engine import INSTALL, SAID, SpuEngine, check_installed
from amint_mpc.roles import embedded, engine, session, stopping
from amint_mpc.roles.heads import Kind, Masks, head_kind
from amint_mpc.roles.pen import Pen, Unlogged
from amint_mpc.roles.record import recording
from amint_mpc.roles.twin import named_figures
from amint_mpc.runfolder import RunFolder

FIRST_HEAD = "first-head.safetensors"
"""In the auditor's folder beside the final head: a secret of the same kind, from which the training can be redone."""


def run(experiment: Experiment, party: Party, folder: RunFolder, emit: Callable[[Event], None]) -> dict[str, Any]:
    """Take part in one run. Returns the summary."""
    own = identity.load(party.keys, "auditor")
    if party.listen is None:
        raise UsageError("the auditor's party file has no address to listen on", "add listen: {host: ..., port: ...}")
    if experiment.two_party:
        check_installed()
    elif party.dealer is None and not experiment.insecure:
        raise UsageError(
            "the party file has no address of a dealer",
            "add dealer: {host: ..., port: ...}; without one, give --set security.correlations=two-party to both,"
            f" which needs SPU: {INSTALL}; for a trial, give --insecure-embedded-dealer to both",
        )

    def say(text: str) -> None:
        emit(Notice(text))

    with (
        Listener(party.listen, own, ["developer"], notify=say) as listener,
        session.Links(experiment, "auditor", say) as links,
    ):
        # The developer first: whether there is a dealer at all is one of the terms that the two compare.
        say(f"waiting for the developer at {listener.address.host}:{listener.address.port}")
        # read ahead where SPU computes for long, so that the loss of the developer is noticed meanwhile
        ahead = int(session.AHEAD_MB * 2**20) if experiment.two_party else 0
        developer = links.add(
            listener.accept(
                "developer",
                party.connect_timeout_s,
                more=experiment.two_party,
                idle_timeout_s=party.idle_timeout_s,
                prefetch_bytes=ahead,
            )
        )
        agreed = links.sessions["developer"]
        if experiment.two_party:
            say(SAID)
            second = links.also(listener.accept("developer", party.connect_timeout_s, idle_timeout_s=None))
            with (
                SpuEngine(second, AUDITOR, developer.check, party.idle_timeout_s) as spu,
                recording(experiment, own, party.keys, agreed, developer, folder) as pen,
            ):
                return _train(experiment, folder, emit, developer, spu, pen)
        if experiment.insecure:
            supply = embedded.auditors_supply(developer)
            with recording(experiment, own, party.keys, agreed, developer, folder) as pen:
                return _train(experiment, folder, emit, developer, supply, pen)
        assert party.dealer is not None
        say(f"connecting to the dealer at {party.dealer.host}:{party.dealer.port}")
        # read by a thread although nothing more will come, so that the loss of the dealer is noticed
        options = {"idle_timeout_s": None, "prefetch_bytes": 4096}
        with embedded.offered():
            dealer_link = connect(party.dealer, own, "dealer", party.connect_timeout_s, say, **options)
        dealer = links.add(dealer_link)
        number, stream = session.receive_seed(dealer)
        session.same_session(developer, number)
        with (
            session.standing("auditor"),
            recording(experiment, own, party.keys, agreed, developer, folder) as pen,
        ):
            return _train(experiment, folder, emit, developer, session.WatchedSupply(stream, dealer), pen)


def _train(
    experiment: Experiment,
    folder: RunFolder,
    emit: Callable[[Event], None],
    developer: Channel,
    supply: Masks,
    pen: Pen | None = None,
) -> dict[str, Any]:
    pen = pen or Unlogged(developer)
    kind = head_kind(experiment)
    head = kind.secure(pen.channel, AUDITOR, supply)
    folder.save_tensors(FIRST_HEAD, kind.stored(draw_and_share(head, kind)))
    meter, optimizer = engine.Meter(developer, head.aside), engine.head_optimizer(experiment)
    labels = engine.targets(experiment.training.batch)
    start, steps = time.perf_counter(), []
    total = engine.head_steps(experiment)
    epochs = experiment.last_epoch
    epoch_start, scores = start, {}
    stopper, stopped = stopping.auditors(head, developer, experiment), None
    pen.checkpoint(None, {})  # waits for the developer's warm-up
    for item in schedule(experiment):
        if stopped is not None and not (isinstance(item, ScoreSets) and item.final):
            continue
        if isinstance(item, TrainStep):
            step_start, waited = time.perf_counter(), developer.stats.seconds_waiting
            if item.fresh_head:
                draw_and_share(head, kind)
            meter.start()
            head.train_step(None, labels, optimizer, open_gradient=not item.sealed)
            meter.stop()
            pen.step()
            seconds = time.perf_counter() - step_start
            if item.index == 0:  # it waited for the developer's warm-up
                seconds -= developer.stats.seconds_waiting - waited
            counted = meter.last_rounds, meter.last_bytes
            phase: Phase = "sealed" if item.sealed else "joint"
            steps.append(StepEvent(item.index + 1, total, item.epoch, phase, seconds, {}, seconds, *counted))
            emit(steps[-1])
            continue
        scores = score(head, item)
        pen.scored()
        known, epoch = calibration_figures(scores), stopped or item.epoch
        if not item.final:
            if experiment.training.patience and stopper.evaluated(scores):
                stopped = item.epoch
                emit(Notice(f"no better for {experiment.training.patience} evaluations: training ends here"))
            if experiment.disclosure.epoch_figures:
                exact = {name: {"value": value, "low": value, "high": value} for name, value in known.items()}
                developer.send_json("figures", exact)  # type: ignore[arg-type]
            pen.checkpoint(None, known, stop=stopped is not None)
            known |= stopper.figures
        emit(EpochEvent(epoch, epochs, "score", time.perf_counter() - epoch_start, known))
        epoch_start = time.perf_counter()
    opened = head.open_weights()
    assert opened is not None
    seconds = time.perf_counter() - start
    stored = kind.stored(opened)
    folder.save_tensors("head.safetensors", stored)
    folder.save_tensors("scores.safetensors", scores)
    membership = membership_figures(scores, experiment.seed)
    figures = named_figures(membership, None)
    if experiment.disclosure.final_figures:
        developer.send_json("figures", figures)  # type: ignore[arg-type]
    pen.end(stored, figures)
    summary = {
        "seconds": seconds,
        **told(experiment, stopped),
        "threshold": membership.threshold,
        **engine.joint_steps(steps),
        **meter.summary(),
        "head_engine": experiment.head_engine,
        "figures": figures,
    }
    folder.finish(summary)
    return folder.summary or summary


def draw_and_share(head: SharedHead, kind: Kind) -> dict[str, Tensor]:
    """Draw the first weights and the masks that share them, from this machine's randomness alone.

    Returns:
        the first weights.
    """
    secret = os.urandom(SEED_BYTES)
    weights = kind.first_weights(SecretStream(secret, "first head").normal)
    masks = SecretStream(secret, "shares of the head").draw(0, [(torch.int64, s) for s in head.shapes.values()])
    head.share_weights(weights, dict(zip(head.shapes, masks, strict=True)))
    return weights


def score(head: SharedHead, item: ScoreSets) -> dict[str, Tensor]:
    """Membership probabilities of whole sets, float64 [count] each."""
    scores = {}
    for name, count in item.sets:
        logits = [head.logits(None, rows) for rows in score_batches(count)]
        scores[name] = torch.cat([part for part in logits if part is not None]).sigmoid()
    return scores
