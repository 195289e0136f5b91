"""That the head computes within its ranges: what is tested in a step, and what follows from it.

A step tests numbers under masks (protocols/ranges.py) against `amint_mpc.limits`: some that it opens anyway, and sums
of squares (protocols/squares.py) and of all of w1 (protocols/signed_sums.py). The second figure is how far a value can
go that is let through: three times its limit, or for a sum of squares twice. Where something is beyond, both parties
end with the same error.

    exchange 2-3   hidden values Y: |y| < 128, 384. The sign is read right below 2048 (relu.py).
             3-4   opened together under masks of their own:
                   100 sums of all of w1 and b1 with random signs: below 512, 1536, so that |a weight| < 1536 and the
                   norm of a unit's weights, b1 included, < 6144; sums of the squares of w2: below 64, 128;
                   b2: |b2| < 64, 192;
                   of an image's hidden values, of a unit's over a block of rows: 2^15, 2^16, so a norm of 256.
             6-7   logits z: |z| < 128, 384. The sigmoid has 496. When images are scored the auditor sees z itself.
    9, next step 1 dw2 of each block: below 256, 768. Its truncation is exact below 1024.

A test sees a value modulo the ring. That none is so far away that it looks like one in its range:
    w1, w2, b2    were in their ranges one step ago, or are the auditor's first ones. One step moves them by at most its
                  `reach`, the optimizer's longest rate times the rows, times what a row can give: 8 |w2|, 256, 1 (with
                  momentum, and by as much as they moved before).
    sums of w1    one step moves them by 8 f reach sqrt(h) |w2| at most, and they were below h sqrt(f) 6144.
    Y             |y| <= 8 sqrt(f) 6144 < 2^24 - 384.
    squares of Y  h or BLOCK_ROWS times 388^2: they are of numbers rounded to u = 2^-y_bits, so that there is room.
    z             |z| <= |Y_i| |w2| + |b2| (Cauchy, Schwarz) <= (256 + 2 u sqrt(h)) 11.4 + 192 < 4096 - 384.
    dw2           |dw2_j| <= sqrt(BLOCK_ROWS) |Y_j| <= sqrt(128) (256 + 2 u sqrt(128)) < 4096 - 768.
Sizes and rates for which this does not hold have no plan (`check_headroom`). dY and what is made of it need no test:
|dy| <= |w2|.
dX has no such bound. It is right modulo 64: the developer sees it between -32 and 32, and takes none of GRADIENT_LIMIT
= 16 or more. One of 48 or more could look small again; a gradient that grows from step to step passes through 16 to 48
before, one that jumps over them would mislead the classifier, and nothing else, for the head does not use it.
Who learns what: the sums of protocols/ranges.py, all 0; nothing else is opened but under uniform masks.
Bytes, each party: 8 (100 + 2 n + 2 blocks h) + 1.8 kB; the dealer 4 n h + 2 kB + 28 n + 28 blocks h, about.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor

from amint_mpc.errors import UsageError
from amint_mpc.limits import (
    B2_LIMIT,
    BLOCK_ROWS,
    FEATURE_LIMIT,
    HIDDEN_LIMIT,
    LOGIT_LIMIT,
    MAX_HIDDEN,
    SIGNED_SUMS_LIMIT,
    SQUARES_LIMIT,
    W2_GRADIENT_LIMIT,
    W2_SQUARES_LIMIT,
    blocks,
)
from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.correlations.base import Correlation, Slot
from amint_mpc.mpc.dense.step import RELU, W2_MASK, Step, TrainingStep
from amint_mpc.mpc.protocols import ranges
from amint_mpc.mpc.protocols.ranges import SUMS, Checks, RangeMasks
from amint_mpc.mpc.protocols.relu import block_sums
from amint_mpc.mpc.protocols.rounds import InRounds, Rounds
from amint_mpc.mpc.protocols.signed_sums import COLUMN, signed_sums
from amint_mpc.mpc.protocols.squares import SquaresMasks, value_squares
from amint_mpc.mpc.ring import fixed_point as fp

W2_SQUARE_BITS = 10
MAX_REACH = 256.0
"""Of an optimizer: its rate for a sum over rows, times the rows."""

SQUARES = Slot("squares", SquaresMasks)
IN_RANGE = Slot("in range", RangeMasks)  # of what SQUARES names, together
HIDDEN = Slot("hidden in range", RangeMasks)
LOGITS = Slot("logits in range", RangeMasks)
DW2_IN_RANGE = Slot("dw2 in range", RangeMasks)


@lru_cache(maxsize=16)
def watching(rows: int, inputs: int, hidden: int, reach: float | None) -> Mapping[str, Correlation]:
    """What the tests of a step need of masks.

    Args:
        rows, inputs, hidden: n, f with the column of ones, h.
        reach: of the optimizer; None: nothing is trained.

    Raises:
        UsageError: see `check_headroom`.
    """
    check_headroom(rows, inputs, hidden, reach)
    windows = tuple((count, window) for _, count, window in parts(rows, hidden))
    shift = fp.Y_BITS - y_bits(hidden)
    made: dict[str, Correlation] = {
        SQUARES.name: SquaresMasks(rows, hidden, W2_MASK, RELU.mask("r"), fp.W2_BITS - W2_SQUARE_BITS, shift),
        IN_RANGE.name: RangeMasks((sum(count for count, _ in windows),), windows),
        HIDDEN.name: RangeMasks((rows, hidden), window_of(HIDDEN_LIMIT, fp.Y_BITS), RELU.mask("r"), torch.int16),
    }
    if reach is not None:
        window = window_of(W2_GRADIENT_LIMIT, fp.DW2_BITS)
        made[LOGITS.name] = RangeMasks((rows,), window_of(LOGIT_LIMIT, fp.Z_BITS), None, torch.int16)
        made[DW2_IN_RANGE.name] = RangeMasks((blocks(rows), hidden), window, None, torch.int16)
    return made


def check_headroom(rows: int, inputs: int, hidden: int, reach: float | None) -> None:
    """Refuse what could go around the ring (module docstring). Args: see `watching`.

    Raises:
        UsageError: too many hidden units or features, or steps that are too long.
    """
    if hidden > MAX_HIDDEN:
        raise UsageError(f"the secure head has at most {MAX_HIDDEN} hidden units", "Lower head.hidden")
    column = COLUMN * SIGNED_SUMS_LIMIT
    if FEATURE_LIMIT * inputs**0.5 * column >= 2.0 ** (62 - fp.Y_BITS) - 3 * HIDDEN_LIMIT:
        raise UsageError(
            f"the secure head has too little room for {inputs - 1} features", "Set head.input to pooled features"
        )
    output = (2 * W2_SQUARES_LIMIT) ** 0.5 + 2 * 2.0**-W2_SQUARE_BITS * hidden**0.5
    sums = 3 * hidden * inputs**0.5 * column + FEATURE_LIMIT * inputs * hidden**0.5 * output * (reach or 0)
    if (reach or 0) > MAX_REACH or sums >= 2.0 ** (63 - fp.W1_BITS) - 3 * SIGNED_SUMS_LIMIT:
        raise UsageError(
            f"a step of the secure head could move its weights too far: {rows} rows at this rate",
            "Lower training.batch or head.learning_rate",
        )


def y_bits(hidden: int) -> int:
    """u = 2^-y_bits for Y, so that the squares of a row or of a unit fit."""
    most = max(hidden, BLOCK_ROWS) * (3 * HIDDEN_LIMIT + 4) ** 2
    return math.floor(65 - fp.Y_BITS - math.log2(most))


@lru_cache(maxsize=16)
def parts(rows: int, hidden: int) -> tuple[tuple[str, int, int], ...]:
    """What is tested together: its name, how many numbers, and the range of each, 2^window units of the ring."""
    of_y = fp.Y_BITS + y_bits(hidden) - 1
    of_w2 = fp.W2_BITS + W2_SQUARE_BITS - 1
    return (
        (f"a sum of w1 and b1 (limit {SIGNED_SUMS_LIMIT:g})", SUMS, window_of(SIGNED_SUMS_LIMIT, fp.W1_BITS)),
        _squares_part("w2", 1, W2_SQUARES_LIMIT, of_w2),
        (f"b2 (limit {B2_LIMIT:g})", 1, window_of(B2_LIMIT, fp.Z_BITS)),
        _squares_part("an image's hidden values", rows, SQUARES_LIMIT, of_y),
        _squares_part("a unit's hidden values", blocks(rows) * hidden, SQUARES_LIMIT, of_y),
    )


def _squares_part(of: str, count: int, limit: float, bits: int) -> tuple[str, int, int]:
    """See `parts`. bits: fractional ones."""
    return f"the sum of the squares of {of} (limit {limit:g})", count, bits + round(math.log2(limit))


def window_of(limit: float, bits: int) -> int:
    """Of all |x| < limit."""
    return bits + 1 + round(math.log2(limit))


def watch(step: Step, w1: Tensor, b2: Tensor) -> InRounds[None]:
    """The tests in exchanges 1 to 4. w1, b2: this party's shares.

    Raises:
        ProtocolError: something has left its range; the same at both parties.
    """
    tests, party = Checks(step.rounds), step.rounds.party
    yield  # w1
    yield  # Y and w2
    opened = step.rounds.open(_numbers(step, w1, b2) + step.material[IN_RANGE.name]["r"])
    masks, material = step.dealt(HIDDEN)
    hidden = ranges.excess(masks, material, step.y.value, ranges.offset(masks, True), party)
    tests.post(f"a hidden value (limit {HIDDEN_LIMIT:g})", hidden, step.y.value)
    yield
    tests.settle()
    masks, material = step.dealt(IN_RANGE)
    found, start = ranges.excess(masks, material, opened.value, 0, party), 0
    squares, _ = step.dealt(SQUARES)
    for name, count, _ in parts(squares.rows, squares.hidden):
        tests.post(name, found[start : start + count], opened.value)
        start += count
    yield
    tests.settle()


def _numbers(step: Step, w1: Tensor, b2: Tensor) -> Tensor:
    """This party's share of all numbers of `parts`, in its order, none negative, the ring filled from above."""
    (masks, dealt), party = step.dealt(SQUARES), step.rounds.party
    w2 = value_squares(step.w2.value, step.mask(masks.w2), masks.w2_shift, 1, party).sum() + dealt["w2"]
    y = value_squares(step.y.value, step.mask(masks.y), masks.y_shift, -1, party)
    of_y = torch.cat([y.sum(dim=1) + dealt["rows"], (block_sums(y) + dealt["units"]).reshape(-1)])
    sums = signed_sums(w1, step.w1.value, b"weights")
    if party == DEVELOPER:
        sums, b2 = sums + (round(SIGNED_SUMS_LIMIT) << fp.W1_BITS), b2 + (round(B2_LIMIT) << fp.Z_BITS)
    return torch.cat([sums, w2 << masks.w2_shift - 1, b2.reshape(1), of_y << masks.y_shift - 1])


