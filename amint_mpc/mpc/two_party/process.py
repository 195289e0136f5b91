"""SPU in a process of its own: `python -m amint_mpc.mpc.two_party.process`, started by `engine`.

Of its own, because SPU brings libraries (an HE library, brpc, an OpenMP) that need not live in one process with torch,
because a computation that waits for a lost peer can only be ended from outside, and because what SPU prints must not
reach a screen. It knows no keys, and no address of the other party's: its messages go through the relay.

Commands come on stdin, answers go to stdout, each a `Message`: a JSON header and raw arrays. It ends when stdin closes.

    start    rank, hosts [developer, auditor], timeout_s: joins the two
    set      name: the shares of a variable, int64
    input    the developer's features, float64 [n, f]; at the auditor their shape alone
    run      train (targets, numerator, shift, gradient) or score
    get      name: this party's share of a variable, int64
"""

from __future__ import annotations

import json
import os
import struct
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from amint_mpc.mpc.two_party import program

Array = NDArray[Any]
LENGTH = struct.Struct("!I")
LIMIT = 2**30
DTYPES = ("int64", "float64")


def write(pipe: IO[bytes], header: Mapping[str, Any], *arrays: Array) -> None:
    """One message."""
    arrays = tuple(np.asarray(array, order="C") for array in arrays)
    specs = [[array.dtype.name, list(array.shape)] for array in arrays]
    text = json.dumps({**header, "arrays": specs}).encode()
    pipe.write(LENGTH.pack(len(text)) + text)
    for array in arrays:
        pipe.write(array.tobytes())
    pipe.flush()


