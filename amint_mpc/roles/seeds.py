"""What a dealer tells the two parties: their seeds at the start, and at the end, signed, what it has dealt.

1. dealer -> developer, dealer -> auditor: the number of this session, the SHA-256 of both seeds, and a seed for each
   alone.
2. developer <-> auditor: the number and both hashes. So one dealer serves both, in one session, bound to two seeds.
3. dealer -> both, after its last block: how many blocks, their chain (`supply.BlockChain`), and its signature over
   these, the session and the hashes. The developer compares them with the blocks that came; both write them into the
   log.
Who learns what: each party its own seed; the dealer knows both. Number, hashes and chain are no secrets.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import sha256
from typing import NamedTuple

import torch
from cryptography import x509

from amint_mpc.config import PARTIES, Experiment, Role
from amint_mpc.errors import PeerError, ProtocolError
from amint_mpc.evidence import signing
from amint_mpc.evidence.entries import DEALT_TYPE, dealt_payload
from amint_mpc.identity import Identity
from amint_mpc.mpc.correlations.prg import SEED_BYTES, SecretStream
from amint_mpc.mpc.correlations.supply import BlockChain, Supply
from amint_mpc.roles.masks import Dealt
from amint_mpc.runlog.countersigning import DIGEST_SPEC, SIGNATURE_SPEC, check_signature
from amint_mpc.runlog.interface import NamedDealer
from amint_mpc.transport.channel import Channel
from amint_mpc.transport.frames import Spec, as_bytes, as_tensor

DEALT = "dealt masks"
COUNT = "query-count"
SESSION_BYTES = 16
_SESSION: tuple[Spec, ...] = ((torch.uint8, (SESSION_BYTES,)), DIGEST_SPEC, DIGEST_SPEC)
_SEED: Spec = (torch.uint8, (SEED_BYTES,))
_COUNT: Spec = (torch.int64, (1,))


class Session(NamedTuple):
    """One session of a dealer. Args: number: 16 bytes. seeds: SHA-256 of the developer's and of the auditor's seed."""

    number: bytes
    seeds: tuple[bytes, bytes]

    def by_role(self) -> dict[Role, str]:
        """Both hashes in hex."""
        return {role: digest.hex() for role, digest in zip(PARTIES, self.seeds, strict=True)}


def both_seeds() -> tuple[bytes, bytes]:
    """Fresh seeds of developer and auditor."""
    return os.urandom(SEED_BYTES), os.urandom(SEED_BYTES)


def new_session(seeds: tuple[bytes, bytes]) -> Session:
    """With a fresh number."""
    return Session(os.urandom(SESSION_BYTES), (sha256(seeds[0]).digest(), sha256(seeds[1]).digest()))


def hand_out_seeds(developer: Channel, auditor: Channel) -> tuple[Session, tuple[SecretStream, SecretStream]]:
    """Step 1 at the dealer. Returns the session, and the streams of developer and auditor."""
    seeds = both_seeds()
    session = new_session(seeds)
    known = [as_tensor(each) for each in (session.number, *session.seeds)]
    for channel, seed in zip((developer, auditor), seeds, strict=True):
        channel.send("seed", 0, *known, as_tensor(seed))
    return session, (SecretStream(seeds[0], DEALT), SecretStream(seeds[1], DEALT))


def receive_seed(dealer: Channel, party: int) -> tuple[Session, bytes]:
    """Step 1 at a party: the session, and this party's seed, of the stream `DEALT`.

    Raises:
        ProtocolError: the seed is not the one with the hash that came.
    """
    number, *seeds, seed = (as_bytes(part) for part in dealer.receive("seed", 0, *_SESSION, _SEED))
    if sha256(seed).digest() != seeds[party]:
        raise ProtocolError("the dealer named another seed than it gave", "Do not go on with this dealer")
    return Session(number, (seeds[0], seeds[1])), seed


def check_same_session(peer: Channel, session: Session) -> None:
    """Step 2.

    Raises:
        PeerError: the other party is with another dealer, or in another session of it.
    """
    mine = [as_tensor(each) for each in (session.number, *session.seeds)]
    peer.send("session", 0, *mine)
    theirs = peer.receive("session", 0, *_SESSION)
    if not all(torch.equal(*both) for both in zip(mine, theirs, strict=True)):
        raise PeerError(
            f"the {peer.peer} is connected to another dealer, or to another session of it",
            "Start all three parties again, with the same dealer",
        )


def sign_off(
    own: Identity, experiment: Experiment, session: Session, chain: BlockChain, links: tuple[Channel, Channel]
) -> None:
    """Step 3 at the dealer. Args: own: its key. links: to both parties."""
    payload = _payload(experiment, session, chain.blocks, chain.hex())
    signature = as_tensor(signing.sign(own, DEALT_TYPE, payload))
    for link in links:
        link.send("dealt", 0, torch.tensor([chain.blocks]), as_tensor(bytes.fromhex(chain.hex())), signature)
        link.flush()


def receive_sign_off(
    dealer: Channel, experiment: Experiment, session: Session, certificate: x509.Certificate, supply: Supply
) -> Dealt:
    """Step 3 at a party, after the last step: check what is left of the blocks, then what the dealer says of them.

    Args:
        certificate: the dealer's. supply: this party's.

    Raises:
        ProtocolError: the signature is not the dealer's, or other blocks came than it signed.
    """
    supply.finish()
    blocks, chain, signature = dealer.receive("dealt", 0, _COUNT, DIGEST_SPEC, SIGNATURE_SPEC)
    found = Dealt(int(blocks), as_bytes(chain).hex(), supply.checked, as_bytes(signature))
    payload = _payload(experiment, session, found.blocks, found.chain)
    check_signature(certificate, "dealer", DEALT_TYPE, payload, found.signature, "what it dealt")
    if supply.blocks is not None and (supply.blocks, supply.chain.hex()) != (found.blocks, found.chain):
        raise ProtocolError("the dealer signed other blocks than those that came", "Do not go on with this dealer")
    return found


def tell_count(dealer: Channel, images: int) -> None:
    """Developer and auditor tell the dealer how many images a query has."""
    dealer.send(COUNT, 0, torch.tensor([images]))


def agreed_count(experiment: Experiment, links: Mapping[Role, Channel]) -> int:
    """The dealer hears it from both.

    Raises:
        ProtocolError: they do not agree, or it is more than the experiment allows.
    """
    counts = {role: int(link.receive(COUNT, 0, _COUNT)[0]) for role, link in links.items()}
    count = counts["auditor"]
    if count != counts["developer"] or not 0 < count <= experiment.evidence.max_queries:
        raise ProtocolError(f"a query of {counts['auditor']} images there, of {counts['developer']} here")
    return count


def named(session: Session, certificate: x509.Certificate) -> NamedDealer:
    """For the first entry of the log."""
    return NamedDealer(certificate, session.number, session.by_role())


def _payload(experiment: Experiment, session: Session, blocks: int, chain: str) -> bytes:
    return dealt_payload(session.number.hex(), experiment.digest(), session.by_role(), blocks, chain)
