"""Rounds and bytes of a whole run, before it is started: exact, for they depend on the experiment alone.

Each kind of step is run once on zeros, over memory channels whose counters are those of a real link; what each party
sent and received, in which order, is its transcript. The transcripts in the order of the schedule then give the clocks
of both parties (the rounds, see `transport.channel`) and the bytes of the whole run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, field

import torch
from torch import Tensor

from amint_mpc.amint.schedule import Item, ScoreSets, TrainStep, schedule, score_batches
from amint_mpc.amint.sealing import mixed_rows
from amint_mpc.bench.inprocess import parties, together, zeros
from amint_mpc.config import ROLES, Experiment
from amint_mpc.evidence import entries
from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.correlations.supply import CHECK, KEY_SPEC
from amint_mpc.roles import handshake, seeds, stopping
from amint_mpc.roles.coin import toss
from amint_mpc.roles.heads import head_kind, secure_optimizer
from amint_mpc.roles.plans import checks_blocks, stretches, targets
from amint_mpc.runlog import countersigning
from amint_mpc.runlog import recorder as run_log
from amint_mpc.transport import frames
from amint_mpc.transport.channel import Channel, ForwardingChannel, memory_pair
from amint_mpc.transport.frames import JsonValue, Spec

RECEIVED = -1
Moves = list[int]
"""What one party does on a link, in order: the bytes of a frame that it sends, or RECEIVED."""
TRAIN = 0
"""A training step among the kinds of steps; the others are scoring batches, named by their rows."""
SEALED = -1
"""A training step on shared rows."""
SHARED = -2
"""A fresh head, and the rows that its steps are on."""


@dataclass(frozen=True)
class Transcript:
    """A part of a run.

    Args:
        developer, auditor: moves on their common link. dealer: moves on its link to the developer.
    """

    developer: Moves = field(default_factory=list)
    auditor: Moves = field(default_factory=list)
    dealer: Moves = field(default_factory=list)

    def __add__(self, other: Transcript) -> Transcript:
        return Transcript(self.developer + other.developer, self.auditor + other.auditor, self.dealer + other.dealer)


@dataclass(frozen=True)
class Transcripts:
    """Args: start: from the handshake to the shares of the head. end: the head's opening. step: by kind."""

    start: Transcript
    step: dict[int, Transcript]
    end: Transcript


def _frame(tag: str, *specs: Spec) -> int:
    """Bytes of a frame of tensors."""
    return len(frames.encode_tensors(tag, 0, 1, [torch.zeros(shape, dtype=dtype) for dtype, shape in specs]))


FIGURES = Transcript(developer=[RECEIVED], auditor=[0])
"""The auditor tells figures: a round; the bytes (JSON, some hundred) depend on the digits and are not counted."""
STOP = Transcript(developer=[RECEIVED], auditor=[_frame(stopping.TAG, stopping.SPEC)])
"""The auditor's bit after an evaluation: stop, or go on."""
CHECKED = _frame(CHECK, KEY_SPEC)
"""The auditor's message about a block that is checked."""
_DIGEST = _frame(run_log.DIGEST, countersigning.DIGEST_SPEC)
_SIGNED = _frame(countersigning.SIGNED, *countersigning.SIGNED_SPECS)
_FILES = {
    role: len(frames.encode_json(run_log.FILES_TOLD, 1, dict.fromkeys(names, "0" * 64)))
    for role, names in entries.FILES.items()
}
_SIGNATURE = _frame(run_log.SIGNATURE, countersigning.SIGNATURE_SPEC)
CHECKPOINT = Transcript(developer=[_DIGEST, _SIGNED, RECEIVED], auditor=[RECEIVED, _SIGNED, RECEIVED])
"""Of the log: the classifier's digest, then both sign (`runlog.recorder`)."""
REPLAY = Transcript(developer=[_DIGEST], auditor=[RECEIVED])
"""Of the log with `evidence.replay`: the digest of what the developer keeps."""
LOG_END = Transcript(
    developer=[_DIGEST, RECEIVED, _FILES["developer"], RECEIVED, _SIGNED, RECEIVED, _SIGNATURE, RECEIVED],
    auditor=[RECEIVED, _DIGEST, _FILES["auditor"], RECEIVED, _SIGNED, RECEIVED, _SIGNATURE, RECEIVED],
)
"""Both digests, those of both parties' files, the signed head, the signed statement."""


