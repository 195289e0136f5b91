"""A link to one peer: tensors and JSON in strict order, both ways, over any stream of bytes.

Guarantees
    One strict first-in, first-out order a direction: a small message never overtakes a large one.
    The receiver says what must come next (tag, step, dtypes, shapes); anything else is a `ProtocolError`.
    Memory is bounded: the queue of outgoing frames by `queue_bytes`, frames read ahead by `prefetch_bytes`.
    A peer that is gone without a goodbye is a `PeerError`, and so is one that is silent for `idle_timeout_s`.
    After an error the link is finished: every later call raises.

Threads: `send*` may be called from one thread while another calls `receive*`. Each direction has a file of its own:
`outgoing.py` has the queue and its thread, so that two large sends at once cannot block each other, `incoming.py`
reads, ahead or not, and `state.py` has what both share.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from torch import Tensor

from amint_mpc.errors import ProtocolError
from amint_mpc.transport import frames
from amint_mpc.transport.frames import FrameHeader, JsonValue, Spec
from amint_mpc.transport.incoming import Check, Frame, Incoming
from amint_mpc.transport.outgoing import Outgoing
from amint_mpc.transport.state import LAST_WORDS_S, MIB, LinkState, abort_code
from amint_mpc.transport.wire import Wire, memory_wires

__all__ = ["Channel", "ChannelStats", "FramedChannel", "abort_code", "memory_pair"]

GOODBYE_S = 60.0


@dataclass
class ChannelStats:
    """What crossed a link. Frames and bytes cover tensors and JSON with their headers, not what TLS and TCP add,
    nor the link's own signs of life and goodbyes; so they depend on the protocol alone.

    Args:
        rounds: length of the longest chain of dependent messages so far (a Lamport clock).
        seconds_waiting: time spent inside `receive` and `receive_json`.
    """

    frames_sent: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    rounds: int = 0
    seconds_waiting: float = 0.0


class Channel(Protocol):
    """A link to one peer, as the secure engine and the roles see it.

    Edge cases
        `send` copies: the tensor may be changed right after. It returns before the peer has read anything.
        `receive` gives new, writable, contiguous tensors that own their memory.
        `flush` returns when every frame has been handed to the operating system.
        `close` sends what is queued and a goodbye; `abort` drops what is queued and sends a reason.
    """

    peer: str
    stats: ChannelStats

    def send(self, tag: str, step: int, *tensors: Tensor) -> None: ...
    def receive(self, tag: str, step: int, *specs: Spec) -> list[Tensor]: ...
    def send_json(self, tag: str, value: JsonValue) -> None: ...
    def receive_json(self, tag: str, limit: int = frames.JSON_LIMIT) -> JsonValue: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...
    def abort(self, code: str) -> None: ...


class ForwardingChannel:
    """`Channel` over another one; for those that watch it.

    Args:
        channel: the other one.
    """

    def __init__(self, channel: Channel) -> None:
        self.peer, self.stats = channel.peer, channel.stats
        self._channel = channel

    def send(self, tag: str, step: int, *tensors: Tensor) -> None:
        """See `Channel.send`."""
        self._channel.send(tag, step, *tensors)

    def receive(self, tag: str, step: int, *specs: Spec) -> list[Tensor]:
        """See `Channel.receive`."""
        return self._channel.receive(tag, step, *specs)

    def send_json(self, tag: str, value: JsonValue) -> None:
        """See `Channel.send_json`."""
        self._channel.send_json(tag, value)

    def receive_json(self, tag: str, limit: int = frames.JSON_LIMIT) -> JsonValue:
        """See `Channel.receive_json`."""
        return self._channel.receive_json(tag, limit)

    def flush(self) -> None:
        """See `Channel.flush`."""
        self._channel.flush()

    def close(self) -> None:
        """See `Channel.close`."""
        self._channel.close()

    def abort(self, code: str) -> None:
        """See `Channel.abort`."""
        self._channel.abort(code)


class FramedChannel:
    """`Channel` over a `Wire`.

    Args:
        wire: ordered bytes to and from the peer.
        peer: role of the other end, for messages.
        idle_timeout_s: a peer that sends nothing for so long, while we wait for it, is lost. None: wait for ever.
            With reading ahead this holds for waits to send too, for then its signs of life are heard.
        send_timeout_s: how long a peer may take nothing while our queue waits. None, for a peer may well be busy, or
            have enough; TCP finds out when it is gone.
        queue_bytes: outgoing frames held at most; a `send` beyond it waits.
        prefetch_bytes: 0 reads in `receive`. Otherwise a thread reads ahead, at most so many bytes and one frame.
        heartbeat_s: send a sign of life after so much silence, so that a long computation is not taken for a loss.
    """

    def __init__(
        self,
        wire: Wire,
        peer: str,
        *,
        idle_timeout_s: float | None = 300.0,
        send_timeout_s: float | None = None,
        queue_bytes: int = 256 * MIB,
        prefetch_bytes: int = 0,
        heartbeat_s: float | None = None,
    ) -> None:
        self.peer = peer
        self.stats = ChannelStats()
        self.link = LinkState(wire, peer)
        self._patience = next((limit for limit in (send_timeout_s, idle_timeout_s) if limit is not None), GOODBYE_S)
        self._depth_sent = 0
        self.incoming = Incoming(self.link, idle_timeout_s, prefetch_bytes)
        silence_left = self.incoming.silence_left if prefetch_bytes else None
        self.outgoing = Outgoing(self.link, send_timeout_s, queue_bytes, heartbeat_s, silence_left)

    def __repr__(self) -> str:
        return f"<link to the {self.peer}>"

    def send(self, tag: str, step: int, *tensors: Tensor) -> None:
        """Queue one frame of tensors.

        Raises:
            PeerError: the peer is gone, or took nothing for `send_timeout_s` while the queue was full, or is silent.
            ProtocolError: a dtype, tag or shape that no frame carries.
        """
        self._send(frames.encode_tensors(tag, step, self.stats.rounds + 1, tensors))

    def send_json(self, tag: str, value: JsonValue) -> None:
        """Queue one frame of JSON; raises as `send` does."""
        self._send(frames.encode_json(tag, self.stats.rounds + 1, value))

    def _send(self, frame: bytes) -> None:
        self._depth_sent = self.stats.rounds + 1
        if not self.outgoing.put(frame):
            raise self.link.closed() if self.link.closing else self.incoming.why_lost(self.outgoing.error)
        self.stats.frames_sent += 1
        self.stats.bytes_sent += len(frame)

    def flush(self) -> None:
        """Wait until every frame sent so far has left this process.

        Raises:
            PeerError: the peer is gone, takes nothing, or is silent.
        """
        if not self.outgoing.flush():
            raise self.incoming.why_lost(self.outgoing.error)

    def receive(self, tag: str, step: int, *specs: Spec) -> list[Tensor]:
        """The next frame, which must be exactly the one described.

        Raises:
            ProtocolError: any other frame; nothing of its size has been allocated.
            PeerError: the peer is gone, said goodbye, stopped with a reason, or is silent.
        """
        return self._receive(lambda head: frames.check_tensors(head, tag, step, specs), tag).tensors

    def receive_json(self, tag: str, limit: int = frames.JSON_LIMIT) -> JsonValue:
        """The next frame, which must be JSON of at most `limit` bytes; raises as `receive` does."""
        return frames.decode_json(self._receive(lambda head: frames.check_json(head, tag, limit), tag).json)

    def _receive(self, check: Check, tag: str) -> Frame:
        began = time.perf_counter()

        def admit(head: FrameHeader) -> None:
            check(head)
            # The peer's clock is at most the depth of what we sent it: a larger one is made up.
            if not 0 < head.depth <= self._depth_sent + 1:
                raise ProtocolError(f"'{tag}' claims to be round {head.depth}, after {self._depth_sent}")
            self.stats.rounds = max(self.stats.rounds, head.depth)
            self.stats.bytes_received += head.size
            self.stats.seconds_waiting += time.perf_counter() - began

        return self.incoming.take(check, admit, tag)

    def check(self) -> None:
        """Raise if a link that is read ahead is known to be broken; takes no frame and never waits.

        Raises:
            PeerError: the peer is gone without a goodbye, or stopped with a reason.
        """
        self.incoming.check()

    def close(self) -> None:
        """Send what is queued and a goodbye, then let go of the link; waits for the peer to take it, at most
        `send_timeout_s`, else `idle_timeout_s`, else `GOODBYE_S`. Never raises; a second call does nothing."""
        self._end(frames.encode_control(frames.BYE), drop=False, patience=self._patience)

    def abort(self, code: str) -> None:
        """Tell the peer why we stop (a key of `state.REASONS`) and let go of the link; what is queued is dropped."""
        self._end(frames.encode_control(frames.ABORT, code), drop=True, patience=LAST_WORDS_S)

    def _end(self, last: bytes, drop: bool, patience: float) -> None:
        if not self.outgoing.end(last, drop, patience):
            return
        self.link.wire.shut()
        self.incoming.wake()
        self.outgoing.join()
        self.incoming.join()
        with self.incoming.receiving:  # whoever is in `receive` has been woken
            self.link.wire.close()

    def __enter__(self) -> FramedChannel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort(abort_code(error))


def memory_pair(
    a: str = "developer", b: str = "auditor", *, idle_timeout_s: float | None = 60.0, prefetch_bytes: int = 0
) -> tuple[FramedChannel, FramedChannel]:
    """Both ends of a link inside one process: the first is `a`'s, and its `peer` is `b`."""

    def end(wire: Wire, peer: str) -> FramedChannel:
        return FramedChannel(
            wire, peer, idle_timeout_s=idle_timeout_s, send_timeout_s=idle_timeout_s, prefetch_bytes=prefetch_bytes
        )

    left, right = memory_wires()
    return end(left, b), end(right, a)
