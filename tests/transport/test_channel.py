"""One suite of checks that every kind of channel passes: what arrives, and what is refused."""

import struct
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from amint_mpc.errors import AmintError, PeerError, ProtocolError
from amint_mpc.transport import frames
from amint_mpc.transport.channel import FramedChannel, memory_pair
from amint_mpc.transport.frames import HEADER
from tests.transport.conftest import MakePair

X = torch.arange(6).reshape(2, 3)
X_SPEC = (torch.int64, (2, 3))


def raw(channel: FramedChannel, data: bytes) -> None:
    channel.link.wire.write(memoryview(data), 5.0)


def keep_sending(channel: FramedChannel) -> None:
    for step in range(100):  # 200 MB
        channel.send("x", step, torch.zeros(2 << 20, dtype=torch.uint8))


def header(**changes: Any) -> bytes:
    """A good header of `X` under tag `x`, step 0, with changed fields."""
    fields: dict[str, Any] = {
        "magic": b"AMNT",
        "version": 1,
        "kind": 1,
        "shapes": 10,
        "depth": 1,
        "step": 0,
        "data": 48,
    }
    return HEADER.pack(*{**fields, "tag": b"x", **changes}.values())


SHAPES = struct.pack("<BBII", 1, 2, 2, 3)


@pytest.mark.parametrize("dtype", frames.DTYPES, ids=str)
def test_tensors_arrive_as_sent(make_pair: MakePair, dtype: torch.dtype) -> None:
    here, there = make_pair()
    info = torch.iinfo(dtype) if not dtype.is_floating_point else None
    for shape in [(), (0,), (3, 0, 2), (1,), (5, 7), (300, 500)]:
        sent = torch.randint(info.min, info.max, shape, dtype=dtype) if info else torch.randn(shape)
        here.send("a", 2**63, sent, X)
        got, also = there.receive("a", 2**63, (dtype, shape), X_SPEC)
        assert got.dtype == dtype
        assert torch.equal(got, sent)
        assert torch.equal(also, X)
        got.zero_()  # writable
        assert got.is_contiguous()


def test_tensor_may_change_after_send_and_need_not_be_contiguous(make_pair: MakePair) -> None:
    here, there = make_pair()
    large = torch.ones(500, 800)
    here.send("a", 0, large.T, X.T, torch.ones(2, requires_grad=True))
    large.zero_()
    got, small, leaf = there.receive("a", 0, (torch.float32, (800, 500)), (torch.int64, (3, 2)), (torch.float32, (2,)))
    assert got.sum() == 400_000
    assert torch.equal(small, X.T)
    assert not leaf.requires_grad


def test_json_arrives_as_sent(make_pair: MakePair) -> None:
    here, there = make_pair()
    values: list[frames.JsonValue] = [None, True, 0, -(2**80), 1.5, "é\n", [], {}, {"a": [{"b": None}, "c"]}]
    for value in values:
        here.send_json("j", value)
        assert there.receive_json("j") == value


@pytest.mark.parametrize(
    ("tag", "step", "spec", "shown"),
    [
        ("y", 7, X_SPEC, "'y' of step 7"),
        ("x", 8, X_SPEC, "received 'x', step 7"),
        ("x", 7, (torch.int64, (3, 2)), r"int64\[3, 2\].*int64\[2, 3\]"),
        ("x", 7, (torch.int32, (2, 3)), r"int32\[2, 3\].*int64\[2, 3\]"),
    ],
)
def test_another_tensor_than_expected_is_refused(
    make_pair: MakePair, tag: str, step: int, spec: frames.Spec, shown: str
) -> None:
    here, there = make_pair()
    here.send("x", 7, X)
    with pytest.raises(ProtocolError, match=shown):
        there.receive(tag, step, spec)
    with pytest.raises(ProtocolError, match=shown):  # the link is finished: nothing is skipped
        there.receive("x", 7, X_SPEC)


def test_json_and_tensors_are_not_taken_for_each_other(make_pair: MakePair) -> None:
    here, there = make_pair()
    here.send_json("x", 1)
    with pytest.raises(ProtocolError, match="JSON of 1 bytes"):
        there.receive("x", 0, X_SPEC)
    there.send("x", 0, X)
    with pytest.raises(ProtocolError, match="expected 'x', JSON"):
        here.receive_json("x")