@dataclass(frozen=True)
class Traffic:
    """Args: rounds: longest chain of dependent messages between the two. Bytes sent by each, frame headers included."""

    rounds: int
    developer: int
    auditor: int
    dealer: int


def kinds(experiment: Experiment) -> list[int]:
    """Every step of the head in the order of the schedule: TRAIN, SEALED, or the rows that are scored."""
    return [kind for item in schedule(experiment) for kind in kinds_of(item)]


def record(experiment: Experiment) -> Transcripts:
    """Run each part of a run once, on zeros."""
    kind_of_head = head_kind(experiment)
    inputs = kind_of_head.inputs
    labels, sealed = targets(experiment.training.batch), mixed_rows(experiment, 0)
    transcribed: list[_TranscribedChannel] = []

    def wrap(channel: Channel) -> Channel:
        transcribed.append(_TranscribedChannel(channel))
        return transcribed[-1]

    def take() -> Transcript:
        moves = [channel.moves for channel in transcribed]
        for channel in transcribed:
            channel.moves = []
        return Transcript(*moves)

    start = _agreement(experiment)
    with parties(kind_of_head, secure_optimizer(experiment), wrap) as three:
        start += take()
        step = {}
        for kind in dict.fromkeys(kinds(experiment)):  # in the order of the run: rows are shared before they are used
            if kind == TRAIN:
                three.train(zeros(len(labels), inputs), labels)
            elif kind == SHARED:
                three.restart()
                rows = zeros(experiment.data.members + experiment.data.external, inputs)
                three.share_features(rows)
            elif kind == SEALED:
                three.train_on_shared(sealed, targets(sealed.batch), secure_optimizer(experiment, sealed))
            else:
                three.score(zeros(kind, inputs))
            step[kind] = take()
        three.together(three.developer.open_weights, three.auditor.open_weights)
        return Transcripts(start, step, take())


def whole_run(experiment: Experiment, transcripts: Transcripts) -> Traffic:
    """From the handshake to the last figures; with `training.patience`, of a run that never stops early."""
    return replay(_parts(experiment, transcripts))


def training_step(transcripts: Transcripts) -> Traffic:
    """A training step among others: what two of them take more than one, for the end of one overlaps the next."""
    one, two = (replay([transcripts.step[TRAIN]] * count) for count in (1, 2))
    return Traffic(*(b - a for a, b in zip(astuple(one), astuple(two), strict=True)))


def replay(transcripts: Iterable[Transcript]) -> Traffic:
    """What the channels of both parties would have counted after all of these, one after another."""
    clocks, sent = [0, 0], [0, 0, 0]
    for transcript in transcripts:
        under_way: tuple[deque[int], deque[int]] = (deque(), deque())  # depths, on their way to each party
        left = [deque(transcript.developer), deque(transcript.auditor)]
        while left[0] or left[1]:
            before = len(left[0]) + len(left[1])
            for party in (0, 1):
                _advance(party, left[party], clocks, sent, under_way)
            if len(left[0]) + len(left[1]) == before:
                raise RuntimeError("a transcript waits for what nobody sends")
        sent[2] += sum(transcript.dealer)
    return Traffic(max(clocks), *sent)


def _advance(
    party: int, moves: deque[int], clocks: list[int], sent: list[int], under_way: tuple[deque[int], deque[int]]
) -> None:
    """Let one party go on until it waits."""
    while moves and (moves[0] != RECEIVED or under_way[party]):
        move = moves.popleft()
        if move == RECEIVED:
            clocks[party] = max(clocks[party], under_way[party].popleft())
        else:
            sent[party] += move
            under_way[1 - party].append(clocks[party] + 1)