def read(pipe: IO[bytes]) -> tuple[dict[str, Any], list[Array]] | None:
    """The next message; None at the end."""
    start = pipe.read(LENGTH.size)
    if len(start) < LENGTH.size:
        return None
    header = json.loads(pipe.read(LENGTH.unpack(start)[0]))
    arrays = []
    for name, shape in header.pop("arrays"):
        dtype = np.dtype(DTYPES[DTYPES.index(name)])
        data = pipe.read(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
        arrays.append(np.frombuffer(data, dtype).reshape(shape))
    return header, arrays


class Machine:
    """SPU at one party."""

    def __init__(self) -> None:
        self._executables: dict[str, Any] = {}
        self._rank = 0
        self._runtime: Any = None
        self._dx: Array = np.zeros(0, np.int64)

    def start(self, rank: int, hosts: Sequence[str], timeout_s: float) -> dict[str, Any]:
        """Join the two parties."""
        import spu
        from spu import libspu
        from spu.libspu import link

        about = link.Desc()
        about.recv_timeout_ms = about.http_timeout_ms = int(timeout_s * 1000)
        about.connect_retry_interval_ms, about.connect_retry_times = 500, 12
        for name, host in zip(("developer", "auditor"), hosts, strict=True):
            about.add_party(name, host)
        self._rank, self._lib = rank, libspu
        context = link.create_brpc(about, rank)
        config = self._config(libspu.FieldType.FM64, program.FRACTION_BITS)
        self._runtime, self._io = spu.Runtime(context, config), spu.Io(2, config)
        config = self._config(libspu.FieldType.FM32, 8)  # integers: no fraction is used
        self._small, self._small_io = spu.Runtime(context.spawn(), config), spu.Io(2, config)
        return {}

    def _config(self, field: Any, fraction_bits: int) -> Any:
        config = self._lib.RuntimeConfig()
        config.protocol, config.field, config.fxp_fraction_bits = self._lib.ProtocolKind.CHEETAH, field, fraction_bits
        config.experimental_enable_colocated_optimization = True  # a party's own input stays its own
        return config

    def set(self, name: str, share: Array) -> dict[str, Any]:
        """This party's share of a secret variable."""
        made = self._io.make_shares(np.zeros(share.shape, np.float32), self._lib.Visibility.VIS_SECRET, -1)[self._rank]
        chunk = self._lib.ValueChunk()
        chunk.ParseFromString(made.share_chunks[0])
        content = np.ascontiguousarray(share, np.int64).tobytes()
        if len(made.share_chunks) != 1 or len(chunk.content) != len(content):
            raise RuntimeError("a share of SPU does not look as expected")
        chunk.content = content
        made.share_chunks = [chunk.SerializeToString()]
        self._runtime.set_var(name, made)
        return {}

    def get(self, name: str, shape: Sequence[int]) -> Array:
        """This party's share of a secret variable, int64; of `dx` modulo 2^32."""
        return self._dx if name == "dx" else self._share(self._runtime, name, np.int64).reshape(shape)

    def _share(self, runtime: Any, name: str, dtype: Any) -> Array:
        chunks = []
        for serialized in runtime.get_var(name).share_chunks:
            chunk = self._lib.ValueChunk()
            chunk.ParseFromString(serialized)
            chunks.append(chunk.content)
        return np.frombuffer(b"".join(chunks), dtype)

    def input(self, x: Array | None, shape: Sequence[int]) -> dict[str, Any]:
        """The developer's own input; the auditor knows its shape alone."""
        values = np.zeros(shape, np.float32) if x is None else x.astype(np.float32)  # the program's type
        shares = self._io.make_shares(values, self._lib.Visibility.VIS_SECRET, 0)
        self._runtime.set_var("x", shares[self._rank])
        return {}

    def run(self, what: str, x: Sequence[int], weights: Mapping[str, Sequence[int]], **settings: Any) -> dict[str, Any]:
        """One program, compiled the first time."""
        key = json.dumps([what, x, weights, settings])
        if key not in self._executables:
            self._executables[key] = self._compile(what, [x, *weights.values()], settings)
        w1 = self.get("w1", weights["w1"])  # before the step
        self._runtime.run(self._executables[key])
        if settings.get("gradient"):
            self._dx = self._input_gradient(self.get("dy", (x[0], w1.shape[1])), w1)
        return {}

    def _input_gradient(self, dy: Array, w1: Array) -> Array:
        """This party's share of dX = dY w1^T modulo 2^32, DX_BITS; see `program`."""
        dy = (dy >> (program.FRACTION_BITS - program.DY_BITS)).astype(np.int32)
        w1 = np.ascontiguousarray((w1 >> (program.FRACTION_BITS - program.W1_BITS)).astype(np.int32).T)
        inputs = {"dy_developer": (dy, 0), "w1_auditor": (w1, 1), "dy_auditor": (dy, 1), "w1_developer": (w1, 0)}
        secret = self._lib.Visibility.VIS_SECRET
        for name, (values, owner) in inputs.items():
            mine = values if owner == self._rank else np.zeros_like(values)
            self._small.set_var(name, self._small_io.make_shares(mine, secret, owner)[self._rank])
        key = f"cross {dy.shape} {w1.shape}"
        if key not in self._executables:
            shapes = {name: np.zeros_like(values) for name, (values, _) in inputs.items()}
            self._executables[key] = self._compiled(program.cross, shapes, ["dx"])
        self._small.run(self._executables[key])
        crossed = self._share(self._small, "dx", np.int32).reshape(len(dy), w1.shape[1])
        return crossed.astype(np.int64) + dy.astype(np.int64) @ w1.astype(np.int64)

    def _compile(self, what: str, shapes: Sequence[Sequence[int]], settings: Mapping[str, Any]) -> Any:
        function = program.train(**settings) if what == "train" else program.score
        outputs = [*program.PARAMETERS, "dy"] if what == "train" else ["z"]
        names = ["x", *program.PARAMETERS]
        examples = {name: np.zeros(shape, np.float32) for name, shape in zip(names, shapes, strict=True)}
        return self._compiled(function, examples, outputs)

    def _compiled(self, function: Any, examples: Mapping[str, Array], outputs: list[str]) -> Any:
        from spu.utils import frontend

        secret = [self._lib.Visibility.VIS_SECRET] * len(examples)
        values, names = list(examples.values()), list(examples)
        return frontend.compile(
            frontend.Kind.JAX, function, values, {}, names, secret, lambda flat: outputs[: len(flat)]
        )[0]


def answer(machine: Machine, header: dict[str, Any], arrays: list[Array]) -> tuple[dict[str, Any], list[Array]]:
    """Do what a command says."""
    op = header.pop("op")
    if op == "start":
        return machine.start(**header), []
    if op == "set":
        return machine.set(header["name"], arrays[0]), []
    if op == "get":
        return {}, [machine.get(**header)]
    if op == "input":
        return machine.input(arrays[0] if arrays else None, header["shape"]), []
    if op == "run":
        return machine.run(**header), []
    raise ValueError("no such command")


def main() -> None:
    """Args: the file that gets what SPU prints."""
    log = Path(sys.argv[1])
    answers = os.fdopen(os.dup(1), "wb")
    with log.open("ab") as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
    commands = os.fdopen(os.dup(0), "rb")
    machine, ready = Machine(), threading.Semaphore(0)
    queue: list[tuple[dict[str, Any], list[Array]]] = []

    def receive() -> None:
        while (message := read(commands)) is not None:
            queue.append(message)
            ready.release()
        os._exit(0)  # the parent is gone; SPU may be waiting for a peer

    threading.Thread(target=receive, daemon=True).start()
    while True:
        ready.acquire()
        try:
            header, arrays = answer(machine, *queue.pop(0))
        except Exception as error:
            header, arrays = {"error": f"{type(error).__name__}: {error}"[:2000]}, []
        write(answers, header, *arrays)


if __name__ == "__main__":
    main()
