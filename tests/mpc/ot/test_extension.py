"""Trees and extension against the paper's formulas, in C and in numpy."""

from __future__ import annotations

import random

import numpy as np
import pytest

from amint_mpc.mpc.ot import extension, native
from amint_mpc.mpc.ot.extension import TREES, UNIT, ExtensionChooser, ExtensionSender, message_shape
from amint_mpc.mpc.ot.pool import Bytes, Words
from amint_mpc.mpc.ot.punctured import LEAVES, LEVELS, base_choices, offer_trees, rebuild_trees
from tests.mpc.ot import reference


@pytest.fixture(params=["as built", "plain", "numpy"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "PLAIN", request.param == "plain")
    if request.param == "numpy":
        monkeypatch.setattr(native, "_library", None)


def numbers(row: Words) -> list[int]:
    return [int(low) | int(high) << 64 for low, high in row]


def keys(seed: int) -> tuple[list[list[bytes]], list[int]]:
    draw = random.Random(seed)
    missing = [0, LEAVES - 1, *(draw.randrange(LEAVES) for _ in range(TREES - 2))]
    return [[draw.randbytes(16) for _ in range(LEAVES)] for _ in range(TREES)], missing


def parties(seed: int) -> tuple[ExtensionChooser, ExtensionSender]:
    trees, missing = keys(seed)
    without = [
        [b"" if x == leaf else key for x, key in enumerate(tree)] for tree, leaf in zip(trees, missing, strict=True)
    ]
    return ExtensionChooser(trees), ExtensionSender(missing, without)


def extend(chooser: ExtensionChooser, sender: ExtensionSender, count: int) -> tuple[Words, Words, Bytes, Bytes]:
    t, q = np.empty((count, 2), dtype=np.uint64), np.empty((count, 2), dtype=np.uint64)
    bits = np.empty(count, dtype=np.uint8)
    message = chooser.extend(t, bits)
    sender.extend(q, message)
    return t, q, bits, message


def test_every_leaf_but_the_missing_one() -> None:
    draw = np.random.default_rng(1)
    missing = list(range(LEAVES))
    pads = draw.integers(0, 256, (LEVELS * len(missing), 2, 16), dtype=np.uint8)
    roots = [draw.bytes(16) for _ in missing]
    trees, message = offer_trees(roots, pads)
    chosen = pads[np.arange(len(pads)), base_choices(missing)]
    rebuilt = rebuild_trees(missing, chosen, message)
    for leaf, all_keys, known in zip(missing, trees, rebuilt, strict=True):
        assert len(set(all_keys)) == LEAVES
        assert known == [b"" if x == leaf else key for x, key in enumerate(all_keys)]


@pytest.mark.usefixtures("way")
def test_as_the_paper_says() -> None:
    chooser, sender = parties(2)
    start = 0
    for count in (UNIT, 2 * UNIT):  # streams go on
        t, q, bits, message = extend(chooser, sender, count)
        expected = reference.transfers(*keys(2), start, count)
        assert numbers(sender.delta[None]) == [expected.delta]
        assert bits.tolist() == expected.bits
        assert numbers(t) == expected.chooser_rows
        assert numbers(q) == expected.sender_rows
        assert message.shape == message_shape(count)
        assert np.unpackbits(message, axis=1, bitorder="little").tolist() == expected.corrections
        start += count


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("units", [1, 3, 41])
def test_rows_differ_by_delta_where_the_bit_is_one(units: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = extend(*parties(3), UNIT * units)
    t, q, bits, _ = whole
    delta = parties(3)[1].delta
    assert np.array_equal(t, q ^ bits.astype(np.uint64)[:, None] * delta)
    assert 0.4 < bits.mean() < 0.6
    monkeypatch.setattr(extension, "_CHUNK", 2 * UNIT)  # made in other pieces, the same comes out
    for one, other in zip(whole, extend(*parties(3), UNIT * units), strict=True):
        assert np.array_equal(one, other)
