"""A coin that auditor and developer toss together, so that neither chooses what is drawn with it.

1. The auditor sends SHA-256 of its nonce. 2. The developer sends its own nonce. 3. The auditor shows its nonce.
The coin is a hash of the session and both nonces.

Source: Blum, "Coin flipping by telephone" (1981).

Guarantees
    Neither can make a drawing come out as it likes, if both go on.
    What is drawn is the same on every machine, whatever library it has.

Edge cases
    The auditor knows what comes out before the developer does, and may break off. Nothing has been opened by then and
    nothing is logged, but a developer that is asked again and again, and left after its nonce, is being tried out.
"""

from __future__ import annotations

import hashlib
import secrets

NONCE_BYTES = 32


class Coin:
    """What both have tossed.

    Args:
        session: of the link, 32 bytes. auditor, developer: their nonces.
    """

    def __init__(self, session: bytes, auditor: bytes, developer: bytes) -> None:
        self._seed = hashlib.sha256(b"amint-mpc coin 2\0" + session + auditor + developer).digest()

    def draw(self, purpose: str, total: int, count: int) -> list[int]:
        """`count` different numbers below `total`, in random order: the first steps of a Fisher-Yates shuffle.

        Args:
            purpose: drawings with different ones are independent.

        Raises:
            ValueError: there are not so many numbers.
        """
        if not 0 <= count <= total:
            raise ValueError(f"{count} of {total} cannot be drawn")
        start = hashlib.sha256(self._seed + purpose.encode())
        moved: dict[int, int] = {}
        drawn = []
        for place in range(count):
            digest = start.copy()
            digest.update(place.to_bytes(8, "little"))
            # 256 bits for less than 2**40 numbers: none is likelier than another by more than 2**-216
            at = place + int.from_bytes(digest.digest(), "little") % (total - place)
            drawn.append(moved.get(at, at))
            moved[at] = moved.pop(place, place)
        return drawn


def nonce() -> bytes:
    """Fresh, from the operating system."""
    return secrets.token_bytes(NONCE_BYTES)


def commitment(own: bytes) -> str:
    """What the auditor sends first, hex. Args: own: its nonce."""
    return hashlib.sha256(b"amint-mpc coin 1\0" + own).hexdigest()
