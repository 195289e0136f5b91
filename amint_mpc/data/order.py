"""In which step which image is used: it follows from the experiment alone, so every party can say it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from amint_mpc.config import Experiment

Rows = npt.NDArray[np.int64]


def epoch_orders(experiment: Experiment) -> Iterator[tuple[Rows, Rows]]:
    """Rows of members and of external images for each epoch in turn, warm-up first: int64 [steps, batch] each.

    A warm-up epoch uses the members alone. Where there are fewer external images than members, they start over.
    """
    training, data = experiment.training, experiment.data
    # The split draws from the seed itself; the word beside it makes this another stream. NumPy keeps the streams of
    # its bit generators stable between versions.
    random = np.random.Generator(np.random.PCG64([experiment.seed, 1]))
    steps, batch = experiment.steps_per_epoch, training.batch
    for _ in range(experiment.last_epoch):
        members, external = (_rows(random, count, steps * batch) for count in (data.members, data.external))
        yield members.reshape(steps, batch), external.reshape(steps, batch)


def _rows(random: np.random.Generator, count: int, wanted: int) -> Rows:
    rounds = -(-wanted // count)
    numbers: Rows = np.concatenate([random.permutation(count) for _ in range(rounds)])[:wanted]
    return numbers
