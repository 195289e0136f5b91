"""What a developer kept at the checkpoints of its log (`runlog.replay_tape`): against the log, and done again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from amint_mpc.amint.schedule import TrainStep, schedule
from amint_mpc.amint.snapshot import BACKBONE, backbone_of
from amint_mpc.errors import EvidenceError, UsageError
from amint_mpc.evidence.canonical import tensors_digest
from amint_mpc.evidence.files import check_regular, read_bounded
from amint_mpc.evidence.verify import Verified
from amint_mpc.runlog.kept_frames import FOLDER, keeps_frames
from amint_mpc.runlog.replay_tape import THREADS, digest

FINAL = "backbone.safetensors"
SOFT_LABELS = "soft_labels"
MAX_THREADS = 1024
TOLERANCE = 1e-3
"""How far a value may be from the one that was kept, as a share of the largest of its tensor."""
ELSEWHERE = (
    "The images, the order or a gradient were others. Or this is another machine, device or version of PyTorch than "
    "the run's: sums are rounded otherwise there, which grows from step to step"
)


@dataclass(frozen=True)
class Point:
    """A place of the run at which the log has the classifier.

    Args:
        epoch: after which. step: the joint steps before it. backbone, kept: digests in the log.
        last: the end, where there is no state but the classifier's file.
        frames: whether gradients come out of the frames; else they were kept.
    """

    epoch: int
    step: int
    backbone: str
    kept: str
    last: bool
    frames: bool

    @property
    def place(self) -> str:
        """For messages."""
        return "the end" if self.last else f"the checkpoint of epoch {self.epoch}"


@contextmanager
def threads_of(run: Path) -> Iterator[None]:
    """As many threads as the run's classifier had, where it was written down: another number rounds otherwise.

    Raises:
        EvidenceError: what is there is no number of threads.
    """
    before = torch.get_num_threads()
    if (run / FOLDER / THREADS).exists():
        text = read_bounded(run / FOLDER / THREADS, 16).strip()
        if not text.isdigit() or not 0 < int(text) <= MAX_THREADS:
            raise EvidenceError(f"replay: {THREADS} does not hold a number of threads")
        torch.set_num_threads(int(text))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def has_frames(found: Verified) -> bool:
    """Whether the developer of a run kept what `played` needs, and the log binds what made its masks."""
    return keeps_frames(found.experiment) and (found.log.dealt is not None or found.log.made is not None)


def points_of(found: Verified) -> list[Point]:
    """The checkpoints of a run, and its end.

    Raises:
        UsageError: nothing was kept.
    """
    experiment, log = found.experiment, found.log
    if not experiment.evidence.replay:
        raise UsageError(
            "this run kept nothing to replay its steps with", "Set evidence.replay to true before such a run"
        )
    joint = [item for item in schedule(experiment) if isinstance(item, TrainStep) and not item.sealed]
    ends = [(entry, False) for entry in log.checkpoints]
    ends.append(({**log.end, "epoch": experiment.last_epoch}, True))
    return [
        Point(
            entry["epoch"],
            sum(item.epoch <= entry["epoch"] for item in joint),
            entry["backbone"],
            entry["replay"],
            is_last,
            has_frames(found),
        )
        for entry, is_last in ends
    ]


def state_at(run: Path, point: Point) -> dict[str, Tensor]:
    """What was kept at a checkpoint; at the end the classifier alone. Checked against the log."""
    if point.last:
        state = {f"{BACKBONE}{name}": value for name, value in _read(run / FINAL).items()}
    else:
        state = _read(run / FOLDER / f"state-{point.epoch}.safetensors")
        _check(point, digest(_gradients(run, point), state))
    if tensors_digest(backbone_of(state)) != point.backbone:
        raise EvidenceError(f"replay: what was kept for {point.place} holds another classifier than the log")
    return state


def gradients_before(run: Path, point: Point, steps: int) -> Tensor:
    """Of the steps up to a checkpoint, [steps, n, F], checked against the log."""
    gradients = _gradients(run, point)
    state = None if point.last else _read(run / FOLDER / f"state-{point.epoch}.safetensors")
    _check(point, digest(gradients, state))
    if len(gradients) != steps:
        raise EvidenceError(f"replay: {len(gradients)} gradients were kept for {steps} steps up to epoch {point.epoch}")
    return gradients


def check_one_teacher(run: Path, points: Sequence[Point]) -> None:
    """The soft labels are the same at every checkpoint.

    Raises:
        EvidenceError: it names the first checkpoint with others.
    """
    first: Tensor | None = None
    for number, point in enumerate(each for each in points if not each.last):
        found = state_at(run, point).get(SOFT_LABELS)
        if number and not _same(first, found):
            raise EvidenceError(f"replay: {point.place} has other soft labels than the ones before it")
        first = found


def difference(point: Point, mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """Between a state that was computed again and the one that was kept: 0 where every bit is the same.

    Returns:
        the largest, as a share of the largest value of its tensor.

    Raises:
        EvidenceError: it is more than `TOLERANCE`, or the two do not hold the same.
    """
    if tensors_digest(mine) == tensors_digest(theirs):
        return 0.0
    worst = 0.0
    for name in sorted(mine.keys() | theirs.keys(), key=lambda each: (not each.startswith(BACKBONE), each)):
        one, other = mine.get(name), theirs.get(name)
        if one is None or other is None or one.shape != other.shape or one.dtype != other.dtype:
            raise EvidenceError(f"replay: {point.place} does not follow: {_part(name)}: of another kind")
        if not one.numel():
            continue
        a, b = one.double(), other.double()
        apart = float((a - b).abs().max() / b.abs().max().clamp(min=1e-6))
        if not apart <= TOLERANCE:
            raise EvidenceError(
                f"replay: {point.place} does not follow: {_part(name)}: it differs by up to {apart:.2g} of a tensor's "
                "largest value",
                ELSEWHERE,
            )
        worst = max(worst, apart)
    return worst


def _part(name: str) -> str:
    """Which part of a state a tensor belongs to, for messages."""
    if name.startswith(BACKBONE):
        return "the classifier"
    if name.startswith("adam."):
        return "Adam's state"
    if name.startswith("part"):
        return "what the loop keeps beside its model"
    return "the teacher's soft labels" if name == SOFT_LABELS else "the first loss"


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    return (one is None and other is None) or (one is not None and other is not None and torch.equal(one, other))


def _gradients(run: Path, point: Point) -> Tensor:
    if point.frames:
        return torch.empty(0)
    return _read(run / FOLDER / f"gradients-{point.epoch}.safetensors").get("gradients", torch.empty(0))


def _check(point: Point, found: str) -> None:
    if found != point.kept:
        raise EvidenceError(f"replay: what was kept for {point.place} is not what the log names", "A file was changed")


def _read(file: Path) -> dict[str, Tensor]:
    check_regular(file)
    try:
        return load_file(file)
    except (OSError, SafetensorError, ValueError) as error:
        raise EvidenceError(f"replay: {file.name} cannot be read ({type(error).__name__})") from None
