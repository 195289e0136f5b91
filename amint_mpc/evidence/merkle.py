"""Merkle trees as in RFC 6962 and RFC 9162, section 2.1: a root for a list, and short proofs about it.

    leaf = SHA-256(0x00 || data)      node = SHA-256(0x01 || left || right)      empty list: SHA-256 of nothing

A list of n is cut at the largest power of two below n. The first byte keeps a leaf from passing as a node, so two
different lists never have the same root unless SHA-256 has a collision.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

EMPTY = hashlib.sha256().digest()


def leaf_hash(data: bytes) -> bytes:
    """Hash of one entry."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of two subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class GrowingRoot:
    """The root of a list that grows; it keeps one hash for each bit of the size.

    Attributes:
        size: entries so far.
    """

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []  # of full subtrees, the largest first

    def append(self, leaf: bytes) -> None:
        """Add an entry by its `leaf_hash`."""
        self._peaks.append(leaf)
        self.size += 1
        full = self.size
        while full % 2 == 0:  # the last two subtrees are of one size
            right = self._peaks.pop()
            self._peaks.append(node_hash(self._peaks.pop(), right))
            full //= 2

    def root(self) -> bytes:
        """Of all entries so far."""
        if not self._peaks:
            return EMPTY
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = node_hash(peak, root)
        return root


class Tree:
    """A whole list with all its subtrees, for proofs.

    Args:
        leaves: the `leaf_hash` of each entry.
    """

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self._levels = [list(leaves)]
        while len(self._levels[-1]) > 1:
            below = self._levels[-1]
            level = [node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)]
            # A last one without a partner stands for itself one level up: the same cut as the RFC's.
            self._levels.append(level + below[len(below) - len(below) % 2 :])

    @property
    def size(self) -> int:
        return len(self._levels[0])

    @property
    def root(self) -> bytes:
        return self._levels[-1][0] if self.size else EMPTY

    def proof(self, index: int) -> list[bytes]:
        """The hashes that lead from entry `index` to the root (RFC 9162, 2.1.3.1).

        Raises:
            IndexError: there is no such entry.
        """
        if not 0 <= index < self.size:
            raise IndexError(f"entry {index} of {self.size}")
        path = []
        for level in self._levels[:-1]:
            if index ^ 1 < len(level):
                path.append(level[index ^ 1])
            index //= 2
        return path


def root_from_proof(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """The root that a proof leads to (RFC 9162, 2.1.3.2); None where it fits no tree of this size.

    Args:
        leaf: the `leaf_hash` of the entry.
    """
    if not 0 <= index < size:
        return None
    at, last, root = index, size - 1, leaf
    for other in proof:
        if last == 0:
            return None
        if at % 2 or at == last:
            root = node_hash(other, root)
            while at % 2 == 0 and at:
                at, last = at // 2, last // 2
        else:
            root = node_hash(root, other)
        at, last = at // 2, last // 2
    return root if last == 0 else None
