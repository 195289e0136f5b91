"""Makes the material of a plan by exchanging seeds: each party then knows both. For tests of what stands around."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.correlations.base import Memory, Plan, complete, corrections_of, expand_key
from amint_mpc.mpc.correlations.prg import SEED_BYTES
from amint_mpc.mpc.pair.supply import Made
from amint_mpc.transport.channel import Channel
from amint_mpc.transport.frames import Spec, as_bytes, as_tensor

SEED_SPEC: Spec = (torch.uint8, (SEED_BYTES,))


class InsecureMaker:
    """See `pair.supply.Maker`. Args: on_make: is told the number of each plan that is made."""

    def __init__(
        self, channel: Channel, party: int, memory: Memory, on_make: Callable[[int], None] = lambda _: None
    ) -> None:
        self._channel, self._party, self._memory, self._on_make = channel, party, memory, on_make

    def set_up(self) -> None:
        self._channel.send("set-up", 0, torch.zeros(1, dtype=torch.uint8))
        self._channel.receive("set-up", 0, (torch.uint8, (1,)))

    def make(self, number: int, plan: Plan) -> Made:
        self._on_make(number)
        mine = os.urandom(SEED_BYTES)
        self._channel.send("seed", number, as_tensor(mine))
        theirs = as_bytes(self._channel.receive("seed", number, SEED_SPEC)[0])
        keys = (mine, theirs) if self._party == DEVELOPER else (theirs, mine)
        own = expand_key(plan, mine, self._party)
        drawn = [expand_key(plan, key, party) for party, key in enumerate(keys)]
        corrections = corrections_of(plan, drawn, self._memory)
        return complete(plan, own, corrections) if self._party == DEVELOPER else own


class Double(InsecureMaker):
    """Takes the arguments of `PairMaker`."""

    def __init__(self, channel: Channel, party: int, secret: bytes, memory: Memory, link: str) -> None:
        assert len(secret) == SEED_BYTES
        assert link in ("lan", "wan")
        super().__init__(channel, party, memory)
