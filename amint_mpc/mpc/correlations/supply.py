"""From the dealer to the protocols: one block a step, strictly one after the other, and between them those that are
checked (`checking`).

Both parties and the dealer derive the plan of every block from the agreed experiment, so a block has no names in it:
it is the corrections of one step in the order of the plan, packed into one flat tensor for each dtype, and goes to
the developer alone. The dealer waits for nobody; its channel's queue is what holds it back.

Guarantees
    once: blocks are taken, or passed over, with steps 0, 1, 2, ...; a lost or repeated one is a `ProtocolError`, and
        the masks of a step are never handed out twice (`SecretStream` refuses too), those passed over never.
    only_the_plan: the dealer makes what the plan says and reads nothing from the wire.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from amint_mpc.errors import ProtocolError
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import (
    Field,
    Memory,
    Plan,
    complete,
    corrected,
    corrections_of,
    deal,
    expand,
    expand_key,
    keep,
)
from amint_mpc.mpc.correlations.checking import Block
from amint_mpc.mpc.correlations.prg import SEED_BYTES, SecretStream
from amint_mpc.transport.channel import Channel
from amint_mpc.transport.frames import Spec, as_bytes, as_tensor

TAG, CHECK = "block", "block-check"
KEY_SPEC: Spec = (torch.uint8, (SEED_BYTES,))


class BlockSource(Protocol):
    """The part of a `Channel` to the dealer that the developer uses."""

    def receive(self, tag: str, step: int, *specs: Spec) -> list[Tensor]: ...


class Supply:
    """One party's correlated randomness, step by step.

    Args:
        stream: what this party has in common with the dealer.
        party: DEVELOPER or AUDITOR.
        source: the developer's link to the dealer; the auditor has none.
        order: every block of the session, so that some are checked; None: every block is used.
        peer: the link to the other party, where blocks are checked.

    Attributes:
        chain: of the blocks that came, at the developer (`BlockChain`).
        checked: how many blocks were checked.
    """

    def __init__(
        self,
        stream: SecretStream,
        party: int,
        source: BlockSource | None = None,
        order: Iterator[Block] | None = None,
        peer: Channel | None = None,
    ) -> None:
        if (source is not None) != (party == DEVELOPER):
            raise ValueError("the developer has a source of corrections, the auditor has none")
        if order is not None and peer is None:
            raise ValueError("blocks are checked with the other party")
        self._stream, self._source, self._order, self._peer = stream, source, order, peer
        self._memory = Memory()
        self._next, self._block = 0, 0
        self.chain, self.checked = BlockChain(), 0
        self.party = party

    def take(self, step: int, plan: Plan) -> dict[str, dict[str, Tensor]]:
        """The material of one step: for each name of the plan, this party's share of each field it holds.

        Raises:
            ProtocolError: not the step after the one taken last, the dealer's block is another one, or one that was
                checked is wrong.
            PeerError: the dealer is gone.
        """
        self._advance(step)
        self._to_the_next_used(self._check)
        material = expand(plan, self._stream, self.party, self._block)
        keep(plan, self.party, material, self._memory)
        corrections = self._receive(plan)
        return complete(plan, material, corrections) if self.party == DEVELOPER else material

    def skip(self, step: int, plan: Plan) -> None:
        """Pass over one step: its masks are never drawn, and its block, at the developer, is read and dropped.

        The dealer need not know: it deals the whole plan.

        Raises:
            ProtocolError, PeerError: as `take`.
        """
        self._advance(step)
        self._to_the_next_used(self._receive)
        self._receive(plan)

    def finish(self) -> None:
        """After the last step: check what is left.

        Raises:
            ProtocolError, PeerError: as `take`.
        """
        self._to_the_next_used(self._check)

    @property
    def blocks(self) -> int | None:
        """How many came; None at the auditor, who gets none."""
        return None if self._source is None else self.chain.blocks

    def _advance(self, step: int) -> None:
        if step != self._next:
            raise ProtocolError(
                f"the dealer's block for step {step} was asked for, but the next one is {self._next}",
                "The parties no longer agree on the step; start a new session",
            )
        self._next = step + 1

    def _to_the_next_used(self, pass_over: Callable[[Plan], object]) -> None:
        for block in self._order or ():
            if not block.checked:
                break
            pass_over(block.plan)

    def _receive(self, plan: Plan) -> list[Tensor]:
        """The next block: its corrections at the developer; nothing at the auditor."""
        number, self._block = self._block, self._block + 1
        if self._source is None:
            return []
        fields = _fields(plan)
        block = self._source.receive(TAG, number, *block_specs(plan))
        self.chain.add(block)
        return _unpack(fields, block)

    def _check(self, plan: Plan) -> None:
        assert self._peer is not None
        number, key = self._block, self._stream.reveal(self._block)
        self.checked += 1
        if self.party == AUDITOR:
            self._block += 1
            self._peer.send(CHECK, number, as_tensor(key))
            return
        came = self._receive(plan)
        theirs = as_bytes(self._peer.receive(CHECK, number, KEY_SPEC)[0])
        drawn = [expand_key(plan, each, party) for party, each in ((DEVELOPER, key), (AUDITOR, theirs))]
        made = corrections_of(plan, drawn, self._memory)
        if not all(torch.equal(mine, other) for mine, other in zip(made, came, strict=True)):
            raise ProtocolError(
                f"block {number} of the dealer is wrong: it does not follow from the seeds of the two parties",
                "The dealer dealt it wrong, or the auditor showed another key: opening both seeds decides. No figure "
                "of this run counts",
            )


class BlockChain:
    """A hash over all blocks of a session, one after another: SHA-256 of the hash so far and that of the block."""

    def __init__(self) -> None:
        self._value = bytes(32)
        self.blocks = 0

    def add(self, block: Sequence[Tensor]) -> None:
        """Args: block: as it crosses the link."""
        digest = hashlib.sha256()
        for tensor in block:
            digest.update(tensor.contiguous().numpy().reshape(-1).data.cast("B") if tensor.numel() else b"")
        self._value = hashlib.sha256(self._value + digest.digest()).digest()
        self.blocks += 1

    def hex(self) -> str:
        """Of all blocks so far."""
        return self._value.hex()


class DealerLink(Protocol):
    """The part of a `Channel` that the dealer uses."""

    def send(self, tag: str, step: int, *tensors: Tensor) -> None: ...
    def flush(self) -> None: ...


def serve(channel: DealerLink, streams: tuple[SecretStream, SecretStream], plans: Iterable[Plan]) -> BlockChain:
    """The dealer's whole work: a block for each plan, steps from 0. At most one block waits to be sent.

    Args:
        channel: the link to the developer.
        streams: what the dealer has in common with the developer and with the auditor.
        plans: of each step, in order; may be a generator, which is asked for a plan when its turn comes.

    Returns:
        the chain of all blocks that were sent.

    Raises:
        PeerError: the developer is gone, or takes nothing.
    """
    memory, chain = Memory(), BlockChain()
    for step, plan in enumerate(plans):
        chain.add(serve_step(channel, streams, step, plan, memory))
    channel.flush()
    return chain


def serve_step(
    channel: DealerLink, streams: tuple[SecretStream, SecretStream], step: int, plan: Plan, memory: Memory
) -> list[Tensor]:
    """Make the block of one step while the last one leaves, then send it. memory: one for the whole session."""
    block = _pack(_fields(plan), deal(plan, streams, step, memory))
    channel.flush()
    channel.send(TAG, step, *block)
    return block


def _fields(plan: Plan) -> list[Field]:
    return [field for _, _, field in corrected(plan)]


def block_specs(plan: Plan) -> list[Spec]:
    """What a block consists of: for each dtype, in the order of first use, one flat tensor."""
    sizes: dict[torch.dtype, int] = {}
    for dtype, shape in (field.correction for field in _fields(plan)):
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