def watch_logits(step: Step, z: Tensor) -> InRounds[None]:
    """The test in exchanges 5 and 6, begun before 5. z: share. Raises: see `watch`."""
    tests, (masks, material) = Checks(step.rounds), step.dealt(LOGITS)
    opened = step.rounds.open(z + material["r"])
    yield
    found = ranges.excess(masks, material, opened.value, ranges.offset(masks, True), step.rounds.party)
    tests.post(f"a logit (limit {LOGIT_LIMIT:g})", found, opened.value)
    yield
    tests.settle()


DW2_NAME = f"a sum of the gradient with respect to w2 (limit {W2_GRADIENT_LIMIT:g})"


def nothing_pending() -> Tensor:
    """The sums of a test that has nothing to look at; so all steps send the same."""
    return torch.zeros(SUMS, dtype=torch.int16)


def open_dw2(step: TrainingStep, dw2: Tensor) -> None:
    """Post dw2 under the mask of its test. dw2: share, [blocks, h]."""
    _, material = step.dealt(DW2_IN_RANGE)
    step.rounds.open(dw2 + material["r"], step.dw2)


def pending_sums(step: TrainingStep) -> Tensor:
    """After a training step: this party's share of the sums that test its dw2, to be opened with the next exchange."""
    (masks, material), opened = step.dealt(DW2_IN_RANGE), step.dw2.value
    found = ranges.excess(masks, material, opened, ranges.offset(masks, True), step.rounds.party)
    return ranges.subset_sums(found, opened)


def watch_pending(rounds: Rounds, sums: Tensor) -> InRounds[None]:
    """The test of the last step's dw2, in exchange 1. sums: share. Raises: see `watch`."""
    tests = Checks(rounds)
    tests.post_sums(DW2_NAME, sums)
    yield
    tests.settle()
