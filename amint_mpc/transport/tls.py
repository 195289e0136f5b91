"""Links over TCP with TLS 1.3 in which both ends show a certificate that the other has pinned to their role.

A link is two connections, one a direction, for one TLS object must not be read and written by two threads at once. The
connecting side opens both and says in each, inside TLS: link id (16 random bytes), direction, own role, peer's role.
The listening side answers one byte on each and joins the two with the same id and the same certificate; after that
the first carries frames from the connecting side only, the second frames to it only.

Here is what both ends do alike; `connect` and `listener` are the two ends.

Guarantees
    TLS 1.3 or nothing; no plaintext; no connection without a certificate (RFC 8446 4.4.2).
    Who shows another certificate than the pinned one, or the right one in another role, is refused.

Sharp edge: Python's ssl cannot change a connection's keys. AES-GCM keeps its margin for about 380 GB a direction
(RFC 8446 5.5); start a longer run anew from a saved state.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
import struct
import time
from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from amint_mpc import identity as identities
from amint_mpc.config import Role
from amint_mpc.errors import AmintError, IdentityError, PeerError, UsageError
from amint_mpc.identity import Identity
from amint_mpc.transport.channel import FramedChannel
from amint_mpc.transport.tls_wire import TlsWire

HANDSHAKE_S = 10.0
HEARTBEAT_S = 15.0
TO_LISTENER, TO_CONNECTOR = 0, 1  # the directions
ACCEPTED = b"\x01"
_PREAMBLE = struct.Struct("<4sB16sB9s9s")
_MAGIC, _VERSION = b"AMLK", 1


def silent(_: str) -> None:
    """The default for `on_notice`."""


def make_context(protocol: int, identity: Identity, peers: Sequence[Role]) -> tuple[ssl.SSLContext, dict[str, Role]]:
    """TLS settings, and the role of each pinned certificate by its fingerprint."""
    certificates = {role: identities.trusted(identity.folder, role) for role in peers}
    pins = {identities.fingerprint(certificate): role for role, certificate in certificates.items()}
    own = identity.fingerprint
    if len(pins) < len(peers) or own in pins:
        raise UsageError("one certificate is trusted for two roles", "Each party needs keys of its own")
    context = ssl.SSLContext(protocol)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # the pinned certificate is the name
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(identity.certificate_file, identity.key_file)
    context.load_verify_locations(cadata=b"".join(c.public_bytes(Encoding.DER) for c in certificates.values()))
    return context, pins


def wrap(context: ssl.SSLContext, raw: socket.socket, server_side: bool) -> ssl.SSLSocket:
    """The socket for TLS, its handshake still to come."""
    raw.settimeout(HANDSHAKE_S)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A vanished machine sends no reset; probes find it in about two minutes. (TCP_USER_TIMEOUT would also end the link
    # to a living peer that reads nothing for so long.) Buffers are left to the kernel, which fits them to the path; a
    # fixed size would turn that off.
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return context.wrap_socket(raw, server_side=server_side, do_handshake_on_connect=False)


def peer_fingerprint(sock: ssl.SSLSocket) -> str:
    """Of the certificate that the other end has shown, as `identity.fingerprint` writes it."""
    return "sha256:" + hashlib.sha256(sock.getpeercert(binary_form=True) or b"").hexdigest()


def pack_preamble(link: bytes, direction: int, own: Role, peer: Role) -> bytes:
    """What the connecting side says first on each connection."""
    return _PREAMBLE.pack(_MAGIC, _VERSION, link, direction, own.encode(), peer.encode())


def read_preamble(sock: ssl.SSLSocket, role: Role, own: Role) -> tuple[bytes, int]:
    """Link id and direction, from a peer whose certificate is pinned to `role`."""
    data = b""
    deadline = time.monotonic() + HANDSHAKE_S
    while len(data) < _PREAMBLE.size:
        sock.settimeout(max(deadline - time.monotonic(), 0.001))
        part = sock.recv(_PREAMBLE.size - len(data))
        if not part:
            raise PeerError("it closed the connection")
        data += part
    magic, version, link, direction, says, wants = _PREAMBLE.unpack(data)
    if magic != _MAGIC or version != _VERSION or direction not in (TO_LISTENER, TO_CONNECTOR):
        raise PeerError("it speaks another version of the protocol")
    if says.rstrip(b"\0") != role.encode():
        raise IdentityError(f"it showed the certificate of the {role} and claims another role")
    if wants.rstrip(b"\0") != own.encode():
        raise IdentityError(f"it looks for another party than the {own}")
    return link, direction


def as_channel(out: ssl.SSLSocket, into: ssl.SSLSocket, peer: Role, options: dict[str, Any]) -> FramedChannel:
    """A link of two accepted connections. `options` go to `FramedChannel`."""
    return FramedChannel(TlsWire(out, into), peer, **{"heartbeat_s": HEARTBEAT_S, **options})


def reason(error: Exception) -> str:
    """A short, printable cause; never text that came from the other end."""
    if isinstance(error, AmintError):
        return error.message
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate is not the pinned one"
    if isinstance(error, ssl.SSLError) and error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return "it showed no certificate"
    if isinstance(error, ssl.SSLError):
        return f"no TLS 1.3 connection ({(error.reason or 'closed').replace('_', ' ').lower()})"
    if isinstance(error, TimeoutError):
        return "no answer"
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
