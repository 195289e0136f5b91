"""Both parties sign their log as it is: at each checkpoint of a run, at its end, and for each query after it."""

from __future__ import annotations

import torch
from cryptography import x509

from amint_mpc.config import Role
from amint_mpc.errors import ProtocolError
from amint_mpc.evidence import signing
from amint_mpc.evidence.canonical import Value
from amint_mpc.evidence.entries import HEAD_TYPE, signed_payload
from amint_mpc.evidence.log import Log, TreeHead
from amint_mpc.identity import Identity
from amint_mpc.transport.channel import Channel
from amint_mpc.transport.frames import Spec, as_bytes, as_tensor

SIGNED = "log-signed"
DIGEST_SPEC: Spec = (torch.uint8, (32,))
SIGNATURE_SPEC: Spec = (torch.uint8, (signing.SIGNATURE_BYTES,))
SIGNED_SPECS: tuple[Spec, ...] = ((torch.int64, (1,)), DIGEST_SPEC, SIGNATURE_SPEC)


class LogsDiffer(ProtocolError):
    """The two parties have different logs, and see that both."""


def countersign(
    log: Log, own: Identity, certificate: x509.Certificate, peer: Role, link: Channel, number: int, agreed: int
) -> int:
    """Both sign the log as it is, and write both signatures down.

    Args:
        certificate: the other party's. number: of this exchange on the link.
        agreed: entries under the last head that both signed.

    Returns:
        the entries under this one, itself included.

    Raises:
        LogsDiffer: the other party's log differs.
        ProtocolError: its signature is wrong.
    """
    head = log.head()
    mine = signing.sign(own, HEAD_TYPE, signed_payload(head))
    link.send(SIGNED, number, torch.tensor([head.size]), as_tensor(bytes.fromhex(head.root)), as_tensor(mine))
    size, root, signature = link.receive(SIGNED, number, *SIGNED_SPECS)
    theirs = TreeHead(int(size), as_bytes(root).hex())
    if theirs != head:
        link.flush()  # the other one is to see the same
        raise LogsDiffer(
            f"the logs differ: {head.size} entries and root {head.root[:16]} here, {theirs.size} entries and root "
            f"{theirs.root[:16]} at the {peer}; they were the same up to entry {agreed - 1}",
            "Lay the two folders side by side: amint-mpc verify RUN --other RUN names the first entry that differs",
        )
    check_signature(certificate, peer, HEAD_TYPE, signed_payload(head), as_bytes(signature), "the log")
    signatures: dict[str, Value] = {own.role: mine.hex(), peer: as_bytes(signature).hex()}
    log.append("signed", {"size": head.size, "root": head.root, "signatures": signatures})
    log.sync()
    return head.size + 1


def check_signature(
    certificate: x509.Certificate, peer: Role, kind: str, payload: bytes, signature: bytes, what: str
) -> None:
    """Raises: ProtocolError: it is not the peer's over this payload."""
    if not signing.verify(certificate, kind, payload, signature):
        raise ProtocolError(f"the {peer}'s signature under {what} is not its own", f"Ask the {peer} which key it uses")
