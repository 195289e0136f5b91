"""The sign of shared values, and products with shared bits, for CrypTen's layers: with fewer ANDs than its own.

CrypTen adds the two shares as binary numbers of 64 bits, with 13 ANDs of whole words; only the highest carry is wanted.

Steps of a sign
    1. of each bit but the highest of the shares s0 and s1: g = s0 & s1 (`AndOfParts`), and p = s0 ^ s1. Bit by bit:
       a carry arises where g is 1, and goes on where p is 1.
    2. neighbours, higher and lower: g = g_h ^ (p_h & g_l), p = p_h & p_l (`AndTriple`), until one g is left, which is
       the carry into the highest bit. The sign is the XOR of that and of both highest bits.
Steps of a product of a bit b with x (`Selection`)
    3. e = x - r and d = b ^ beta are opened. b x = d x + (1 - 2 d) beta x, with beta x = e beta + beta r.

Sources: the tree of carries on shares: Catrina and de Hoogh 2010; the product as in protocols/relu.py.
Who learns what: nothing; all that is opened is uniform.
Rounds: 7 for a sign, 1 for a product. Bytes of a value, each party: 32 for a sign, 8 1/8 for a product.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributed import ReduceOp

from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.correlations.base import Material
from amint_mpc.mpc.correlations.generic import AndOfParts, AndTriple, Selection
from amint_mpc.mpc.crypten.provider import Provider

BITS = 64


def negative(share: Tensor, provider: Provider, communicator: Any) -> Tensor:
    """XOR share of 1 where a value is below 0, uint8.

    Args:
        share: this party's, int64, of any value.
    """
    count = share.numel()
    words = (share << 1).contiguous().reshape(count, 1).numpy().view(np.uint8)
    own = np.unpackbits(words, axis=1, bitorder="little").T  # the lowest first; in its place a 0, which carries nothing
    p, level = own, BITS
    parts = AndOfParts((_bytes(level * count),))
    g = _unpacked(_of_parts(torch.from_numpy(np.packbits(own)), provider.material(parts), communicator), level, count)
    while level > 1:
        level //= 2
        kept = 2 if level > 1 else 1  # the last p is not wanted
        lower = np.stack([g[::2], p[::2]][:kept])
        width = _bytes(level * count)
        masks = provider.material(AndTriple((1, width), (kept, width), torch.uint8))
        product = _and(_packed(p[None, 1::2]), _packed(lower), masks, communicator)
        changed = [_unpacked(row, level, count) for row in product]
        g = g[1::2] ^ changed[0]
        p = changed[-1]
    return (torch.from_numpy(g[0].copy()) ^ (share.reshape(-1) < 0).to(torch.uint8)).reshape(share.shape)


def selected(bits: Tensor, share: Tensor, provider: Provider, communicator: Any) -> Tensor:
    """This party's share of b x.

    Args:
        bits: XOR share of b, uint8 of 0 or 1. share: of x, int64, of the same shape.
    """
    shape, count = tuple(share.shape), share.numel()
    masks = provider.material(Selection(shape))
    masked = np.packbits((bits ^ (masks["word"] & 1)).reshape(-1).numpy())
    padded = torch.from_numpy(np.pad(masked, (0, -len(masked) % 8)).view(np.int64))  # in one message with the words
    sent = communicator.all_gather(torch.cat([(share - masks["r"]).reshape(-1), padded]))
    e = (sent[0][:count] + sent[1][:count]).reshape(shape)
    flips = (sent[0][count:] ^ sent[1][count:]).numpy().view(np.uint8)
    d = torch.from_numpy(np.unpackbits(flips, count=count)).bool().reshape(shape)
    beta_x = e * masks["ring"] + masks["product"]
    return torch.where(d, share - beta_x, beta_x)


def _of_parts(own: Tensor, masks: Material, communicator: Any) -> Tensor:
    """Share of the AND of the developer's bits and the auditor's."""
    party = communicator.get_rank()
    developers, auditors = communicator.all_gather(own ^ masks["alpha" if party == DEVELOPER else "beta"])
    # x & y = x & y' ^ x' & beta ^ alpha & beta, where x' = x ^ alpha and y' = y ^ beta are sent
    share: Tensor = masks["c"] ^ (own & auditors if party == DEVELOPER else developers & masks["beta"])
    return share


def _and(x: Tensor, y: Tensor, masks: Material, communicator: Any) -> Tensor:
    """Share of x & y (Beaver 1991). x: [1, bytes]. y: [parts, bytes]."""
    d, e = communicator.all_reduce([x ^ masks["a"], y ^ masks["b"]], op=ReduceOp.BXOR, batched=True)
    share: Tensor = masks["c"] ^ (d & masks["b"]) ^ (masks["a"] & e)
    return share ^ (d & e) if communicator.get_rank() == DEVELOPER else share


def _bytes(bits: int) -> int:
    return -(-bits // 8)


def _packed(bits: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    """[parts, level, count] -> [parts, bytes]."""
    return torch.from_numpy(np.packbits(bits.reshape(len(bits), -1), axis=1))


def _unpacked(packed: Tensor, level: int, count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.unpackbits(packed.numpy(), count=level * count).reshape(level, count)
