"""The listening end of links over TLS (`tls`).

Who is refused is named through `on_notice`, and the listener goes on listening. A stranger that sends nothing holds one
thread for `HANDSHAKE_S`, and makes room for who comes after it when there are `MAX_STRANGERS`.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from typing import Any

from amint_mpc.config import Address, Role
from amint_mpc.errors import AmintError, IdentityError, PeerError, UsageError
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
    peer_fingerprint,
    read_preamble,
    reason,
    silent,
    wrap,
)

PARTING_S = 1.0
MAX_STRANGERS = 64  # connections whose other end is not known yet
MAX_HALVES = 8  # links of which only one connection has come
MAX_NOTICES = 20


class Listener:
    """Waits for the parties that connect to this one.

    Args:
        address: where to listen; port 0 takes a free one (see `address` afterwards).
        identity: this party's keys.
        peers: the roles that may connect; their certificates are read from the trusted folder.
        on_notice: called, from other threads, with a sentence on each refused connection (the first `MAX_NOTICES`).

    Raises:
        UsageError: the address cannot be listened on.
        IdentityError: a peer's certificate is missing.
    """

    def __init__(
        self, address: Address, identity: Identity, peers: Sequence[Role], on_notice: OnNotice = silent
    ) -> None:
        self._role, self._on_notice, self._notices = identity.role, on_notice, 0
        self._context, self._pins = make_context(ssl.PROTOCOL_TLS_SERVER, identity, peers)
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
        return as_channel(out, into, role, options)

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
            sock = secure = wrap(self._context, raw, server_side=True)
            with self._changed:
                if threading.current_thread() not in self._strangers:  # dropped while the socket changed hands
                    raise PeerError("too many others came after it")
                self._strangers[threading.current_thread()] = secure
            secure.do_handshake()
            role = self._pins.get(peer_fingerprint(secure))
            if role is None:
                raise IdentityError("its certificate is not the pinned one")
            link, direction = read_preamble(secure, role, self._role)
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
            sock.send(ACCEPTED)
            half[direction] = sock
            stale: list[ssl.SSLSocket] = []
            if len(half) == 2:
                del self._halves[role, link]
                stale += self._links.pop(role, ())  # the peer tried again: its newest attempt is the living one
                self._links[role] = (half[TO_CONNECTOR], half[TO_LISTENER])
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
        self._on_notice(f"refused a connection from {where}: {reason(error)}{more}")


def _listen(address: Address) -> socket.socket:
    where = str(address)
    try:
        family = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((address.host, address.port), family=family, backlog=16)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        raise UsageError(
            f"cannot listen on {where}: {'the port is taken' if taken else reason(error)}",
            "Stop the other program or set another port in the party file" if taken else "Correct `listen`",
        ) from None


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