def test_large_json_is_refused(make_pair: MakePair) -> None:
    here, there = make_pair()
    here.send_json("j", "a" * 100)
    with pytest.raises(ProtocolError, match="at most 50 bytes"):
        there.receive_json("j", limit=50)


BAD_JSON = [b"{", b"NaN", b"1e999", b'{"a":1,"a":2}', b"\xff", b'"\\ud800"', b"[" * 20 + b"]" * 20, b"[" * 60000]


@pytest.mark.parametrize("text", BAD_JSON, ids=range(len(BAD_JSON)))
def test_bad_json_is_refused(make_pair: MakePair, text: bytes) -> None:
    here, there = make_pair()
    raw(here, header(kind=frames.JSON, shapes=0, data=len(text)) + text)
    with pytest.raises(ProtocolError, match="not the JSON"):
        there.receive_json("x")


MALFORMED = {
    "garbage": b"\x16\x03\x01" + b"z" * 100,
    "version": header(version=2),
    "kind": header(kind=9),
    "tag": header(tag=b"\x1b[31m"),
    "no tag": header(tag=b""),
    "tag with a hole": header(tag=b"x\0x"),
    "long shapes": header(shapes=60000),
    "goodbye with data": header(kind=frames.BYE, shapes=0),
    "json with shapes": header(kind=frames.JSON),
    "dtype": header() + b"\x09" + SHAPES[1:],
    "dimensions": header() + b"\x01\x09" + SHAPES[2:],
    "cut shapes": header(shapes=9) + SHAPES,
    "length": header(data=49) + SHAPES,
    "empty but huge": header(shapes=18, data=0) + struct.pack("<BB4I", 1, 4, 0, *[2**32 - 1] * 3),
    "made-up clock": header(depth=2) + SHAPES + b"\0" * 48,
    "no clock": header(depth=0) + SHAPES + b"\0" * 48,
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_frame_is_a_protocol_error(make_pair: MakePair, name: str) -> None:
    here, there = make_pair()
    raw(here, MALFORMED[name])
    with pytest.raises(ProtocolError) as caught:
        there.receive("x", 0, X_SPEC)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300


def test_empty_tensor_of_impossible_size_is_refused() -> None:
    with pytest.raises(ProtocolError, match="impossible size"):
        frames.decode_specs(struct.pack("<BB4I", 1, 4, 0, *[2**32 - 1] * 3))


def test_every_flipped_byte_in_the_head_ends_in_an_error_of_ours() -> None:
    good = header() + SHAPES + b"\0" * 48
    for at in range(HEADER.size + len(SHAPES)):
        here, there = memory_pair()
        raw(here, good[:at] + bytes([good[at] ^ 0x81]) + good[at + 1 :])
        here.link.wire.shut()
        with pytest.raises(AmintError):
            there.receive("x", 0, X_SPEC)


@pytest.mark.parametrize("length", [2**62, 2**33])
def test_length_is_checked_before_memory_is_taken(make_pair: MakePair, length: int) -> None:
    here, there = make_pair()
    honest = struct.pack("<BBII", 4, 2, 2**31, length >> 31)  # uint8[2^31, ...]: shapes and length agree
    tracemalloc.start()
    try:
        raw(here, header(data=length) + honest)
        with pytest.raises(ProtocolError):
            there.receive("x", 0, X_SPEC)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_reader_that_cannot_hold_a_frame_ends_the_link() -> None:
    here, there = memory_pair(prefetch_bytes=1 << 50)
    with here, there:
        raw(here, header(data=2**43) + struct.pack("<BBII", 1, 2, 2**9, 2**31))  # 8 TiB: more than there is
        for _ in range(2):
            with pytest.raises(ProtocolError, match="what the developer sent cannot be held"):
                there.receive("x", 0, X_SPEC)
        with pytest.raises(ProtocolError):
            there.check()


@pytest.mark.parametrize("kept", [1, HEADER.size - 1, HEADER.size, HEADER.size + 5, HEADER.size + 20])
def test_frame_cut_off_by_a_loss(make_pair: MakePair, kept: int) -> None:
    here, there = make_pair()
    raw(here, (header() + SHAPES + b"\0" * 48)[:kept])
    here.link.wire.shut()
    with pytest.raises(PeerError, match="the developer was lost"):
        there.receive("x", 0, X_SPEC)


UNSENDABLE = [torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.bool), torch.zeros((1,) * 9)]


