"""A dealer's seeds: how each party gets its own, and how the two make sure that one dealer serves both.

1. dealer -> developer, dealer -> auditor: the number of this session, and a seed for each alone.
2. developer <-> auditor: the number.
Who learns what: each party its own seed; the dealer knows both. The number is no secret.
"""

from __future__ import annotations

import os

import torch

from amint_mpc.errors import PeerError
from amint_mpc.mpc.correlations.prg import SEED_BYTES, SecretStream
from amint_mpc.transport.channel import Channel
from amint_mpc.transport.frames import as_bytes, as_tensor

DEALT = "dealt masks"
SESSION_BYTES = 16


def both_seeds() -> tuple[bytes, bytes]:
    """Fresh seeds of developer and auditor."""
    return os.urandom(SEED_BYTES), os.urandom(SEED_BYTES)


def hand_out_seeds(developer: Channel, auditor: Channel) -> tuple[SecretStream, SecretStream]:
    """Step 1 at the dealer. Returns the streams of developer and auditor."""
    number = os.urandom(SESSION_BYTES)
    seeds = both_seeds()
    for channel, seed in zip((developer, auditor), seeds, strict=True):
        channel.send("seed", 0, as_tensor(number), as_tensor(seed))
    return SecretStream(seeds[0], DEALT), SecretStream(seeds[1], DEALT)


def receive_seed(dealer: Channel) -> tuple[bytes, SecretStream]:
    """Step 1 at a party: the session's number, and this party's stream of masks."""
    number, seed = dealer.receive("seed", 0, (torch.uint8, (SESSION_BYTES,)), (torch.uint8, (SEED_BYTES,)))
    return as_bytes(number), SecretStream(as_bytes(seed), DEALT)


def check_same_session(peer: Channel, number: bytes) -> None:
    """Step 2.

    Raises:
        PeerError: the other party is with another dealer, or in another session of it.
    """
    mine = as_tensor(number)
    peer.send("session", 0, mine)
    (theirs,) = peer.receive("session", 0, (torch.uint8, (SESSION_BYTES,)))
    if not torch.equal(mine, theirs):
        raise PeerError(
            f"the {peer.peer} is connected to another dealer, or to another session of it",
            "Start all three parties again, with the same dealer",
        )
