"""That the head computes within its ranges: what is tested in a step, and what follows from it.

A step tests numbers that it opens under masks anyway, and sums of squares of such numbers (protocols/ranges.py),
against `amint_mpc.limits`. The second figure is how far a value can go that is let through: three times its limit, or
for a sum of squares twice. Where something is beyond, both parties end with the same error.

    exchange 2-3   hidden values Y: |y| < 128, 384. The sign is read right below 512 (relu.py).
             3-4   b2 and sums of squares, opened together under masks of their own:
                   of a feature's weights, a row of w1: below `weight_squares`, twice that; of b1: 2^15, 2^16;
                   of w2: below `weight_squares`, twice that; b2: |b2| < 64, 192;
                   of an image's hidden values, of a unit's over a block of rows: 2^15, 2^16, so a norm of 256.
             5-6   logits z: |z| < 128, 384. The sigmoid has 496. When images are scored the auditor sees z itself.
    8, next step 1 dw2 of each block: below 256, 768. Its truncation is exact below 1024.

A test sees a value modulo the ring. That none is so far away that it looks like one in its range:
    w1, w2, b2    were in their ranges one step ago, or are the auditor's first ones. One step moves them by at most its
                  `reach`, the optimizer's longest rate times the rows, times what a row can give: 8 |w2|, 256, 1 (with
                  momentum, and by as much as they moved before). The squares of w1 are of numbers rounded to
                  2^-w1_bits, so that there is room for them.
    Y             |y| <= 8 f max |row of w1| + |b1| < 2^24 - 384.
    squares of Y  h or BLOCK_ROWS times 388^2: they are of numbers rounded to u = 2^-y_bits, so that there is room.
    z             |z| <= |Y_i| |w2| + |b2| (Cauchy, Schwarz) <= (256 + 2 u sqrt(h)) 11.4 + 192 < 4096 - 384.
    dw2           |dw2_j| <= sqrt(BLOCK_ROWS) |Y_j| <= sqrt(128) (256 + 2 u sqrt(128)) < 4096 - 768.
    dX            |dx| <= |w2| |row of w1| < 64 - GRADIENT_LIMIT. The developer takes no gradient of GRADIENT_LIMIT or
                  more, and sees none that wrapped around as a smaller one.
dY and what is made of it need no test: |dy| <= |w2|. Rates, sizes and limits fit together in every plan (`headroom`).
Who learns what: the sums of protocols/ranges.py, all 0; nothing else is opened but under uniform masks.
Bytes, each party: 8 (f + n + blocks h) + 1.8 kB; the dealer 4 n h + 20 (f + n + blocks h), about.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from amint_mpc.errors import UsageError
from amint_mpc.limits import (
    B2_LIMIT,
    BLOCK_ROWS,
    FEATURE_LIMIT,
    GRADIENT_LIMIT,
    HIDDEN_LIMIT,
    LOGIT_LIMIT,
    MAX_HIDDEN,
    SQUARES_LIMIT,
    W2_GRADIENT_LIMIT,
    blocks,
    weight_squares,
)
from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.correlations.base import Correlation, Field, MaskRef, Material, Slot
from amint_mpc.mpc.dense.step import RELU, SIGMOID, W1_MASK, W2_MASK, Step, TrainingStep
from amint_mpc.mpc.protocols import ranges, truncate
from amint_mpc.mpc.protocols.ranges import SUMS, Checks, RangeMasks, mask_squares, value_squares
from amint_mpc.mpc.protocols.relu import block_sums
from amint_mpc.mpc.protocols.rounds import InRounds, Rounds
from amint_mpc.mpc.ring import fixed_point as fp

W2_SQUARE_BITS = 10
LOOSE_W1_BITS, MOST_W1_BITS = 4, 10
MAX_REACH = 256.0
"""Of an optimizer: its rate for a sum over rows, times the rows."""


@dataclass(frozen=True)
class SquaresMasks:
    """Sums of squares of the masks of W1, w2 and Y.

    Args:
        rows, inputs, hidden: n, f with the column of ones, h.
        reach: of the optimizer; None: nothing is trained.
    """

    rows: int
    inputs: int
    hidden: int
    reach: float | None

    def __post_init__(self) -> None:
        if self.hidden > MAX_HIDDEN:
            raise UsageError(f"the secure head has at most {MAX_HIDDEN} hidden units", "Lower head.hidden")
        if self.reach is not None and not self.headroom:
            raise UsageError(
                f"a step of the secure head could move its weights too far: {self.rows} rows at this rate",
                "Lower training.batch or head.learning_rate",
            )

    @cached_property
    def limits(self) -> tuple[float, float]:
        """Of the squares of a row of w1, and of w2."""
        return weight_squares(self.inputs - 1, self.hidden)

    @property
    def w1_bits(self) -> int:
        """u = 2^-w1_bits, so that the squares of a row after the longest step fit 2^(65 - W1_BITS - w1_bits)."""
        if self.reach is None:
            return LOOSE_W1_BITS
        row, output = (2.0 * limit**0.5 for limit in self.limits)
        longest = 4 * row + FEATURE_LIMIT * output * self.reach
        return min(MOST_W1_BITS, math.floor(65 - fp.W1_BITS - 2 * math.log2(longest)))

    @property
    def y_bits(self) -> int:
        """u = 2^-y_bits for Y."""
        most = max(self.hidden, BLOCK_ROWS) * (3 * HIDDEN_LIMIT + 4) ** 2
        return math.floor(65 - fp.Y_BITS - math.log2(most))

    @property
    def headroom(self) -> bool:
        """Whether dX, as far as it can go, would be seen (module docstring), and no weight moves beyond the ring."""
        row, output = ((2 * limit) ** 0.5 for limit in self.limits)
        row += 2 * 2.0**-self.w1_bits * self.hidden**0.5
        output += 2 * 2.0**-W2_SQUARE_BITS * self.hidden**0.5
        return (self.reach or 0) <= MAX_REACH and row * output < 2 * fp.DX_LIMIT - GRADIENT_LIMIT

    @cached_property
    def parts(self) -> tuple[tuple[str, int, int], ...]:
        """What is tested together: its name, how many numbers, and the range of each, 2^window units of the ring."""
        (row, output), units = self.limits, blocks(self.rows) * self.hidden
        of_w1, of_y = fp.W1_BITS + self.w1_bits - 1, fp.Y_BITS + self.y_bits - 1
        of_w2 = fp.W2_BITS + W2_SQUARE_BITS - 1
        return (
            _squares_part("a feature's weights", self.inputs - 1, row, of_w1),
            _squares_part("b1", 1, SQUARES_LIMIT, of_w1),
            _squares_part("w2", 1, output, of_w2),
            (f"b2 (limit {B2_LIMIT:g})", 1, _window(B2_LIMIT, fp.Z_BITS)),
            _squares_part("an image's hidden values", self.rows, SQUARES_LIMIT, of_y),
            _squares_part("a unit's hidden values", units, SQUARES_LIMIT, of_y),
        )

    @property
    def links(self) -> Mapping[str, MaskRef]:
        return {"w1 r": W1_MASK, "w2 r": W2_MASK, "y r": RELU.mask("r")}

    @property
    def fields(self) -> Mapping[str, Field]:
        shapes = {"w1": (self.inputs,), "w2": (1,), "rows": (self.rows,), "units": (blocks(self.rows), self.hidden)}
        return {key: Field(shape, corrected=True) for key, shape in shapes.items()}

    def corrections(self, developer: Material, auditor: Material) -> dict[str, Tensor]:
        def squares(key: str, bits: int) -> Tensor:
            return mask_squares(developer[key], auditor[key], bits)

        of_y = squares("y r", fp.Y_BITS - self.y_bits)
        made = {
            "w1": squares("w1 r", fp.W1_BITS - self.w1_bits).sum(dim=1),
            "w2": squares("w2 r", fp.W2_BITS - W2_SQUARE_BITS).sum()[None],
            "rows": of_y.sum(dim=1),
            "units": block_sums(of_y),
        }
        return {key: value - auditor[key] for key, value in made.items()}


SQUARES = Slot("squares", SquaresMasks)
IN_RANGE = Slot("in range", RangeMasks)  # of what SQUARES names, together
HIDDEN = Slot("hidden in range", RangeMasks)
LOGITS = Slot("logits in range", RangeMasks)
DW2_IN_RANGE = Slot("dw2 in range", RangeMasks)


@lru_cache(maxsize=16)
def watching(rows: int, inputs: int, hidden: int, reach: float | None) -> Mapping[str, Correlation]:
    """What the tests of a step need from the dealer. Args: see `SquaresMasks`."""
    squares = SquaresMasks(rows, inputs, hidden, reach)
    windows = tuple((count, window) for _, count, window in squares.parts)
    made: dict[str, Correlation] = {
        SQUARES.name: squares,
        IN_RANGE.name: RangeMasks((sum(count for count, _ in windows),), windows),
        HIDDEN.name: RangeMasks((rows, hidden), _window(HIDDEN_LIMIT, fp.Y_BITS), RELU.mask("r"), torch.int16),
    }
    if reach is not None:
        window = _window(LOGIT_LIMIT, fp.Z_BITS)
        made[LOGITS.name] = RangeMasks((rows,), window, SIGMOID.mask("r"), torch.int16)
    return made


def dw2_masks(rows: int, hidden: int, mask: MaskRef) -> RangeMasks:
    """What the test of dw2 needs from the dealer. mask: of its truncation."""
    return RangeMasks((blocks(rows), hidden), _window(W2_GRADIENT_LIMIT, fp.DW2_BITS), mask, torch.int16)


def _squares_part(of: str, count: int, limit: float, bits: int) -> tuple[str, int, int]:
    """See `SquaresMasks.parts`. bits: fractional ones."""
    return f"the sum of the squares of {of} (limit {limit:g})", count, bits + round(math.log2(limit))


def _window(limit: float, bits: int) -> int:
    """Of all |x| < limit."""
    return bits + 1 + round(math.log2(limit))


def watch(step: Step, b2: Tensor) -> InRounds[None]:
    """The tests in exchanges 1 to 4. b2: this party's share.

    Raises:
        ProtocolError: something has left its range; the same at both parties.
    """
    tests, party = Checks(step.rounds), step.rounds.party
    yield  # w1
    yield  # Y and w2
    squares, in_range = _squares(step, b2), step.material[IN_RANGE.name]
    opened = step.rounds.open(squares + in_range["r"])
    masks, material = step.dealt(HIDDEN)
    hidden = ranges.excess(masks, material, step.y.value, ranges.offset(masks, True), party)
    tests.post(f"a hidden value (limit {HIDDEN_LIMIT:g})", hidden, step.y.value)
    yield
    tests.settle()
    masks, material = step.dealt(IN_RANGE)
    found, start = ranges.excess(masks, material, opened.value, 0, party), 0
    for name, count, _ in step.dealt(SQUARES)[0].parts:
        tests.post(name, found[start : start + count], opened.value)
        start += count
    yield
    tests.settle()


def _squares(step: Step, b2: Tensor) -> Tensor:
    """This party's share of all numbers of SQUARES, in its order, each with the ring filled from above."""
    (masks, dealt), party = step.dealt(SQUARES), step.rounds.party

    def of(opened: Tensor, mask: MaskRef, bits: int, kept: int, sign: int) -> Tensor:
        return value_squares(opened, step.mask(mask), bits - kept, sign, party)

    w1 = of(step.w1.value, W1_MASK, fp.W1_BITS, masks.w1_bits, 1).sum(dim=1) + dealt["w1"]
    w2 = of(step.w2.value, W2_MASK, fp.W2_BITS, W2_SQUARE_BITS, 1).sum() + dealt["w2"]
    y = of(step.y.value, RELU.mask("r"), fp.Y_BITS, masks.y_bits, -1)
    of_y = torch.cat([y.sum(dim=1) + dealt["rows"], (block_sums(y) + dealt["units"]).reshape(-1)])
    centred = b2 + (round(B2_LIMIT) << fp.Z_BITS) if party == DEVELOPER else b2
    return torch.cat(
        [
            w1 << (fp.W1_BITS - masks.w1_bits - 1),  # what wraps around falls off
            w2 << (fp.W2_BITS - W2_SQUARE_BITS - 1),
            centred.reshape(1),
            of_y << (fp.Y_BITS - masks.y_bits - 1),
        ]
    )


