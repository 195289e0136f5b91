"""One step of the head at one party: its openings, its masks, and what runs beside the layers in the same rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor

from amint_mpc.mpc.correlations.base import Material, Plan
from amint_mpc.mpc.protocols import truncate
from amint_mpc.mpc.protocols.rounds import InRounds, Opened, Rounds

if TYPE_CHECKING:
    from amint_mpc.mpc.dense.descent import Optimizer

T = TypeVar("T")


class _Concurrent:
    """A protocol that shares the rounds of the layers."""

    def __init__(self, protocol: InRounds[Any]) -> None:
        self._protocol = protocol
        self.ended, self.result = False, None
        self.advance()

    def advance(self) -> None:
        """Go on to the next opening that has to be waited for."""
        if not self.ended:
            try:
                next(self._protocol)
            except StopIteration as end:
                self.ended, self.result = True, end.value


@dataclass
class Step:
    """What the layers have of the step that they take part in.

    Args:
        optimizer: of a training step; None where nothing is updated.
        state: what the optimizer keeps from step to step, at this party.
        opened: the weights under their masks, by parameter: put there by the layer that posts them.
        open_gradient: whether the developer learns the gradient with respect to the features.
    """

    rounds: Rounds
    plan: Plan
    material: Mapping[str, Material]
    optimizer: Optimizer | None = None
    state: dict[str, Tensor] = field(default_factory=dict)
    opened: dict[str, Opened] = field(default_factory=dict)
    open_gradient: bool = True
    _concurrent: dict[str, _Concurrent] = field(default_factory=dict)

    def exchange(self) -> None:
        """One round of everything that was posted."""
        self.rounds.exchange()
        for protocol in self._concurrent.values():
            protocol.advance()

    def start(self, name: str, protocol: InRounds[Any]) -> None:
        """Begin a protocol that goes on with every exchange; `result` has what it ends with."""
        self._concurrent[name] = _Concurrent(protocol)

    def result(self, name: str) -> Any:
        """Of a protocol that was started."""
        if not self._concurrent[name].ended:
            raise RuntimeError(f"{name} is read before the rounds that lead to it")
        return self._concurrent[name].result

    def finish(self, protocol: InRounds[T]) -> T:
        """Go through the rest of a protocol, with as many rounds as it still needs."""
        while True:
            try:
                next(protocol)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            self.exchange()

    def truncated(self, name: str, share: Tensor) -> InRounds[Tensor]:
        """x >> bits, with the masks of that name: one round."""
        masks, party = self.plan[name], self.rounds.party
        assert isinstance(masks, truncate.TruncationMasks)
        opened = self.rounds.open(truncate.mask(share, self.material[name], party))
        yield
        return truncate.finish(opened.value, self.material[name], masks.bits, party)
