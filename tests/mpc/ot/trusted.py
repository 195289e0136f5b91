"""`Transfers` whose rows come from a generator that both parties know, in place of base transfers and their extension.

For tests of what is built on transfers: same calls, exchanges and bytes, no secrecy.
"""

from __future__ import annotations

import numpy as np
import torch

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.ot.extension import UNIT, message_shape
from amint_mpc.mpc.ot.pads import Pads
from amint_mpc.mpc.ot.transfers import Transfers
from amint_mpc.mpc.protocols.rounds import InRounds, Rounds


class TrustedTransfers(Transfers):
    """Insecure transfers.

    Args:
        rounds: as of `Transfers`.
        seed: the same at both parties.
    """

    def __init__(self, rounds: Rounds, seed: int = 0) -> None:
        super().__init__(rounds)
        self._generators = tuple(np.random.Generator(np.random.SFC64([seed, chooser])) for chooser in range(2))
        self._deltas = [generator.integers(0, 2**64, 2, dtype=np.uint64) for generator in self._generators]

    def set_up(self) -> InRounds[None]:
        """See `Transfers.set_up`."""
        self._pads = Pads(bytes(16))
        self._delta = self._deltas[1 - self.party]  # of the direction in which this party sends
        yield

    def refill(self, developer: int, auditor: int) -> InRounds[None]:
        """See `Transfers.refill`."""
        for chooser, wanted in ((DEVELOPER, developer), (AUDITOR, auditor)):
            missing = -(-max(0, wanted - len(self._pools[chooser])) // UNIT) * UNIT
            if not missing:
                continue
            generator, mine = self._generators[chooser], chooser == self.party
            rows, bits = self._pools[chooser].grow(missing)
            rows[:] = generator.integers(0, 2**64, (missing, 2), dtype=np.uint64)
            bits[:] = np.unpackbits(np.frombuffer(generator.bytes(missing // 8), dtype=np.uint8))
            if mine:
                rows ^= bits.astype(np.uint64)[:, None] * self._deltas[chooser]
            shape = message_shape(missing)
            message = torch.randint(256, shape, dtype=torch.uint8) if mine else None
            self._rounds.hand_over(chooser, message, shape, torch.uint8)
        yield
