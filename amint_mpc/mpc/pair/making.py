"""What the kinds of one plan have in common while they are made."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from amint_mpc.mpc.correlations.base import MaskRef, Memory
from amint_mpc.mpc.ot.transfers import Transfers
from amint_mpc.mpc.pair.vectors import Scalars, Trees
from amint_mpc.mpc.protocols.rounds import InRounds, Rounds


@dataclass(repr=False)
class Making:
    """One plan on its way at one party. It holds masks and shares, and so has no repr.

    Args:
        rounds: of the link between the two makers.
        transfers: of the same link, enough of them for the plan.
        material: this party's; what is drawn stands there already, the kinds put the rest in.
        memory: masks of earlier plans that later ones link to (`correlations.base.keep`).
        trees: of this party's maker (vectors.py).
    """

    rounds: Rounds
    transfers: Transfers
    material: dict[str, dict[str, Tensor]]
    memory: Memory
    trees: Trees
    _known: dict[tuple[str, str, int], Tensor | None] = field(default_factory=dict, init=False)

    @property
    def party(self) -> int:
        return self.rounds.party

    def scalars(self, chooser: int, x: Tensor, count: int) -> Scalars:
        """Numbers of one party to multiply vectors of the other one with. x: [count]; the chooser's counts."""
        own = x if chooser == self.party else None
        return Scalars(self.transfers, self.rounds, chooser, own, count, self.trees)

    def tell(self, name: str, key: str, holder: int, share: Tensor | None) -> None:
        """Let other kinds go on: `holder` knows its share of a mask now. Both parties call it after the same exchange.

        Args:
            share: at the holder; at the other one nothing is kept of what is given.
        """
        self._known[name, key, holder] = share if holder == self.party else None

    def ask(self, mask: MaskRef, holder: int) -> InRounds[Tensor | None]:
        """Wait until `holder` knows its share of a mask. Returns it there, None at the other party."""
        while (mask.name, mask.key, holder) not in self._known:
            yield
        return self._known[mask.name, mask.key, holder]
