"""Carries SPU's own connections over a link of ours, which is encrypted, authenticated and counted.

SPU listens at a Unix socket in a folder that this user alone can enter, and knows a second one there as the other
party. At that second one the relay listens: what SPU writes to it goes over the link, in pieces, and the other party's
relay hands it to its own SPU. So SPU opens no port, and nobody without the pinned key can speak to it.

A piece is two frames: [connection, length], then so many bytes; length 0 ends the connection. Connections that the
developer's SPU opens have even numbers, the auditor's odd ones.
"""

from __future__ import annotations

import itertools
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import torch

from amint_mpc.errors import AmintError, ProtocolError
from amint_mpc.transport.channel import Channel

TAG = "spu"
PIECE = 2**18
CONNECTIONS = 64
PATIENCE_S = 30.0  # until SPU listens


class Relay:
    """One end. Its threads end with the link, or with `close`.

    Args:
        link: to the other party's relay; nothing else is sent on it while this lives.
        party: DEVELOPER or AUDITOR.
        own: where SPU of this party listens, or will. peer: where it finds the other party.
    """

    def __init__(self, link: Channel, party: int, own: Path, peer: Path) -> None:
        self._link, self._party, self._own = link, party, own
        self._lock, self._sent = threading.Lock(), 0
        self._connections: dict[int, socket.socket] = {}
        self._closed = False
        self._error: AmintError | None = None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(peer))
        self._listener.listen()
        for body in (self._accept, self._receive):
            threading.Thread(target=body, name=f"relay {body.__name__}", daemon=True).start()

    def check(self) -> None:
        """Raises what ended the relay, if anything did."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Let go of SPU; the link stays open."""
        self._closed = True
        for one in (self._listener, *self._connections.values()):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        for number in itertools.count(self._party, 2):
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._serve(number, connection)

    def _serve(self, number: int, connection: socket.socket) -> None:
        self._connections[number] = connection
        threading.Thread(target=self._forward, args=(number, connection), name="relay", daemon=True).start()

    def _forward(self, number: int, connection: socket.socket) -> None:
        piece = bytearray(PIECE)
        while not self._closed:
            try:
                size = connection.recv_into(piece)
            except OSError:
                size = 0
            try:
                self._send(number, piece[:size])
            except AmintError as error:
                self._fail(error)
                return
            if not size:
                return

    def _send(self, number: int, data: bytearray) -> None:
        with self._lock:
            self._link.send(TAG, self._sent, torch.tensor([number, len(data)]))
            if data:
                self._link.send(TAG, self._sent, torch.frombuffer(data, dtype=torch.uint8))
            self._sent += 1

    def _receive(self) -> None:
        try:
            for step in itertools.count():
                (head,) = self._link.receive(TAG, step, (torch.int64, (2,)))
                number, size = head.tolist()
                if not (0 <= size <= PIECE and number >= 0):
                    raise ProtocolError("a piece of SPU's traffic is malformed", "Use the same version on both sides")
                if not size:
                    self._end(number)
                    continue
                (data,) = self._link.receive(TAG, step, (torch.uint8, (size,)))
                with suppress(OSError):  # this SPU has let go of it, or does not listen yet: the other one tries again
                    self._connection(number).sendall(data.numpy().data)
        except AmintError as error:
            self._fail(error)

    def _end(self, number: int) -> None:
        connection = self._connections.get(number)
        if connection is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)

    def _connection(self, number: int) -> socket.socket:
        """The one with this number; a new one to our SPU when the other party opened it."""
        if number in self._connections:
            return self._connections[number]
        if number % 2 == self._party or len(self._connections) >= CONNECTIONS:
            raise ProtocolError("a connection of SPU has a wrong number", "Use the same version on both sides")
        deadline = time.monotonic() + PATIENCE_S
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(self._own))
                break
            except OSError:
                connection.close()
                if self._closed or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self._serve(number, connection)
        return connection

    def _fail(self, error: AmintError) -> None:
        if not self._closed:
            self._error = self._error or error
            self.close()
