"""Trees of 16 keys: one party knows all of them, the other all but one, and which one only the other knows.

A node's two children are the halves of its SHA-256 (Goldreich, Goldwasser, Micali 1986). Of each level the owner offers
two sums, of all left and of all right children, each under one pad of a base transfer. The other one, whose missing
leaf has the bit b at that level, has chosen the sum of side 1 - b: it knows all other nodes of that side, so the sum
gives it the sibling of the path.

Source: Boyle, Couteau, Gilboa, Ishai, Kohl, Rindal, Scholl, CCS 2019, as used in Roy, "SoftSpokenOT", CRYPTO 2022.
Exchanges: 1 after the base transfers. Bytes: 128 a tree.
"""

from __future__ import annotations

from hashlib import sha256

import numpy as np

from amint_mpc.mpc.ot.pool import Bytes

LEVELS = 4
LEAVES = 1 << LEVELS
KEY_BYTES = 16


def offer_trees(roots: list[bytes], pads: Bytes) -> tuple[list[list[bytes]], Bytes]:
    """The owner's part.

    Args:
        roots: one a tree, 16 bytes.
        pads: [LEVELS * trees, 2, 16], of the base transfers.

    Returns:
        The leaves of each tree, and the message, shaped as `pads`.
    """
    leaves, sums = [], []
    for root in roots:
        nodes = [root]
        for _ in range(LEVELS):
            nodes = [child for node in nodes for child in _children(node)]
            sums += [_xor(nodes[0::2]), _xor(nodes[1::2])]
        leaves.append(nodes)
    return leaves, np.frombuffer(b"".join(sums), dtype=np.uint8).reshape(pads.shape) ^ pads


def base_choices(missing: list[int]) -> Bytes:
    """What the other one chooses in the base transfers: [LEVELS * trees], the sides away from each path."""
    sides = [1 - (leaf >> level & 1) for leaf in missing for level in reversed(range(LEVELS))]
    return np.array(sides, dtype=np.uint8)


def rebuild_trees(missing: list[int], pads: Bytes, message: Bytes) -> list[list[bytes]]:
    """The other one's part.

    Args:
        missing: for each tree, the number of the leaf that it does not get.
        pads: [LEVELS * trees, 16], as chosen by `base_choices`.
        message: the owner's.

    Returns:
        The leaves of each tree; the missing one is empty.
    """
    sides = base_choices(missing)
    sums = iter((message[np.arange(len(sides)), sides] ^ pads).tolist())
    trees = []
    for leaf in missing:
        nodes = [b""]
        for level in reversed(range(LEVELS)):
            nodes = [child for node in nodes for child in (_children(node) if node else (b"", b""))]
            sibling = leaf >> level ^ 1
            nodes[sibling] = _xor([bytes(next(sums)), *(node for node in nodes[sibling & 1 :: 2] if node)])
        trees.append(nodes)
    return trees


def _children(node: bytes) -> tuple[bytes, bytes]:
    digest = sha256(b"amint-mpc/1/tree" + node).digest()
    return digest[:KEY_BYTES], digest[KEY_BYTES:]


def _xor(nodes: list[bytes]) -> bytes:
    total = 0
    for node in nodes:
        total ^= int.from_bytes(node, "big")
    return total.to_bytes(KEY_BYTES, "big")
