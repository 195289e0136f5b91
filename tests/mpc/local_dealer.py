"""Correlated randomness with the dealer's work done in place, reproducibly; who uses it knows both seeds."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from amint_mpc.errors import ProtocolError
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import Memory, Plan
from amint_mpc.mpc.correlations.prg import SEED_BYTES, SecretStream, derive_key
from amint_mpc.mpc.correlations.supply import Supply, serve_step
from amint_mpc.transport.frames import Spec

Streams = tuple[SecretStream, SecretStream]


class LocalDealer:
    """Both ends of the link from the dealer to the developer: a block is dealt when it is asked for."""

    def __init__(self, streams: Streams, plans: Iterable[Plan]) -> None:
        self._streams, self._plans, self._memory = streams, iter(plans), Memory()
        self._block: tuple[str, int, tuple[Tensor, ...]] = ("", -1, ())

    def receive(self, tag: str, step: int, *specs: Spec) -> list[Tensor]:
        plan = next(self._plans, None)
        if plan is None:
            raise ProtocolError(f"the dealer has no block for step {step}")
        serve_step(self, self._streams, step, plan, self._memory)
        sent_tag, sent_step, block = self._block
        assert (sent_tag, sent_step) == (tag, step)
        assert [(tensor.dtype, tuple(tensor.shape)) for tensor in block] == list(specs), "another plan was asked for"
        return list(block)

    def send(self, tag: str, step: int, *tensors: Tensor) -> None:
        self._block = (tag, step, tensors)

    def flush(self) -> None:
        """Nothing is on its way."""


def local_supplies(plans: Iterable[Plan], seed: int = 0) -> tuple[Supply, Supply]:
    """Supplies of both parties; the developer's asks a dealer in place."""

    def streams() -> Streams:
        return tuple(
            SecretStream(derive_key(seed.to_bytes(SEED_BYTES, "big"), name), "dealer")
            for name in ("developer", "auditor")
        )

    own = streams()
    return Supply(own[DEVELOPER], DEVELOPER, LocalDealer(streams(), plans)), Supply(own[AUDITOR], AUDITOR)
