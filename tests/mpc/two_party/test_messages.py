"""Messages between a party and its SPU process: what comes through, and what is refused. No SPU is needed."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amint_mpc.errors import ProtocolError
from amint_mpc.mpc.two_party import messages, process


def raw(header: Any, body: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("!I", len(text)) + text + body


def arrays(*specs: Any) -> dict[str, Any]:
    return {"op": "set", "arrays": list(specs)}


def test_messages_come_through_one_by_one() -> None:
    pipe = io.BytesIO()
    whole, real, one = np.arange(-3, 3).reshape(2, 3), np.array([[0.1, -1e300]]).T, np.array(7)
    messages.write(pipe, {"op": "train", "targets": [0.1, 1.0]}, whole, real[::-1], one, np.zeros((0, 5)))
    messages.write(pipe, {"op": "score"})
    pipe.seek(0)
    header, found = messages.read(pipe)
    assert header == {"op": "train", "targets": [0.1, 1.0]}
    for array, original in zip(found, (whole, real[::-1], one, np.zeros((0, 5))), strict=True):
        assert array.dtype == original.dtype
        assert np.array_equal(array, original)
        assert array.shape == original.shape
    assert messages.read(pipe) == ({"op": "score"}, [])
    assert messages.read(pipe) is None


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0",
        struct.pack("!I", 5) + b"{",
        struct.pack("!I", messages.HEADER_LIMIT + 1),
        struct.pack("!I", 1) + b"{",
        raw([]),
        raw({"op": "set"}),
        raw(arrays(["object", [1]]), bytes(8)),
        raw(arrays(["int64", [-1, -1]]), bytes(8)),
        raw(arrays(["int64", [1.0]]), bytes(8)),
        raw(arrays(["int64", ["1"]]), bytes(8)),
        raw(arrays(["int64", [1] * 5]), bytes(8)),
        raw(arrays(["int64", [2]]), bytes(8)),
        raw(arrays(["float64", [2**62, 2**62]]), bytes(8)),
        raw(arrays(["float64", [messages.ARRAY_LIMIT // 8 + 1]]), bytes(8)),
    ],
)
def test_a_malformed_message_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="malformed") as error:
        messages.read(io.BytesIO(data))
    assert error.value.hint


def test_nothing_is_read_for_a_size_beyond_the_limit() -> None:
    class Pipe(io.BytesIO):
        most = 0

        def read(self, size: int | None = -1) -> bytes:
            self.most = max(self.most, size)
            return super().read(size)

    for data in (struct.pack("!I", 2**32 - 1), raw(arrays(["int64", [2**40]]))):
        pipe = Pipe(data)
        with pytest.raises(ProtocolError):
            messages.read(pipe)
        assert pipe.most < 100


def test_what_could_not_be_read_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "ARRAY_LIMIT", 80)
    monkeypatch.setattr(messages, "HEADER_LIMIT", 200)
    pipe = io.BytesIO()
    messages.write(pipe, {}, np.zeros(10))
    before = pipe.getvalue()
    for header, array in (({}, np.zeros(11)), ({"targets": [0.0] * 100}, np.zeros(1))):
        with pytest.raises(ProtocolError, match="too large"):
            messages.write(pipe, header, array)
    assert pipe.getvalue() == before


def test_a_malformed_command_ends_the_process_and_is_in_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-m", process.__name__, str(tmp_path / "log")]
    done = subprocess.run(command, input=raw(arrays(["object", [1]])), stdout=subprocess.PIPE, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert "malformed" in (tmp_path / "log").read_text()
