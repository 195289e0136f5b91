"""The streams that masks come from: fixed vectors, an independent computation, and what they refuse."""

from __future__ import annotations

import hashlib
import hmac

import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from amint_mpc.errors import ProtocolError
from amint_mpc.mpc.correlations.prg import SecretStream, derive_key
from tests.mpc.views import p_value

SECRET = bytes(range(32))


def keystream(key: bytes, length: int) -> bytes:
    """AES-256-CTR from single blocks: the counter block is the number of the block."""
    blocks = b"".join(i.to_bytes(16, "big") for i in range(-(-length // 16)))
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(blocks)[:length]


def test_derived_keys_are_hkdf_sha_256() -> None:
    """RFC 5869 by hand: extract with a salt of zeros, expand one block."""
    for label in ("dealer", "weights", ""):
        extracted = hmac.new(bytes(32), SECRET, hashlib.sha256).digest()
        info = b"amint-mpc/1/" + label.encode()
        assert derive_key(SECRET, label) == hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()


def test_vector_of_a_derived_key() -> None:
    assert derive_key(SECRET, "dealer").hex() == "e0acfe07ba9d6637a65c72cb5b1b8e8e77454ca7a24f0feed31615a21b25f4c7"


def test_vector_of_a_draw() -> None:
    drawn = SecretStream(SECRET, "dealer").draw(7, [(torch.int64, (2,)), (torch.int16, (3,)), (torch.uint8, (2,))])
    assert [tensor.tolist() for tensor in drawn] == [
        [-1579946079567129294, -2618263324471183295],
        [-20930, -7529, -16724],
        [182, 136],
    ]


@pytest.mark.parametrize("step", [0, 1, 255, 256, 2**32, 2**63, 2**64 - 1])
def test_draw_is_the_keystream_of_its_step(step: int) -> None:
    key = derive_key(SECRET, "x")
    specs = [(torch.int64, (3, 5)), (torch.uint8, (7,)), (torch.int32, ()), (torch.int16, (0,)), (torch.int64, (1000,))]
    drawn, at = SecretStream(SECRET, "x").draw(step, specs), 0
    stream = keystream(hmac.digest(key, step.to_bytes(8, "big"), "sha256"), 16384)
    for tensor, (dtype, shape) in zip(drawn, specs, strict=True):
        raw = tensor.numpy().tobytes()
        assert (tensor.dtype, tuple(tensor.shape)) == (dtype, shape)
        assert raw == stream[at : at + len(raw)]
        at += -(-len(raw) // 16) * 16  # each tensor starts at a block of its own


def test_a_long_draw_counts_blocks_without_a_gap() -> None:
    (drawn,) = SecretStream(SECRET, "x").draw(3, [(torch.uint8, (3_000_000,))])
    assert drawn.numpy().tobytes() == keystream(
        hmac.digest(derive_key(SECRET, "x"), bytes(7) + b"\3", "sha256"), 3_000_000
    )


@pytest.mark.parametrize("steps", [(0, 0), (5, 5), (5, 4), (5, 0), (0, 1, 1), (0, -1)])
def test_a_step_is_drawn_once_and_only_forwards(steps: tuple[int, ...]) -> None:
    stream = SecretStream(SECRET, "x")
    for step in steps[:-1]:
        stream.draw(step, [(torch.uint8, (1,))])
    with pytest.raises(ProtocolError, match="used before"):
        stream.draw(steps[-1], [(torch.uint8, (1,))])


def test_normal_numbers_use_up_a_step_too() -> None:
    stream = SecretStream(SECRET, "x")
    x = stream.normal(100_000)
    assert abs(float(x.mean())) < 5 / 100_000**0.5
    assert abs(float(x.var()) - 1) < 5 * (2 / 100_000) ** 0.5
    with pytest.raises(ProtocolError, match="used before"):
        stream.draw(0, [(torch.uint8, (1,))])
    assert not torch.equal(stream.normal(10), x[:10])


def test_labels_secrets_and_steps_give_unrelated_streams() -> None:
    spec = [(torch.int64, (20_000,))]
    streams = [
        SecretStream(SECRET, "dealer").draw(0, spec)[0],
        SecretStream(SECRET, "dealer").draw(1, spec)[0],
        SecretStream(SECRET, "dealer2").draw(0, spec)[0],
        SecretStream(SECRET[::-1], "dealer").draw(0, spec)[0],
    ]
    for i, one in enumerate(streams):
        assert p_value(one, 64) > 1e-6
        for other in streams[:i]:
            assert not (one == other).any()
            assert p_value(one ^ other, 64) > 1e-6
            assert p_value(one - other, 64) > 1e-6


@pytest.mark.parametrize("length", [0, 16, 31])
def test_a_short_secret_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="at least 32 bytes"):
        SecretStream(bytes(length), "x")


def test_a_stream_does_not_print_its_key() -> None:
    assert repr(SecretStream(SECRET, "x")) == "SecretStream(next=0)"
