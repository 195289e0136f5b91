"""From the dealer to the protocols: one block a step, strictly one after the other.

Both parties and the dealer derive the plan of every step from the agreed experiment, so a block has no names in it:
it is the corrections of that step in the order of the plan, packed into one flat tensor for each dtype, and goes to
the developer alone. The dealer waits for nobody; its channel's queue is what holds it back.

Guarantees
    once: blocks are taken, or passed over, with steps 0, 1, 2, ...; a lost or repeated one is a `ProtocolError`, and
        the masks of a step are never handed out twice (`SecretStream` refuses too), those passed over never.
    only_the_plan: the dealer makes what the plan says and reads nothing from the wire.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from amint_mpc.errors import ProtocolError
from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.correlations.base import Field, Memory, Plan, complete, corrected, deal, expand
from amint_mpc.mpc.correlations.prg import SecretStream
from amint_mpc.transport.frames import Spec

TAG = "block"


class BlockSource(Protocol):
    """The part of a `Channel` to the dealer that the developer uses."""

    def receive(self, tag: str, step: int, *specs: Spec) -> list[Tensor]: ...


class Supply:
    """One party's correlated randomness, step by step.

    Args:
        stream: what this party has in common with the dealer.
        party: DEVELOPER or AUDITOR.
        source: the developer's link to the dealer; the auditor has none.
    """

    def __init__(self, stream: SecretStream, party: int, source: BlockSource | None = None) -> None:
        if (source is not None) != (party == DEVELOPER):
            raise ValueError("the developer has a source of corrections, the auditor has none")
        self._stream = stream
        self._source = source
        self._next = 0
        self.party = party

    def take(self, step: int, plan: Plan) -> dict[str, dict[str, Tensor]]:
        """The material of one step: for each name of the plan, this party's share of each field it holds.

        Raises:
            ProtocolError: not the step after the one taken last, or the dealer's block is another one.
            PeerError: the dealer is gone.
        """
        self._advance(step)
        material = expand(plan, self._stream, self.party, step)
        if self._source is None:
            return material
        fields = _fields(plan)
        return complete(plan, material, _unpack(fields, self._source.receive(TAG, step, *_specs(fields))))

    def skip(self, step: int, plan: Plan) -> None:
        """Pass over one step: its masks are never drawn, and its block, at the developer, is read and dropped.

        The dealer need not know: it deals the whole plan.

        Raises:
            ProtocolError, PeerError: as `take`.
        """
        self._advance(step)
        if self._source is not None:
            self._source.receive(TAG, step, *_specs(_fields(plan)))

    def _advance(self, step: int) -> None:
        if step != self._next:
            raise ProtocolError(
                f"the dealer's block for step {step} was asked for, but the next one is {self._next}",
                "The parties no longer agree on the step; start a new session",
            )
        self._next = step + 1


class DealerLink(Protocol):
    """The part of a `Channel` that the dealer uses."""

    def send(self, tag: str, step: int, *tensors: Tensor) -> None: ...
    def flush(self) -> None: ...


def serve(channel: DealerLink, streams: tuple[SecretStream, SecretStream], plans: Iterable[Plan]) -> int:
    """The dealer's whole work: a block for each plan, steps from 0. At most one block waits to be sent.

    Args:
        channel: the link to the developer.
        streams: what the dealer has in common with the developer and with the auditor.
        plans: of each step, in order; may be a generator, which is asked for a plan when its turn comes.

    Returns:
        The number of blocks sent.

    Raises:
        PeerError: the developer is gone, or takes nothing.
    """
    step, memory = -1, Memory()
    for step, plan in enumerate(plans):
        serve_step(channel, streams, step, plan, memory)
    channel.flush()
    return step + 1


def serve_step(
    channel: DealerLink, streams: tuple[SecretStream, SecretStream], step: int, plan: Plan, memory: Memory
) -> None:
    """Make the block of one step while the last one leaves, then send it. memory: one for the whole session."""
    block = _pack(_fields(plan), deal(plan, streams, step, memory))
    channel.flush()
    channel.send(TAG, step, *block)


def _fields(plan: Plan) -> list[Field]:
    return [field for _, _, field in corrected(plan)]


def _specs(fields: Sequence[Field]) -> list[Spec]:
    """What a block consists of: for each dtype, in the order of first use, one flat tensor."""
    sizes: dict[torch.dtype, int] = {}
    for dtype, shape in (field.correction for field in fields):
        sizes[dtype] = sizes.get(dtype, 0) + torch.Size(shape).numel()
    return [(dtype, (size,)) for dtype, size in sizes.items()]


def _pack(fields: Sequence[Field], corrections: Sequence[Tensor]) -> list[Tensor]:
    made: dict[torch.dtype, list[Tensor]] = {}
    for (dtype, _), tensor in zip((field.correction for field in fields), corrections, strict=True):
        if tensor.dtype != dtype:
            raise TypeError(f"a correction is {tensor.dtype}, its field says {dtype}")
        made.setdefault(dtype, []).append(tensor.reshape(-1))
    return [torch.cat(parts) for parts in made.values()]


def _unpack(fields: Sequence[Field], block: Sequence[Tensor]) -> list[Tensor]:
    rest = {tensor.dtype: tensor for tensor in block}
    tensors = []
    for dtype, shape in (field.correction for field in fields):
        size = torch.Size(shape).numel()
        flat = rest[dtype]
        tensors.append(flat[:size].view(shape))
        rest[dtype] = flat[size:]
    return tensors
