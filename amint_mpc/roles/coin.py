"""A secret that developer and auditor draw together, by tossing a coin over their link (Blum 1981).

1. auditor -> developer: SHA-256 of its 32 random bytes.
2. developer -> auditor: its own 32 random bytes.
3. auditor -> developer: its bytes, which must have that hash. The secret is the SHA-256 of both.

Who learns what: both the secret; a dealer nothing, for the link is theirs alone. Neither can choose it: the auditor is
bound before it sees the developer's bytes, and the developer speaks before it sees the auditor's. Rounds: 3, once.
"""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import torch

from amint_mpc.config import Role
from amint_mpc.errors import ProtocolError
from amint_mpc.evidence.files import COIN, read_secret
from amint_mpc.transport.channel import Channel
from amint_mpc.transport.frames import Spec, as_bytes, as_tensor

TAG = "coin"
SIZE = 32
SPEC: Spec = (torch.uint8, (SIZE,))


def toss(peer: Channel, role: Role) -> bytes:
    """The secret, 32 bytes, at one party.

    Raises:
        ProtocolError: the auditor's bytes are not those that it was bound to.
    """
    mine = os.urandom(SIZE)
    if role == "auditor":
        peer.send(TAG, 0, as_tensor(sha256(mine).digest()))
        theirs = as_bytes(peer.receive(TAG, 1, SPEC)[0])
        peer.send(TAG, 2, as_tensor(mine))
        return sha256(theirs + mine).digest()
    bound = as_bytes(peer.receive(TAG, 0, SPEC)[0])
    peer.send(TAG, 1, as_tensor(mine))
    theirs = as_bytes(peer.receive(TAG, 2, SPEC)[0])
    if sha256(theirs).digest() != bound:
        raise ProtocolError("the auditor opened another number than it was bound to", "Do not go on with this peer")
    return sha256(mine + theirs).digest()


def kept(run: Path) -> bytes:
    """The secret of a finished run, from the folder of either party.

    Raises:
        EvidenceError: it is not there, or is none. A wrong one is found by what follows from it.
    """
    return read_secret(run / COIN, SIZE, f"{COIN} does not hold a coin that two parties tossed")
