"""Base transfers: a few random transfers by public keys, from which the extension makes all others. Semi-honest.

1. The sender draws a key a and sends A = a G. The receiver, for a transfer with choice c, draws a key and puts its
   public key at place c; at place 1 - c it puts a random point whose key nobody knows: an x drawn anew until it is one
   of the curve. It sends the x of both. Both messages travel in one exchange.
2. Pad j of a transfer is SHA-256 of the x of a P_j, with all that was sent of it. The receiver has pad c, from its key
   and A.

Source: Even, Goldreich, Lempel, CACM 1985 (a public key drawn without its secret one), with Diffie-Hellman's keys.
Group: P-256 through `cryptography` (OpenSSL, whose scalar products take constant time). Its order is prime, so every x
that passes the check is of a point of the whole group. P and -P have the same x, and give the same x of a P.
X25519 would not do: half of all 32 bytes are points of its twist and most others are outside the subgroup of its keys,
so a random place would be told from a key, and there is no check of either.
Who learns what: the sender sees two uniform points of the curve, whatever c is: that holds without any assumption. The
receiver does not know the other pad if computational Diffie-Hellman is hard in P-256 and SHA-256 is a random oracle.
A receiver that knew both keys would have both pads; this is where the protocol trusts that parties follow it.
Exchanges: 1. Bytes: 32, and 64 a transfer.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from amint_mpc.errors import ProtocolError
from amint_mpc.mpc.ot.pool import Bytes

X_BYTES, PAD_BYTES = 32, 16
_CURVE = ec.SECP256R1()
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # FIPS 186, P-256
Randomness = Callable[[int], bytes]


class BaseSender:
    """The party that has both pads of each transfer.

    Args:
        randomness: gives so many fresh random bytes.
    """

    def __init__(self, randomness: Randomness) -> None:
        self._key = _key(randomness)
        self.message: bytes = _x(self._key)

    def pads(self, points: Bytes) -> Bytes:
        """Both pads of each transfer.

        Args:
            points: [n, 2, 32], the receiver's message.

        Returns:
            [n, 2, 16].

        Raises:
            ProtocolError: one of them is no point of the curve.
        """
        rows = [tuple(place.tobytes() for place in both) for both in points]
        return np.array(
            [
                [_pad(number, side, self.message, both, _shared(self._key, both[side])) for side in range(2)]
                for number, both in enumerate(rows)
            ]
        )


class BaseReceiver:
    """The party that chooses one pad of each transfer.

    Args:
        choices: [n] of 0 or 1.
        randomness: gives so many fresh random bytes.
    """

    def __init__(self, choices: Bytes, randomness: Randomness) -> None:
        self._choices = [int(choice) for choice in choices]
        self._keys = [_key(randomness) for _ in self._choices]
        self._places = [
            (_random_x(randomness), _x(key)) if choice else (_x(key), _random_x(randomness))
            for choice, key in zip(self._choices, self._keys, strict=True)
        ]

    @property
    def message(self) -> Bytes:
        """[n, 2, 32]."""
        raw = b"".join(place for both in self._places for place in both)
        return np.frombuffer(raw, dtype=np.uint8).reshape(-1, 2, X_BYTES).copy()

    def pads(self, offer: bytes) -> Bytes:
        """The chosen pad of each transfer, [n, 16].

        Args:
            offer: the sender's message.

        Raises:
            ProtocolError: it is no point of the curve.
        """
        each = enumerate(zip(self._choices, self._keys, self._places, strict=True))
        return np.array(
            [_pad(number, choice, offer, both, _shared(key, offer)) for number, (choice, key, both) in each]
        )


def _key(randomness: Randomness) -> ec.EllipticCurvePrivateKey:
    """A uniform key: 48 bytes modulo the order are uniform but for 2^-128."""
    return ec.derive_private_key(1 + int.from_bytes(randomness(48), "big") % (_ORDER - 1), _CURVE)


def _x(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)[1:]


def _point(x: bytes) -> ec.EllipticCurvePublicKey | None:
    """The point with this x and an even y, if there is one."""
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, b"\x02" + x)
    except ValueError:
        return None


def _random_x(randomness: Randomness) -> bytes:
    while True:  # every second x is of the curve
        x = randomness(X_BYTES)
        if _point(x) is not None:
            return x


def _shared(key: ec.EllipticCurvePrivateKey, x: bytes) -> bytes:
    point = _point(x)
    if point is None:
        raise ProtocolError(
            "a message of the base transfers is no point of the curve P-256",
            "The peer runs another version of the protocol, or a message was damaged",
        )
    return key.exchange(ec.ECDH(), point)


def _pad(number: int, side: int, offer: bytes, both: tuple[bytes, ...], shared: bytes) -> Bytes:
    text = b"".join((b"amint-mpc/1/base transfer", number.to_bytes(4, "big"), bytes([side]), offer, *both, shared))
    return np.frombuffer(sha256(text).digest()[:PAD_BYTES], dtype=np.uint8)