def watch_logits(step: Step) -> InRounds[None]:
    """The test in exchanges 5 and 6, begun before 5. Raises: see `watch`."""
    tests, (masks, material) = Checks(step.rounds), step.dealt(LOGITS)
    yield
    found = ranges.excess(masks, material, step.z.value, ranges.offset(masks, True), step.rounds.party)
    tests.post(f"a logit (limit {LOGIT_LIMIT:g})", found, step.z.value)
    yield
    tests.settle()


DW2_NAME = f"a sum of the gradient with respect to w2 (limit {W2_GRADIENT_LIMIT:g})"


def nothing_pending() -> Tensor:
    """The sums of a test that has nothing to look at; so all steps send the same."""
    return torch.zeros(SUMS, dtype=torch.int16)


def pending_sums(step: TrainingStep) -> Tensor:
    """After a training step: this party's share of the sums that test its dw2, to be opened with the next exchange."""
    masks, material = step.dealt(DW2_IN_RANGE)
    opened, added = step.dw2.value, ranges.offset(masks, True) - truncate.OFFSET
    return ranges.subset_sums(ranges.excess(masks, material, opened, added, step.rounds.party), opened)


def watch_pending(rounds: Rounds, sums: Tensor) -> InRounds[None]:
    """The test of the last step's dw2, in exchange 1. sums: share. Raises: see `watch`."""
    tests = Checks(rounds)
    tests.post_sums(DW2_NAME, sums)
    yield
    tests.settle()
