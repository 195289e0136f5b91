"""Secret bits for CrypTen's layers: ANDs (`AndTriple`, `AndOfParts`), bits in both kinds of sharing (`SharedBit`), and
their products with words (`Selection`).

Steps of an AND
    1. each party chooses with the bits of its share of a. Of `AndOfParts` the auditor alone, with beta.
    2. each answers with those of b (factors.py), or the developer with alpha. Where a stands for several parts of b,
       all their bits go in one word.
Steps of a bit
    1. the auditor chooses with its bit, for a product both do.
    2. the developer answers with its own: b = b_D + b_A - 2 b_D b_A; for a product each answers with its part of r.

Who learns what: nothing. Exchanges: 2. Bytes of an AND, each party: 1 1/8, and a transfer in which it chooses; of a
bit: developer 8, auditor 1/8, and a transfer in which the auditor chooses; of a product 8 1/8 more, and a transfer.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.generic import AndOfParts, AndTriple, Selection, SharedBit
from amint_mpc.mpc.pair.factors import SharedBits
from amint_mpc.mpc.pair.making import Making
from amint_mpc.mpc.protocols.rounds import InRounds


def and_transfers(triple: AndTriple) -> tuple[int, int]:
    """In which the developer and the auditor choose."""
    parts, _ = _parts(triple)
    each = 8 * math.prod(triple.fields["c"].shape) * triple.dtype.itemsize // parts
    return each, each


def and_triple(making: Making, name: str, triple: AndTriple) -> InRounds[None]:
    """All of it."""
    m, shape = making.material[name], triple.fields["c"].shape
    parts, left = _parts(triple)
    a = SharedBits(making.transfers, _bits(m["a"].expand(left)).reshape(-1))
    b = _bits(m["b"].expand(shape)).reshape(parts, -1)
    yield
    places = torch.arange(parts, dtype=torch.uint8)[:, None]
    product = a.times_xor((b << places).sum(dim=0, dtype=torch.uint8))
    yield
    c = ((product.share >> places) & 1).reshape(-1).numpy()
    m["c"] = torch.from_numpy(np.packbits(c)).view(triple.dtype).reshape(shape)


def _parts(triple: AndTriple) -> tuple[int, tuple[int, ...]]:
    """Of how many parts of b, 8 at most, the same a goes with each; and the shape of what goes with one part."""
    shape = triple.fields["c"].shape
    if len(triple.left) == len(shape) and triple.left[:1] == (1,) and 1 < shape[0] <= 8:
        return shape[0], shape[1:] and (1, *shape[1:])
    return 1, shape


def _bits(words: Tensor) -> Tensor:
    """All bits of words, uint8."""
    return torch.from_numpy(np.unpackbits(words.contiguous().reshape(-1).numpy().view(np.uint8)))


def parts_transfers(parts: AndOfParts) -> tuple[int, int]:
    """In which the developer and the auditor choose."""
    return 0, 8 * math.prod(parts.shape)


def and_of_parts(making: Making, name: str, parts: AndOfParts) -> InRounds[None]:
    """All of it."""
    m, developer = making.material[name], making.party == DEVELOPER
    own = _bits(m["alpha" if developer else "beta"])
    choice = making.transfers.choose(AUDITOR, None if developer else own, len(own))
    yield
    product = making.transfers.multiply(choice, own[:, None] if developer else None, 1, torch.uint8, xor=True)
    yield
    m["c"] = torch.from_numpy(np.packbits(product.share[:, 0].numpy() & 1)).reshape(parts.shape)


def bit_transfers(bit: SharedBit) -> tuple[int, int]:
    """In which the developer and the auditor choose."""
    return 0, math.prod(bit.shape)


def shared_bit(making: Making, name: str, bit: SharedBit) -> InRounds[None]:
    """All of it."""
    m, count, developer = making.material[name], math.prod(bit.shape), making.party == DEVELOPER
    own = (m["word"] & 1).reshape(-1)
    choice = making.transfers.choose(AUDITOR, None if developer else own, count)
    yield
    product = making.transfers.multiply(choice, own[:, None].long() if developer else None, 1, torch.int64)
    yield
    m["ring"] = own.long().sub_(product.share[:, 0], alpha=2).reshape(bit.shape)


def selection_transfers(selection: Selection) -> tuple[int, int]:
    """In which the developer and the auditor choose."""
    return math.prod(selection.shape), math.prod(selection.shape)


def selection(making: Making, name: str, selection: Selection) -> InRounds[None]:
    """All of it."""
    m = making.material[name]
    own, r = (m["word"] & 1).reshape(-1), m["r"].reshape(-1)
    beta, one = SharedBits(making.transfers, own), torch.ones_like(r)
    yield
    terms = [
        beta.times(DEVELOPER, [r, one] if making.party == DEVELOPER else None, 2),
        beta.times(AUDITOR, [r] if making.party == AUDITOR else None, 1),
    ]
    yield
    (of_r, ring), (of_other,) = (term.share for term in terms)
    m["product"], m["ring"] = (of_r + of_other).reshape(selection.shape), ring.reshape(selection.shape)
