"""CrypTen's requests for correlated randomness, answered from the dealer's plan.

`RecordingProvider` writes down what a step asks for, `DealtProvider` hands it out, in that order and nothing else.
CrypTen's own providers are never used: in TFP the first party knows every mask, in TTP a server obeys names that it
receives.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import Any

import torch
from torch import Tensor

from amint_mpc.errors import ProtocolError
from amint_mpc.mpc.correlations.base import Correlation, Material, Plan
from amint_mpc.mpc.correlations.generic import AndTriple, Option, Product, SharedBit, Square, Wraps
from amint_mpc.mpc.crypten_compat import crypten
from amint_mpc.mpc.protocols import divide, truncate

Arithmetic = crypten.mpc.primitives.ArithmeticSharedTensor
Binary = crypten.mpc.primitives.BinarySharedTensor


class Provider(ABC):
    """What CrypTen 0.4.1 calls on its provider, and the two kinds of masks that our division needs."""

    @abstractmethod
    def material(self, wanted: Correlation) -> Material:
        """This party's share of one correlation."""

    def generate_additive_triple(
        self, size0: Any, size1: Any, op: str, device: Any = None, *args: Any, **options: Any
    ) -> tuple[Any, Any, Any]:
        """Shares of a, b and op(a, b)."""
        if args:
            raise ProtocolError(f"CrypTen's {op} with positional options {args} has no triple")
        frozen = tuple(sorted((key, _frozen(value)) for key, value in options.items()))
        shares = self.material(Product(op, tuple(size0), tuple(size1), frozen))
        return tuple(Arithmetic.from_shares(shares[key], precision=0) for key in "abc")

    def square(self, size: Any, device: Any = None) -> tuple[Any, Any]:
        """Shares of r and r^2."""
        shares = self.material(Square(tuple(size)))
        return tuple(Arithmetic.from_shares(shares[key], precision=0) for key in ("r", "r2"))

    def generate_binary_triple(self, size0: Any, size1: Any, device: Any = None) -> tuple[Any, Any, Any]:
        """XOR shares of a, b and a & b."""
        shares = self.material(AndTriple(tuple(size0), tuple(size1)))
        return tuple(Binary.from_shares(shares[key], precision=0) for key in "abc")

    def B2A_rng(self, size: Any, device: Any = None) -> tuple[Any, Any]:  # noqa: N802
        """A random bit, additively and XOR shared."""
        shares = self.material(SharedBit(tuple(size)))
        word = (shares["word"] & 1).long()
        return Arithmetic.from_shares(shares["ring"], precision=0), Binary.from_shares(word, precision=0)

    def wrap_rng(self, size: Any, device: Any = None) -> tuple[Any, Any]:
        """Shares of r and of the number of wraps of its shares."""
        shares = self.material(Wraps(tuple(size)))
        return tuple(Arithmetic.from_shares(shares[key], precision=0) for key in ("r", "theta"))

    def quotient(self, share: Tensor, divisor: int, communicator: Any) -> Tensor:
        """This party's share of x / divisor, less than two units off and never more. One opening.

        Args:
            share: of x, int64, |x| < 2^62 - divisor.
            divisor: 2 to 2^32, or a power of two up to 2^62.
        """
        shape, party = tuple(share.shape), communicator.get_rank()
        if divisor & (divisor - 1) == 0:
            bits = divisor.bit_length() - 1
            truncation = truncate.TruncationMasks(shape, bits)
            material = self.material(truncation)
            developer, auditor = communicator.all_gather(truncate.masked_signs(share, material, party))
            return truncate.finish(share, (developer, auditor), truncation, material, party)
        masks = self.material(divide.DivisionMasks(shape, divisor))
        developer, auditor = communicator.all_gather(divide.masked_signs(share, masks, divisor, party))
        return divide.finish(share, (developer, auditor), masks, divisor, party)


class DealtProvider(Provider):
    """Hands out the dealer's material of one step, strictly in the order of the plan.

    Guarantees
        only_the_plan: a request of another kind or shape, one too many, or one outside of a step is a
            `ProtocolError`, and so is a step that ends before all of its material is used.
    """

    def __init__(self) -> None:
        self._rest: deque[tuple[Correlation, Material]] = deque()
        self._total = 0

    def load(self, plan: Plan, material: dict[str, dict[str, Tensor]]) -> None:
        """Begin a step."""
        self._rest = deque((correlation, material[name]) for name, correlation in plan.items())
        self._total = len(self._rest)

    def finish(self) -> None:
        """End a step."""
        if self._rest:
            raise ProtocolError(
                f"the step ended before {len(self._rest)} of its {self._total} correlations were used",
                "The step and the plan that was made of it must be the same computation",
            )

    def drop(self) -> None:
        """Forget what is left of a step that failed."""
        self._rest.clear()

    def material(self, wanted: Correlation) -> Material:
        at = self._total - len(self._rest)
        if not self._rest:
            raise ProtocolError(
                f"{wanted} was asked for after all {self._total} correlations of the plan, or in no step"
            )
        planned, shares = self._rest[0]
        if wanted != planned:
            raise ProtocolError(
                f"{wanted} was asked for where the plan has {planned} (number {at} of the step)",
                "The step and the plan that was made of it must be the same computation",
            )
        self._rest.popleft()
        return shares


class RecordingProvider(Provider):
    """Notes every request and answers it with zeros: for a dry run on zeros, see tracing.py. It protects nothing."""

    def __init__(self) -> None:
        self.plan: dict[str, Correlation] = {}

    def material(self, wanted: Correlation) -> Material:
        self.plan[f"{len(self.plan)}"] = wanted
        return {key: torch.zeros(field.shape, dtype=field.dtype) for key, field in wanted.fields.items()}


def _frozen(value: Any) -> Option:
    if isinstance(value, (list, tuple)):
        return tuple(int(item) for item in value)
    if isinstance(value, str):
        return value
    return int(value)
