"""The connecting end of a link over TLS (`tls`)."""

from __future__ import annotations

import contextlib
import errno
import secrets
import socket
import ssl
import time
from typing import Any

from amint_mpc.config import Address, Role
from amint_mpc.errors import IdentityError, PeerError
from amint_mpc.events import OnNotice
from amint_mpc.identity import Identity
from amint_mpc.transport.channel import FramedChannel
from amint_mpc.transport.tls import (
    ACCEPTED,
    HANDSHAKE_S,
    TO_CONNECTOR,
    TO_LISTENER,
    as_channel,
    make_context,
    pack_preamble,
    peer_fingerprint,
    reason,
    silent,
    wrap,
)


def connect(
    address: Address, identity: Identity, peer: Role, timeout_s: float, on_notice: OnNotice = silent, **options: Any
) -> FramedChannel:
    """Open a link to a listening party, trying again until it is there. `options` go to `FramedChannel`.

    Raises:
        PeerError: nobody listens there, or nobody answers, for `timeout_s`.
        IdentityError: who listens there is not the peer, or does not accept our certificate.
    """
    context, pins = make_context(ssl.PROTOCOL_TLS_CLIENT, identity, [peer])
    deadline = time.monotonic() + timeout_s
    where = str(address)
    told, pause = False, 0.05
    while True:
        try:
            return _connect_once(context, pins, address, identity.role, peer, deadline, options)
        except ssl.SSLCertVerificationError:
            raise _not_the_peer(peer, where) from None
        except ssl.SSLError as error:
            if "ALERT" in (error.reason or ""):
                raise IdentityError(
                    f"the {peer} at {where} refused the certificate of this {identity.role}",
                    f"Have the {peer} trust it and compare {identity.fingerprint}; the {peer} shows the reason",
                ) from None
            failure: OSError = error
        except OSError as error:
            failure = error
        if time.monotonic() + pause >= deadline:
            raise PeerError(
                f"no {peer} at {where} within {timeout_s:g} s ({reason(failure)})",
                f"Start the {peer} there, or correct its address in the party file",
            ) from None
        if not told:
            on_notice(f"waiting for the {peer} at {where}")
            told = True
        time.sleep(pause)
        pause = min(2 * pause, 0.5)


def _connect_once(
    context: ssl.SSLContext,
    pins: dict[str, Role],
    address: Address,
    role: Role,
    peer: Role,
    deadline: float,
    options: dict[str, Any],
) -> FramedChannel:
    link = secrets.token_bytes(16)
    with contextlib.ExitStack() as undo:
        socks: list[ssl.SSLSocket] = []
        for direction in (TO_LISTENER, TO_CONNECTOR):
            left = max(deadline - time.monotonic(), 0.05)
            raw = socket.create_connection((address.host, address.port), timeout=min(left, HANDSHAKE_S))
            undo.callback(raw.close)
            sock = wrap(context, raw, server_side=False)
            undo.callback(sock.close)
            sock.do_handshake()
            if peer_fingerprint(sock) not in pins:
                raise _not_the_peer(peer, str(address))
            sock.sendall(pack_preamble(link, direction, role, peer))
            # In TLS 1.3 a client learns only from the first bytes it reads whether its certificate was accepted.
            if sock.recv(1) != ACCEPTED:
                raise ConnectionRefusedError(errno.ECONNREFUSED, "it closed the connection")
            socks.append(sock)
        undo.pop_all()
    return as_channel(socks[TO_LISTENER], socks[TO_CONNECTOR], peer, options)


def _not_the_peer(peer: Role, where: str) -> IdentityError:
    return IdentityError(
        f"who listens at {where} did not show the certificate that is pinned to the {peer}",
        f"Check the address; if the {peer} has new keys, compare fingerprints and trust the new certificate",
    )
