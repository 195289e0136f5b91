"""Links over TCP with TLS 1.3 in which both ends show a certificate that the other has pinned to their role.

A link is two connections, one a direction, for one TLS object must not be read and written by two threads at once. The
connecting side opens both and says in each, inside TLS: link id (16 random bytes), direction, own role, peer's role.
The listening side answers one byte on each and joins the two with the same id and the same certificate; after that
the first carries frames from the connecting side only, the second frames to it only.

Guarantees
    TLS 1.3 or nothing; no plaintext; no connection without a certificate (RFC 8446 4.4.2).
    Who shows another certificate than the pinned one, or the right one in another role, is refused; the listener says
    so through `notify` and goes on listening. A stranger that sends nothing holds one thread for `HANDSHAKE_S`, and
    makes room for who comes after it when there are `MAX_STRANGERS`.

Sharp edge: Python's ssl cannot change a connection's keys. AES-GCM keeps its margin for about 380 GB a direction
(RFC 8446 5.5); start a longer run anew from a saved state.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import secrets
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

from cryptography.hazmat.primitives.serialization import Encoding

from amint_mpc import identity as identities
from amint_mpc.config import Address, Role
from amint_mpc.errors import AmintError, IdentityError, PeerError, UsageError
from amint_mpc.identity import Identity
from amint_mpc.transport.channel import FramedChannel

HANDSHAKE_S = 10.0
PARTING_S = 1.0
HEARTBEAT_S = 15.0
MAX_STRANGERS = 64  # connections whose other end is not known yet
MAX_HALVES = 8  # links of which only one connection has come
MAX_NOTICES = 20
_PREAMBLE = struct.Struct("<4sB16sB9s9s")
_MAGIC, _VERSION = b"AMLK", 1
_TO_LISTENER, _TO_CONNECTOR = 0, 1
_ACCEPTED = b"\x01"
_RECORD = 16384  # bytes in a TLS record, at most

OnNotice = Callable[[str], None]


def _silent(_: str) -> None:
    """The default for `notify`."""


class TlsWire:
    """Two TLS sockets as one `Wire`. Both are non-blocking; waiting is done with poll."""

    def __init__(self, out: ssl.SSLSocket, into: ssl.SSLSocket) -> None:
        self._out, self._into = out, into
        self._poll_out, self._poll_into = select.poll(), select.poll()
        for sock in (out, into):
            sock.setblocking(False)
        self._poll_out.register(out, select.POLLOUT)
        self._poll_into.register(into, select.POLLIN)

    def try_write(self, data: memoryview) -> int:
        done = 0
        with contextlib.suppress(ssl.SSLWantWriteError):
            while done < len(data):  # each call encrypts one record of at most 16 KiB
                done += self._out.send(data[done:])
        return done

    def write(self, data: memoryview, timeout: float | None) -> None:
        while data:
            count = self.try_write(data)
            data = data[count:]
            if data:
                _wait(self._poll_out, timeout)

    def read_into(self, view: memoryview, timeout: float | None) -> int:
        done, room = 0, len(view)
        while True:
            try:
                while done < room:  # what has come, record by record; recv_into is `read` with two more checks
                    count = cast(int, self._into.read(room - done, view[done:]))
                    done += count
                    if count < _RECORD:
                        break
                return done
            except ssl.SSLWantReadError:
                if done:
                    return done
                _wait(self._poll_into, timeout)

    def shut(self) -> None:
        for sock in (self._out, self._into):
            with contextlib.suppress(OSError):
                # The plain socket's shutdown: SSLSocket's would take the TLS object from under another thread.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def close(self) -> None:
        self._out.close()
        self._into.close()


def _wait(poll: select.poll, timeout: float | None) -> None:
    if not poll.poll(None if timeout is None else timeout * 1000):
        raise TimeoutError


class Listener:
    """Waits for the parties that connect to this one.

    Args:
        address: where to listen; port 0 takes a free one (see `address` afterwards).
        identity: this party's keys.
        peers: the roles that may connect; their certificates are read from the trusted folder.
        notify: called, from other threads, with a sentence on each refused connection (the first `MAX_NOTICES`).

    Raises:
        UsageError: the address cannot be listened on.
        IdentityError: a peer's certificate is missing.
    """

    def __init__(
        self, address: Address, identity: Identity, peers: Sequence[Role], on_notice: OnNotice = _silent
    ) -> None:
        self._role, self._on_notice, self._notices = identity.role, on_notice, 0
        self._context, self._pins = _context(ssl.PROTOCOL_TLS_SERVER, identity, peers)
        self._context.num_tickets = 0  # an unread ticket would turn the closing of a one-way connection into a reset
        self._changed = threading.Condition(threading.Lock())
        self._halves: dict[tuple[Role, bytes], dict[int, ssl.SSLSocket]] = {}
        self._links: dict[Role, tuple[ssl.SSLSocket, ssl.SSLSocket]] = {}
        self._taken: set[Role] = set()
        self._strangers: dict[threading.Thread, socket.socket] = {}
        self._closed = False
        self._socket = _listen(address)
        host, port = self._socket.getsockname()[:2]
        self.address = Address(host=host, port=port)
        self._thread = threading.Thread(target=self._accept_loop, name="listen", daemon=True)
        self._thread.start()

    def accept(self, role: Role, timeout_s: float | None, *, more: bool = False, **options: Any) -> FramedChannel:
        """The link that `role` has opened, or will open within `timeout_s`. `options` go to `FramedChannel`.

        Args:
            more: it may open another one afterwards.

        Raises:
            PeerError: it did not come.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: role in self._links or self._closed, timeout_s) or self._closed:
                raise PeerError(
                    f"the {role} did not connect to {self.address}",
                    f"Start the {role} with this address, and see whether a refused connection was reported here",
                )
            out, into = self._links.pop(role)
            if not more:
                self._taken.add(role)
        return _channel(out, into, role, options)

    def close(self) -> None:
        """Stop listening and drop what has not become a link. Accepted links live on."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            open_now = [sock for half in self._halves.values() for sock in half.values()]
            open_now += [sock for link in self._links.values() for sock in link]
            self._halves.clear()
            self._links.clear()
            strangers = dict(self._strangers)
            self._changed.notify_all()
        for waiting in (self._socket, *strangers.values()):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(waiting, socket.SHUT_RDWR)  # wakes the thread that waits on it
        for sock in open_now:
            sock.close()
        for thread in (self._thread, *strangers):
            thread.join(HANDSHAKE_S)
        self._socket.close()

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept_loop(self) -> None:
        self._socket.settimeout(0.5)  # where shutting the socket does not wake it
        while not self._closed:
            try:
                sock, address = self._socket.accept()
            except TimeoutError:
                continue
            except OSError:
                if not self._closed:  # too many open files, for now
                    time.sleep(0.05)
                continue
            where = str(Address(host=address[0], port=address[1]))
            thread = threading.Thread(target=self._greet, args=(sock, where), daemon=True)
            with self._changed:
                if self._closed:
                    sock.close()
                    return
                if len(self._strangers) >= MAX_STRANGERS:  # who has said nothing for longest makes room
                    oldest = self._strangers.pop(next(iter(self._strangers)))
                    with contextlib.suppress(OSError):
                        socket.socket.shutdown(oldest, socket.SHUT_RDWR)  # wakes its thread, which closes it
                self._strangers[thread] = sock
                thread.start()

    def _greet(self, raw: socket.socket, where: str) -> None:
        """Find out who connected. Runs in its own thread, for at most about `HANDSHAKE_S`."""
        sock: socket.socket = raw
        kept = False
        try:
            sock = secure = _wrap(self._context, raw, server_side=True)
            with self._changed:
                if threading.current_thread() not in self._strangers:  # dropped while the socket changed hands
                    raise PeerError("too many others came after it")
                self._strangers[threading.current_thread()] = secure
            secure.do_handshake()
            role = self._pins.get(_peer_mark(secure))
            if role is None:
                raise IdentityError("its certificate is not the pinned one")
            link, direction = _read_preamble(secure, role, self._role)
            kept = self._join(role, link, direction, secure)
            if not kept:
                raise PeerError(f"the {role} is connected already")
        except (OSError, AmintError) as error:
            self._refused(where, error)
        finally:
            if not kept:
                _turn_away(sock)
            with self._changed:
                self._strangers.pop(threading.current_thread(), None)

    def _join(self, role: Role, link: bytes, direction: int, sock: ssl.SSLSocket) -> bool:
        """Keep one connection; with its other half it becomes a link. False: it is not wanted."""
        with self._changed:
            half = self._halves.setdefault((role, link), {})
            if self._closed or role in self._taken or direction in half:
                if not half:
                    del self._halves[role, link]
                return False
            self._strangers.pop(threading.current_thread(), None)  # no stranger any more
            sock.send(_ACCEPTED)
            half[direction] = sock
            stale: list[ssl.SSLSocket] = []
            if len(half) == 2:
                del self._halves[role, link]
                stale += self._links.pop(role, ())  # the peer tried again: its newest attempt is the living one
                self._links[role] = (half[_TO_CONNECTOR], half[_TO_LISTENER])
                self._changed.notify_all()
            elif len(self._halves) > MAX_HALVES:
                stale += self._halves.pop(next(iter(self._halves))).values()
        for one in stale:
            one.close()
        return True

    def _refused(self, where: str, error: Exception) -> None:
        self._notices += 1
        if self._closed or self._notices > MAX_NOTICES:
            return
        more = "; further refusals are not shown" if self._notices == MAX_NOTICES else ""
        self._on_notice(f"refused a connection from {where}: {_reason(error)}{more}")


def connect(
    address: Address, identity: Identity, peer: Role, timeout_s: float, on_notice: OnNotice = _silent, **options: Any
) -> FramedChannel:
    """Open a link to a listening party, trying again until it is there. `options` go to `FramedChannel`.

    Raises:
        PeerError: nobody listens there, or nobody answers, for `timeout_s`.
        IdentityError: who listens there is not the peer, or does not accept our certificate.
    """
    context, pins = _context(ssl.PROTOCOL_TLS_CLIENT, identity, [peer])
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
                f"no {peer} at {where} within {timeout_s:g} s ({_reason(failure)})",
                f"Start the {peer} there, or correct its address in the party file",
            ) from None
        if not told:
            on_notice(f"waiting for the {peer} at {where}")
            told = True
        time.sleep(pause)
        pause = min(2 * pause, 0.5)


def _connect_once(
    context: ssl.SSLContext,
    pins: dict[bytes, Role],
    address: Address,
    role: Role,
    peer: Role,
    deadline: float,
    options: dict[str, Any],
) -> FramedChannel:
    link = secrets.token_bytes(16)
    with contextlib.ExitStack() as undo:
        socks: list[ssl.SSLSocket] = []
        for direction in (_TO_LISTENER, _TO_CONNECTOR):
            left = max(deadline - time.monotonic(), 0.05)
            raw = socket.create_connection((address.host, address.port), timeout=min(left, HANDSHAKE_S))
            undo.callback(raw.close)
            sock = _wrap(context, raw, server_side=False)
            undo.callback(sock.close)
            sock.do_handshake()
            if _peer_mark(sock) not in pins:
                raise _not_the_peer(peer, str(address))
            sock.sendall(_PREAMBLE.pack(_MAGIC, _VERSION, link, direction, role.encode(), peer.encode()))
            # In TLS 1.3 a client learns only from the first bytes it reads whether its certificate was accepted.
            if sock.recv(1) != _ACCEPTED:
                raise ConnectionRefusedError(errno.ECONNREFUSED, "it closed the connection")
            socks.append(sock)
        undo.pop_all()
    return _channel(socks[_TO_LISTENER], socks[_TO_CONNECTOR], peer, options)


def _channel(out: ssl.SSLSocket, into: ssl.SSLSocket, peer: Role, options: dict[str, Any]) -> FramedChannel:
    return FramedChannel(TlsWire(out, into), peer, **{"heartbeat_s": HEARTBEAT_S, **options})


def _context(protocol: int, identity: Identity, peers: Sequence[Role]) -> tuple[ssl.SSLContext, dict[bytes, Role]]:
    """TLS settings, and the role of each pinned certificate by its DER form's SHA-256."""
    certificates = {role: identities.trusted(identity.folder, role) for role in peers}
    pins = {identities.fingerprint(certificate).encode(): role for role, certificate in certificates.items()}
    own = identity.fingerprint.encode()
    if len(pins) < len(peers) or own in pins:
        raise UsageError("one certificate is trusted for two roles", "Each party needs keys of its own")
    context = ssl.SSLContext(protocol)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # the pinned certificate is the name
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(identity.certificate_file, identity.key_file)
    context.load_verify_locations(cadata=b"".join(c.public_bytes(Encoding.DER) for c in certificates.values()))
    return context, pins


