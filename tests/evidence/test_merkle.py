"""Trees against the definition of RFC 6962, section 2.1, and its published roots."""

from __future__ import annotations

import hashlib

import pytest

from amint_mpc.evidence.merkle import EMPTY, GrowingRoot, Tree, leaf_hash, node_hash, root_from_proof

# Inputs and roots that Certificate Transparency's implementations test against.
KNOWN = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")]
KNOWN.append(bytes.fromhex("606162636465666768696a6b6c6d6e6f"))
KNOWN_ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def by_definition(leaves: list[bytes]) -> bytes:
    """The recursion as the RFC writes it."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    cut = 1 << (len(leaves) - 1).bit_length() - 1
    return node_hash(by_definition(leaves[:cut]), by_definition(leaves[cut:]))


def leaves(count: int) -> list[bytes]:
    return [leaf_hash(number.to_bytes(2, "big")) for number in range(count)]


@pytest.mark.parametrize(("count", "root"), KNOWN_ROOTS.items())
def test_published_roots(count: int, root: str) -> None:
    hashes = [leaf_hash(data) for data in KNOWN[:count]]
    assert Tree(hashes).root.hex() == root


@pytest.mark.parametrize("count", [*range(20), 31, 33, 100])
def test_both_kinds_of_tree_follow_the_definition(count: int) -> None:
    growing = GrowingRoot()
    for leaf in leaves(count):
        growing.append(leaf)
    assert growing.root() == Tree(leaves(count)).root == by_definition(leaves(count))
    assert growing.size == Tree(leaves(count)).size == count


@pytest.mark.parametrize("count", [*range(1, 18), 33, 100])
def test_proofs_lead_to_the_root_and_no_other_does(count: int) -> None:
    tree = Tree(leaves(count))
    for index, leaf in enumerate(leaves(count)):
        proof = tree.proof(index)
        assert root_from_proof(leaf, index, count, proof) == tree.root
        assert root_from_proof(leaf, index, count, [*proof, EMPTY]) is None
        assert root_from_proof(leaf, count, count, proof) is None
        assert root_from_proof(leaf_hash(b"another"), index, count, proof) != tree.root
        if proof:
            assert root_from_proof(leaf, index, count, proof[:-1]) is None
            other = index - 1 if index else count - 1
            assert root_from_proof(leaf, other, count, proof) != tree.root


def test_no_proof_for_what_is_not_there() -> None:
    with pytest.raises(IndexError):
        Tree(leaves(3)).proof(3)
