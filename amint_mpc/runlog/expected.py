"""What the log of a run must hold, entry by entry: it follows from the agreed experiment, as the run itself does."""

from __future__ import annotations

from collections.abc import Iterator

from amint_mpc.amint.schedule import ScheduleCursor, ShareFeatures, TrainStep
from amint_mpc.config import Experiment
from amint_mpc.data.order import epoch_orders
from amint_mpc.evidence.canonical import Value
from amint_mpc.evidence.entries import ExpectedEntry, batch_digest
from amint_mpc.evidence.log import VERSION
from amint_mpc.runfolder import INSECURE


class ExpectedEntries(Iterator[ExpectedEntry]):
    """The entries of a run that goes to its last epoch; `stop` leaves out what an early stop does.

    Args:
        version: of the entries. In version 1 each sealed step has an entry, and no dealer is named; until version 2
            masks that the two parties make have none.
    """

    def __init__(self, experiment: Experiment, version: int = VERSION) -> None:
        self._experiment, self._version, self._cursor = experiment, version, ScheduleCursor(experiment)
        self._dealer = False
        self._entries = self._walk()

    def __next__(self) -> ExpectedEntry:
        return next(self._entries)

    def stop(self) -> None:
        """The checkpoint that was next said stop: what follows its signatures begins with the final scoring."""
        self._cursor.stop()

    def dealer(self) -> None:
        """The first entry names a dealer: what it signs comes before the end."""
        self._dealer = True

    def _walk(self) -> Iterator[ExpectedEntry]:
        experiment = self._experiment
        begin: dict[str, Value] = {"insecure": INSECURE if experiment.insecure else None}
        dealt = "dealer" in experiment.roles
        if self._version > 1 and not dealt:
            begin["dealer"] = None
        present = ("dealer",) if self._version > 1 and dealt else ()
        yield ExpectedEntry("begin", begin, "the beginning", present)
        batches, warm = joint_batches(experiment), experiment.training.warmup_epochs
        yield from _checkpoint(warm, f"the checkpoint before step 0 (after {warm} epochs of warm-up)")
        for item in self._cursor:
            if isinstance(item, ShareFeatures):
                yield from self._sealed(item, batches)
                continue
            if isinstance(item, TrainStep):
                if not item.sealed:
                    yield _step(item.index, item.epoch, next(batches))
                continue
            kind = "final" if item.final else f"epoch {item.epoch}"
            yield ExpectedEntry("score", {"epoch": item.epoch, "final": item.final}, f"the scoring ({kind})")
            if not item.final:
                yield from _checkpoint(item.epoch, f"the checkpoint of epoch {item.epoch}")
        if self._version > 2 and experiment.two_party:
            yield ExpectedEntry("made", {}, "what the two parties made")
        if self._dealer:
            yield ExpectedEntry("dealt", {}, "what the dealer has dealt")
        yield ExpectedEntry("end", {}, "the end")
        yield ExpectedEntry("signed", {}, "the signed head of the end")

    def _sealed(self, item: ShareFeatures, batches: Iterator[str]) -> Iterator[ExpectedEntry]:
        experiment, training = self._experiment, self._experiment.training
        first = training.epochs * experiment.steps_per_epoch
        if self._version == 1:  # its sealed steps had batches as the joint ones have
            for number in range(training.sealed_epochs * experiment.steps_per_epoch):
                yield _step(first + number, item.epoch + number // experiment.steps_per_epoch, next(batches))
            return
        whole: dict[str, Value] = {"first": first, "epoch": experiment.last_epoch, "steps": experiment.sealed_steps}
        yield ExpectedEntry("sealed", whole, f"the sealed phase (steps from {first})")


def _step(number: int, epoch: int, batch: str) -> ExpectedEntry:
    return ExpectedEntry("step", {"step": number, "epoch": epoch, "batch": batch}, f"step {number} (epoch {epoch})")


def joint_batches(experiment: Experiment) -> Iterator[str]:
    """The digest of each joint step's batch, in order."""
    for members, external in joint_positions(experiment):
        yield batch_digest(members, external)


def joint_positions(experiment: Experiment) -> Iterator[tuple[list[int], list[int]]]:
    """The images of each joint step's batch, in order: positions among the members, and among the external images."""
    for epoch, (members, external) in enumerate(epoch_orders(experiment), start=1):
        if epoch > experiment.training.warmup_epochs:
            yield from zip(members.tolist(), external.tolist(), strict=True)


def _checkpoint(epoch: int, place: str) -> Iterator[ExpectedEntry]:
    yield ExpectedEntry("checkpoint", {"epoch": epoch}, place)
    yield ExpectedEntry("signed", {}, f"the signed head after {place}")
