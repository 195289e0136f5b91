"""Whether shared values lie in their ranges, from openings that take place anyway: nothing else is learned if they do.

A share does not show how large its value is, and a value beyond its range becomes plausible garbage. Sources: opened
sums under a dealt mask (Turbospeedz, Ben-Efraim, Nielsen and Omri 2019; truncate.py); a test of many zeros at once by
random linear combinations, as in the batched checks of SPDZ (Damgard et al. 2012, section 3), here over Z_2^bits.

Steps
    1. c = y + r is open, r uniform and known to nobody. Let o be 2^(window-1) (`centred`) or 0, and hi the bits from
       `window` on. D = hi(c + o) - hi(r) is floor((y + o) / 2^window), or one more: a carry from below.
    2. D (D - 1) is 0 modulo 2^bits exactly if D is 0 or 1 there, for D and D - 1 are coprime. The dealer deals hi(r)
       and hi(r)^2 + hi(r), so that each party has its share of D (D - 1) without a message (`excess`).
    3. the parties open the sums of random subsets of these numbers (`subset_sums`), and go on if all of them are 0.

Subsets: from SHAKE-256 of what step 1 opened, which nobody knows before. A tensor [n, h] has SUMS sums, each over
random rows of random columns: one is 0 by chance with probability 3/4 at most. [n] has VECTOR_SUMS, 1/2 at most each.
Guarantees
    accepts: all of -2^(window-1) <= y < 2^(window-1) (`centred`), or of 0 <= y < 2^window, always.
    refuses: y outside of -3 2^(window-1) <= y < 3 2^(window-1), or of -2^window <= y < 2^(window+1), but for a chance
        of 2^-41, however y was chosen before step 1. Between the two, either.

Edge cases
    y counts modulo 2^(window+bits): the caller knows that |y| stays below that less 3 2^(window-1), or 2^window.
    hi(r) may be one too small where the 20 bits below the window are all 1, as two parties make r by themselves: then
        the ranges above end 2^(window-20) lower.
    A party that leaves the protocol can spoil the sums, as everything else; this is no defence against it.

Who learns what: both learn the sums. They are 0; only in a run that ends here do they say something of the values.
Rounds: 1 beyond the opening of y. Bytes, each party: 200 for [n, h] in 16 bits, 192 for [n] in 32; dealer 4 or 8 an
entry.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from amint_mpc.errors import ProtocolError
from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.correlations.base import Field, MaskRef, Material
from amint_mpc.mpc.protocols.rounds import Opened, Rounds

SUMS, VECTOR_SUMS = 100, 48
Windows = tuple[tuple[int, int], ...]
HINT = "Lower head.learning_rate (in sealed epochs training.sealed_learning_rate), or train for fewer epochs"


@dataclass(frozen=True)
class RangeMasks:
    """What the test of one tensor needs.

    Args:
        shape: of the tensor, [n, h] or [n].
        window: its range has 2^window units; for [n], if they differ, (how many, their window) one after another.
        mask: where r stands in the plan; None: a mask of its own, "r".
        word: torch.int16 or torch.int32; bits is at most its width.
    """

    shape: tuple[int, ...]
    window: int | Windows
    mask: MaskRef | None = None
    word: torch.dtype = torch.int32

    @property
    def links(self) -> Mapping[str, MaskRef]:
        return {} if self.mask is None else {"r": self.mask}

    @property
    def fields(self) -> Mapping[str, Field]:
        dealt = Field(self.shape, self.word, corrected=True)
        own = {"r": Field(self.shape)} if self.mask is None else {}
        return own | {"high": dealt, "squared": dealt}

    def corrections(self, developer: Material, auditor: Material) -> dict[str, Tensor]:
        high = self.high(developer["r"] + auditor["r"])
        made = {"high": self.lifted(high), "squared": self.lifted(high * high + high)}
        return {key: value - auditor[key] for key, value in made.items()}

    @property
    def _spare(self) -> Tensor | int:
        """By how much the word is wider than bits."""
        width = 8 * self.word.itemsize
        if isinstance(self.window, int):
            return max(0, width - 64 + self.window)
        return _tensor(self.window).sub(64 - width).clamp_(min=0)

    def high(self, x: Tensor) -> Tensor:
        """hi(x), right modulo 2^bits, int64."""
        return x >> (self.window if isinstance(self.window, int) else _tensor(self.window))

    def lifted(self, x: Tensor) -> Tensor:
        """2^spare x as a word: all that is beyond bits is gone."""
        return (x << self._spare).to(self.word)


@lru_cache(maxsize=8)
def _tensor(windows: Windows) -> Tensor:
    return torch.tensor([window for count, window in windows for _ in range(count)])


def offset(masks: RangeMasks, centred: bool) -> Tensor | int:
    """o of step 1."""
    if not centred:
        return 0
    return 1 << masks.window - 1 if isinstance(masks.window, int) else 1 << (_tensor(masks.window) - 1)


def excess(masks: RangeMasks, material: Material, opened: Tensor, added: Tensor | int, party: int) -> Tensor:
    """Step 2. This party's share of 2^spare D (D - 1), words.

    Args:
        opened: c, or c plus a public number. added: o less that number, entry by entry where it is a tensor.
    """
    high = masks.high(opened + added)
    share = (material["high"] * high.to(masks.word)).mul_(-2).add_(material["squared"])
    return share.add_(masks.lifted(high * high - high)) if party == DEVELOPER else share


def coins(purpose: bytes, opened: Tensor, count: int) -> Tensor:
    """[count] uint8 of 0 and 1 that nobody knows before the opening. opened: its first 512 bytes are enough."""
    seed = opened.reshape(-1)[:64].contiguous().numpy().tobytes()
    drawn = np.frombuffer(hashlib.shake_256(purpose + seed).digest(-(-count // 8)), np.uint8)
    return torch.from_numpy(np.unpackbits(drawn, count=count))


def subset_sums(values: Tensor, opened: Tensor) -> Tensor:
    """Step 3, before it is sent. [SUMS] or [VECTOR_SUMS] words.

    Args:
        values: [n, h] or [n], of `excess`. opened: c, which says what subsets (`coins`).
    """
    count = SUMS if values.dim() == 2 else VECTOR_SUMS
    sizes = [count * size for size in values.shape]
    bits = coins(b"amint-mpc ranges", opened, sum(sizes)).double()  # sums of words in float64 are exact
    rows = bits[: sizes[0]].view(count, -1)
    sums = (rows @ values.double()).long().to(values.dtype)
    if values.dim() == 2:
        columns = bits[sizes[0] :].view(count, -1)
        sums = (columns * sums.double()).sum(dim=1).long().to(values.dtype)
    return sums


@dataclass
class Checks:
    """Tests of one step that are on their way: posted, and not yet looked at. Not a protocol: whoever runs one yields.

    Args:
        rounds: of this party.
    """

    rounds: Rounds
    _waiting: list[tuple[str, Opened]] = field(default_factory=list)

    def post(self, name: str, values: Tensor, opened: Tensor) -> None:
        """Step 3, the sending. name: of what is tested, and its limit, for the error. Others: see `subset_sums`."""
        self.post_sums(name, subset_sums(values, opened))

    def post_sums(self, name: str, sums: Tensor) -> None:
        """The same with sums that are made already."""
        self._waiting.append((name, self.rounds.open(sums)))

    def settle(self) -> None:
        """Step 3, after the exchange.

        Raises:
            ProtocolError: something has left its range; at both parties, for both have the same sums.
        """
        waiting, self._waiting = self._waiting, []
        for name, sums in waiting:
            if bool(sums.value.any()):
                self.rounds.channel.flush()  # the other one needs our part to see the same
                raise beyond(name)


def beyond(name: str) -> ProtocolError:
    """The error for a value that has left its range. name: of it, with an article, and its limit."""
    return ProtocolError(f"{name} of the head left the range in which the secure head is exact", HINT)