@pytest.mark.parametrize("tensor", UNSENDABLE, ids=["float64", "bool", "dimensions"])
def test_what_no_frame_carries_is_refused_by_the_sender(make_pair: MakePair, tensor: torch.Tensor) -> None:
    here, _ = make_pair()
    with pytest.raises(ProtocolError):
        here.send("x", 0, tensor)
    for tag in ("", "t" * 25, "a b", "é"):
        with pytest.raises(ProtocolError):
            here.send(tag, 0)
    assert here.stats.frames_sent == 0


def test_small_frames_do_not_overtake_large_ones(make_pair: MakePair) -> None:
    here, there = make_pair()
    large = torch.zeros(1_000_000, dtype=torch.int64)
    for step in range(3):
        here.send("large", step, large)
        here.send_json("small", step)
        here.send("x", step, X)
    for step in range(3):
        there.receive("large", step, (torch.int64, (1_000_000,)))
        assert there.receive_json("small") == step
        there.receive("x", step, X_SPEC)


def test_two_large_sends_at_once_do_not_block_each_other(make_pair: MakePair) -> None:
    ends = make_pair()
    large = torch.arange(4_000_000)  # 32 MB
    for end in ends:
        end.send("large", 0, large)
    with ThreadPoolExecutor(2) as pool:
        for got in pool.map(lambda end: end.receive("large", 0, (torch.int64, (4_000_000,))), ends):
            assert torch.equal(got[0], large)
    for end in ends:
        end.flush()


def test_queue_is_bounded(make_pair: MakePair) -> None:
    here, _ = make_pair(queue_bytes=4 << 20, send_timeout_s=0.3)
    with pytest.raises(PeerError, match="took no data"):
        keep_sending(here)  # more than the sockets' buffers, what is read ahead, and the queue
    assert here.outgoing.queued <= 4 << 20


def test_empty_tensors_read_ahead_are_not_free() -> None:
    here, there = memory_pair(prefetch_bytes=1 << 16)
    specs = [(torch.int64, (0,))] * 32
    with here, there:
        for step in range(100):  # 24 kB on the wire
            here.send("x", step, *[torch.zeros(0, dtype=torch.int64)] * 32)
        time.sleep(0.2)
        assert len(there.incoming.ahead) <= 2
        for step in range(100):
            there.receive("x", step, *specs)
        assert there.incoming.ahead_bytes == 0


def test_rounds_of_a_simultaneous_exchange_and_of_a_chain(make_pair: MakePair) -> None:
    here, there = make_pair()
    for end in (here, there):
        end.send("x", 0, X)
        end.send("y", 0, X)
    for end in (here, there):
        end.receive("x", 0, X_SPEC)
        end.receive("y", 0, X_SPEC)
    assert (here.stats.rounds, there.stats.rounds) == (1, 1)
    for step in range(5):
        here.send("p", step, X)
        there.receive("p", step, X_SPEC)
        there.send("q", step, X)
        here.receive("q", step, X_SPEC)
    assert (here.stats.rounds, there.stats.rounds) == (11, 10)


def test_bytes_are_exact(make_pair: MakePair) -> None:
    here, there = make_pair()
    here.send("x", 0, X, torch.zeros(3, dtype=torch.uint8))
    there.receive("x", 0, X_SPEC, (torch.uint8, (3,)))
    size = HEADER.size + (2 + 8) + (2 + 4) + 48 + 3
    assert (here.stats.frames_sent, here.stats.bytes_sent, there.stats.bytes_received) == (1, size, size)
    there.send_json("j", {"a": 1})
    here.receive_json("j")
    assert there.stats.bytes_sent == here.stats.bytes_received == HEADER.size + len('{"a":1}')