def _parts(experiment: Experiment, transcripts: Transcripts) -> Iterator[Transcript]:
    logged = experiment.evidence.log
    yield transcripts.start
    if logged:
        yield _checkpoint(experiment)
    yield from (_checked(kind, transcripts) for kind in _kinds_checked(experiment))
    for item in schedule(experiment):
        yield from (transcripts.step[kind] for kind in kinds_of(item))
        if isinstance(item, ScoreSets) and not item.final:
            if experiment.training.patience:
                yield STOP
            if experiment.disclosure.epoch_figures:
                yield FIGURES
            if logged:
                yield _checkpoint(experiment)
    yield transcripts.end
    if experiment.disclosure.final_figures:
        yield FIGURES
    if logged:
        yield (REPLAY if experiment.evidence.replay else Transcript()) + LOG_END


def _checkpoint(experiment: Experiment) -> Transcript:
    return (REPLAY if experiment.evidence.replay else Transcript()) + CHECKPOINT


def kinds_of(item: Item) -> list[int]:
    """The steps of the head that an item of the schedule is."""
    if isinstance(item, TrainStep):
        return [SEALED if item.sealed else TRAIN]
    return score_batches(item.count) if isinstance(item, ScoreSets) else [SHARED]


def _kinds_checked(experiment: Experiment) -> Iterator[int]:
    """Of every block that is checked and not used."""
    if checks_blocks(experiment):
        for part, items in stretches(experiment):
            yield from kinds_of(items[0])[:1] * (part.dealt - part.used)


def _checked(kind: int, transcripts: Transcripts) -> Transcript:
    return Transcript(developer=[RECEIVED], auditor=[CHECKED], dealer=transcripts.step[kind].dealer)


def _commitment(experiment: Experiment) -> dict[str, JsonValue]:
    """As large as the developer's to its images, where no picture stands twice."""
    zeros, data = "0" * 64, experiment.data
    counts = {"members": data.members, "external": data.external, "unseen": data.unseen}
    sets: dict[str, JsonValue] = {
        name: {"size": count, "root": zeros, "keys": count, "index": zeros} for name, count in counts.items()
    }
    return {**sets, "salt": zeros}


def _agreement(experiment: Experiment) -> Transcript:
    """What developer and auditor say to each other before the head is shared."""
    ends = [_TranscribedChannel(channel) for channel in memory_pair()]
    session = seeds.new_session(seeds.both_seeds())

    def agree(end: _TranscribedChannel, own: int) -> None:
        roles = ROLES[own], ROLES[1 - own]
        handshake.handshake(end, *roles, experiment)
        toss(end, roles[0])
        if "dealer" in experiment.roles:
            seeds.check_same_session(end, session)
        if experiment.evidence.log:
            if own == DEVELOPER:
                end.send_json(run_log.BEGIN, _commitment(experiment))
            else:
                end.receive_json(run_log.BEGIN)

    together([lambda: agree(ends[0], 0), lambda: agree(ends[1], 1)], lambda: None)
    for end in ends:
        end.close()
    return Transcript(ends[0].moves, ends[1].moves)


class _TranscribedChannel(ForwardingChannel):
    """A channel that keeps what is done on it."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        self.moves = Moves()

    def send(self, tag: str, step: int, *tensors: Tensor) -> None:
        before = self.stats.bytes_sent
        super().send(tag, step, *tensors)
        self.moves.append(self.stats.bytes_sent - before)

    def receive(self, tag: str, step: int, *specs: Spec) -> list[Tensor]:
        self.moves.append(RECEIVED)
        return super().receive(tag, step, *specs)

    def send_json(self, tag: str, value: JsonValue) -> None:
        before = self.stats.bytes_sent
        super().send_json(tag, value)
        self.moves.append(self.stats.bytes_sent - before)

    def receive_json(self, tag: str, limit: int = frames.JSON_LIMIT) -> JsonValue:
        self.moves.append(RECEIVED)
        return super().receive_json(tag, limit)
