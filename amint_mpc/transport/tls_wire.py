"""Two TLS connections, one a direction, as the `Wire` of a channel."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from typing import cast

_RECORD = 16384  # bytes in a TLS record, at most


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