def _listen(address: Address) -> socket.socket:
    where = str(address)
    try:
        family = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((address.host, address.port), family=family, backlog=16)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        raise UsageError(
            f"cannot listen on {where}: {'the port is taken' if taken else _reason(error)}",
            "Stop the other program or set another port in the party file" if taken else "Correct `listen`",
        ) from None


def _wrap(context: ssl.SSLContext, raw: socket.socket, server_side: bool) -> ssl.SSLSocket:
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


def _turn_away(sock: socket.socket) -> None:
    """Close, but read what is on its way first: with it unread, a reset would overtake the alert that says why."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_WR)
        deadline = time.monotonic() + PARTING_S
        while (left := deadline - time.monotonic()) > 0:
            sock.settimeout(left)
            if not socket.socket.recv(sock, 4096):  # the plain bytes: the TLS object is done
                break
    sock.close()


def _peer_mark(sock: ssl.SSLSocket) -> bytes:
    return b"sha256:" + hashlib.sha256(sock.getpeercert(binary_form=True) or b"").hexdigest().encode()


def _read_preamble(sock: ssl.SSLSocket, role: Role, own: Role) -> tuple[bytes, int]:
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
    if magic != _MAGIC or version != _VERSION or direction not in (_TO_LISTENER, _TO_CONNECTOR):
        raise PeerError("it speaks another version of the protocol")
    if says.rstrip(b"\0") != role.encode():
        raise IdentityError(f"it showed the certificate of the {role} and claims another role")
    if wants.rstrip(b"\0") != own.encode():
        raise IdentityError(f"it looks for another party than the {own}")
    return link, direction


def _not_the_peer(peer: Role, where: str) -> IdentityError:
    return IdentityError(
        f"who listens at {where} did not show the certificate that is pinned to the {peer}",
        f"Check the address; if the {peer} has new keys, compare fingerprints and trust the new certificate",
    )


def _reason(error: Exception) -> str:
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
