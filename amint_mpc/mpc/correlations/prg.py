"""Masks from a cryptographic generator: AES-256-CTR keyed by HKDF-SHA-256, one label a purpose.

A position of a stream is (step, offset). Each step has a key of its own, HMAC-SHA256 of its number under the key of
the stream (a pseudorandom function, NIST SP 800-108), and a counter from zero: two steps never share keystream, and the
key of one step, which can be given away with it, says nothing of the others. Steps only go forward: asking for one
twice is an error, because a mask that is used with two values gives away their difference.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from torch import Tensor

from amint_mpc.errors import ProtocolError

SEED_BYTES = 32
_BLOCK = 16
_ZEROS = memoryview(bytes(1 << 16))  # encrypted piece by piece, so that it stays in the cache


def derive_key(secret: bytes, label: str) -> bytes:
    """A 32-byte key for one purpose (RFC 5869, HKDF-SHA-256, empty salt, info = label).

    Args:
        secret: at least 32 uniformly random bytes.
        label: names the purpose; other labels give independent keys.
    """
    if len(secret) < SEED_BYTES:
        raise ValueError(f"a stream secret has at least {SEED_BYTES} bytes")
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"amint-mpc/1/" + label.encode()).derive(secret)


class SecretStream:
    """The keystream of one purpose, read step by step.

    Guarantees:
        no_reuse: a step is handed out once, and only forwards.
        separation: streams of other labels or secrets are computationally independent (AES as a PRF).
    """

    def __init__(self, secret: bytes, label: str) -> None:
        self._key = derive_key(secret, label)
        self._next = 0

    def __repr__(self) -> str:
        return f"SecretStream(next={self._next})"

    @property
    def position(self) -> int:
        """The next step that has not been drawn."""
        return self._next

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, float64, from the next step of the stream (inverse distribution function)."""
        (words,) = self.draw(self._next, [(torch.int64, shape)])
        uniform = (((words >> 12) & (2**52 - 1)).double() + 0.5) * 2.0**-52
        normal: Tensor = torch.special.ndtri(uniform)
        return normal

    def draw(self, step: int, specs: Sequence[tuple[torch.dtype, tuple[int, ...]]]) -> list[Tensor]:
        """Uniform tensors for one step, in the order of `specs`.

        Args:
            step: greater than every step drawn before, below 2^64.
            specs: (integer dtype, shape) of each tensor; every bit is uniform.

        Raises:
            ProtocolError: the step, or a later one, was drawn before.
        """
        return keystream(self.reveal(step), specs)

    def reveal(self, step: int) -> bytes:
        """The key of a step, for `keystream`. Whoever has it knows all that the step draws.

        Raises:
            ProtocolError: as `draw`.
        """
        if step < self._next:
            raise ProtocolError(
                f"the masks of step {step} were used before", "Start a new session; masks must never repeat"
            )
        self._next = step + 1
        return hmac.digest(self._key, step.to_bytes(8, "big"), "sha256")


def keystream(key: bytes, specs: Sequence[tuple[torch.dtype, tuple[int, ...]]]) -> list[Tensor]:
    """Uniform tensors from the key of one step, in the order of `specs`; see `SecretStream.draw`."""
    sizes = [torch.Size(shape).numel() * dtype.itemsize for dtype, shape in specs]
    padded = [-(-size // _BLOCK) * _BLOCK for size in sizes]  # aligned views, whole blocks
    stream = Cipher(algorithms.AES(key), modes.CTR(bytes(_BLOCK))).encryptor()
    total = sum(padded)
    buffer = torch.empty(total + _BLOCK, dtype=torch.uint8)
    view = buffer.numpy().data
    for start in range(0, total, len(_ZEROS)):
        stream.update_into(_ZEROS[: total - start], view[start:])
    tensors, start = [], 0
    for (dtype, shape), size, space in zip(specs, sizes, padded, strict=True):
        tensors.append(buffer[start : start + size].view(dtype).view(shape))
        start += space
    return tensors
