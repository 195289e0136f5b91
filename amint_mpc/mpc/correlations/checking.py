"""Cut and choose: some of a dealer's blocks are opened and checked in place of being used, and it cannot tell which.

Blocks that follow one another and are alike form a stretch. Of a stretch of which m are used the dealer deals
m + ceil(p m), and the two parties check as many as are too many, at places that follow from a secret which they drew
together and which the dealer never learns. So each block is checked with probability p / (1 + p) at least; if w of a
stretch are wrong, one of them is found with probability 1 - (1 - p / (1 + p))^w or more.

A check: the auditor gives the developer its key of that block (`SecretStream.reveal`), the developer draws what both
would have drawn, makes the corrections itself, and compares. The masks of a checked block are never used.

Who learns what: the developer masks that hide nothing. Bytes: 32 a check; no round at the auditor, and the developer
waits where it would wait for the next message anyway.

Edge cases
    Blocks whose masks later ones link to (NovoGrad) cannot be left out: of such a stretch none is checked.
    A developer that wants to let a wrong block pass can: it would have to collude with the dealer.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from amint_mpc.mpc.correlations.base import Keeping, Linked, Plan
from amint_mpc.random_order import drawn


@dataclass(frozen=True)
class Stretch:
    """Blocks that are alike.

    Args:
        used: how many the parties use. dealt: how many there are.
        plan: of the block at a place, from 0 to dealt - 1.
    """

    used: int
    dealt: int
    plan: Callable[[int], Plan]


class Block(NamedTuple):
    """A block as the parties meet it. Args: plan: of it. checked: not used, but checked."""

    plan: Plan
    checked: bool


def stretch(used: int, share: float, plan: Callable[[int], Plan]) -> Stretch:
    """Of blocks that are used, and as many more as `share` of them, rounded up."""
    return Stretch(used, used + (math.ceil(share * used) if _stands_alone(plan(0)) else 0), plan)


def places(part: Stretch, number: int, secret: bytes | None) -> list[int]:
    """Where in the stretch the blocks stand that are used, in order.

    Args:
        number: of the stretch in the session, from 0. secret: of both parties; None where nothing is checked.
    """
    if part.dealt == part.used or secret is None:
        return list(range(part.used))
    return sorted(drawn(secret, f"blocks of stretch {number} that are used", part.dealt, part.used))


def blocks(stretches: Iterable[Stretch], secret: bytes) -> Iterator[Block]:
    """Every block of a session as the two parties meet it."""
    for number, part in enumerate(stretches):
        used = set(places(part, number, secret))
        yield from (Block(part.plan(place), place not in used) for place in range(part.dealt))


def dealt(stretches: Iterable[Stretch]) -> Iterator[Plan]:
    """Every block of a session as the dealer knows it."""
    return (part.plan(place) for part in stretches for place in range(part.dealt))


class UsedPlans:
    """The plans of all steps of a session, where every block is used; each is made when it is asked for."""

    def __init__(self, stretches: Iterable[Stretch]) -> None:
        self._parts = [part for part in stretches if part.used]
        self._ends = list(accumulate(part.used for part in self._parts))
        starts = [end - part.used for part, end in zip(self._parts, self._ends, strict=True)]
        self.keeping = [
            step
            for part, start, end in zip(self._parts, starts, self._ends, strict=True)
            if any(isinstance(each, Keeping) for each in part.plan(0).values())
            for step in range(start, end)
        ]
        """The steps some of whose masks later ones link to."""

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, step: int) -> Plan:
        if not 0 <= step < len(self):
            raise IndexError(f"there is no step {step}")
        number = bisect_right(self._ends, step)
        part = self._parts[number]
        return part.plan(step - self._ends[number] + part.used)


def _stands_alone(plan: Plan) -> bool:
    linked = [each for each in plan.values() if isinstance(each, Linked)]
    return not any(at.before for each in linked for at in each.links.values())
