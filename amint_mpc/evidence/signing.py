"""Signatures with a role's identity key, and envelopes that carry them.

What is signed is the pre-authentication encoding of DSSE (Dead Simple Signing Envelope, protocol v1.0.2):

    "DSSEv1" SP length(type) SP type SP length(payload) SP payload      lengths in decimal, SP one space

The type stands in what is signed, so a signature of one kind never passes for one of another kind; nor for one of TLS
1.3, which starts with 64 spaces (RFC 8446, section 4.4.3). Ed25519 (RFC 8032) is deterministic: both parties hold the
same bytes.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from amint_mpc.errors import EvidenceError
from amint_mpc.evidence.canonical import encode
from amint_mpc.identity import Identity

SIGNATURE_BYTES = 64
MAX_ENVELOPE = 1 << 20

_Base64 = Annotated[str, Field(max_length=MAX_ENVELOPE, pattern=r"^[A-Za-z0-9+/]*={0,2}$")]


class Signature(BaseModel):
    """One signature of an envelope. `keyid` is the fingerprint of the certificate: a hint, never trusted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    keyid: str = Field(max_length=128)
    sig: _Base64


class Envelope(BaseModel):
    """DSSE as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    payload: _Base64
    payloadType: str = Field(max_length=128)  # noqa: N815 - DSSE's own name
    signatures: tuple[Signature, ...] = Field(min_length=1, max_length=8, strict=False)

    @property
    def content(self) -> bytes:
        """The payload's bytes."""
        return _decode(self.payload)


def pae(payload_type: str, payload: bytes) -> bytes:
    """What is signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(identity: Identity, payload_type: str, payload: bytes) -> bytes:
    """64 bytes.

    Raises:
        IdentityError: the private key cannot be used.
    """
    return identity.sign(pae(payload_type, payload))


def verify(certificate: x509.Certificate, payload_type: str, payload: bytes, signature: bytes) -> bool:
    """Whether the holder of the certificate's key signed it. False for any other kind of key."""
    key = certificate.public_key()
    if not isinstance(key, Ed25519PublicKey):
        return False
    try:
        key.verify(signature, pae(payload_type, payload))
    except InvalidSignature:
        return False
    return True


def seal(payload_type: str, payload: bytes, signatures: Sequence[tuple[str, bytes]]) -> bytes:
    """An envelope, canonical JSON and a line break. Args: signatures: fingerprint of the certificate, signature."""
    return (
        encode(
            {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": payload_type,
                "signatures": [{"keyid": key, "sig": base64.b64encode(sig).decode()} for key, sig in signatures],
            }
        )
        + b"\n"
    )


def unseal(raw: bytes, payload_type: str, name: str) -> tuple[bytes, list[bytes]]:
    """Payload and signatures of an envelope; nothing has been verified.

    Args:
        name: of the file, for messages.

    Raises:
        EvidenceError: no DSSE envelope, one of another type, or one that is written in another way than `seal` does.
    """
    try:
        envelope = Envelope.model_validate_json(raw)
        payload = envelope.content
        signatures = [_decode(each.sig) for each in envelope.signatures]
    except (ValidationError, ValueError, RecursionError):
        raise EvidenceError(f"{name} is no DSSE envelope", "Is it the file of a run, unchanged?") from None
    if envelope.payloadType != payload_type:
        raise EvidenceError(f"{name} holds another type of payload than {payload_type}")
    keys = [each.keyid for each in envelope.signatures]
    if seal(payload_type, payload, list(zip(keys, signatures, strict=True))) != raw:
        raise EvidenceError(f"{name} is not written as this program writes it", "Is it the file of a run, unchanged?")
    return payload, signatures


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("no base64") from None
