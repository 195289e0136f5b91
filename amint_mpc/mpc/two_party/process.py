"""SPU in a process of its own: `python -m amint_mpc.mpc.two_party.process`, started by `engine`.

Of its own, because SPU brings libraries (an HE library, brpc, an OpenMP) that need not live in one process with torch,
because a computation that waits for a lost peer can only be ended from outside, and because what SPU prints must not
reach a screen. It knows no keys, and no address of the other party's: its messages go through the relay.

Commands come on stdin, answers go to stdout (`messages`). It ends when stdin closes.

    start    rank, hosts [developer, auditor], timeout_s: joins the two
    set      name: the shares of a variable, int64
    input    the developer's features, float64 [n, f]; at the auditor their shape alone
    train    targets, numerator, shift, gradient: a step on the input
    score    the logits of the input
    get      name: this party's share of a weight, of dx or of z, int64
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from amint_mpc.errors import ProtocolError
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.two_party import messages, program
from amint_mpc.mpc.two_party.messages import Array


class Machine:
    """SPU at one party."""

    def __init__(self) -> None:
        self._executables: dict[str, Any] = {}
        self._rank = 0
        self._runtime: Any = None
        self._x: Array = np.zeros((0, 0), np.float32)
        self._dx: Array = np.zeros(0, np.int64)
        self._shapes: dict[str, tuple[int, ...]] = {}

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
        self._shapes[name] = share.shape
        return {}

    def get(self, name: str) -> Array:
        """This party's share, int64, of a weight, of the logits or, modulo 2^32, of dL/dX."""
        if name == "dx":
            return self._dx
        return self._share(self._runtime, name, np.int64).reshape(self._shapes.get(name, (len(self._x),)))

    def input(self, x: Array | None, shape: Sequence[int]) -> dict[str, Any]:
        """The developer's own input; the auditor knows its shape alone."""
        self._shapes["x"] = tuple(shape)
        self._x = np.zeros(shape, np.float32) if x is None else x.astype(np.float32)
        self._runtime.set_var("x", self._own(self._io, self._x, DEVELOPER))
        return {}

    def train(self, targets: Sequence[float], numerator: int, shift: int, gradient: bool) -> dict[str, Any]:
        """One step; see `program`."""
        rows, hidden = len(self._x), self._shapes["b1"][0]
        key = f"train {rows} {targets} {numerator} {shift}"
        outputs = ["b1", "w2", "b2", "dy"]
        self._run(key, program.forward_backward(targets, numerator, shift), self._examples(), outputs)
        dy = self._to_small(self._share(self._runtime, "dy", np.int64).reshape(rows, hidden), program.DY_BITS)
        w1 = np.ascontiguousarray(self._to_small(self.get("w1"), program.W1_BITS).T)
        x = (self._x * 2**program.X_BITS).round().astype(np.int32)

        inputs = {"dy_t_auditor": (np.ascontiguousarray(dy.T), AUDITOR), "x_developer": (x, DEVELOPER)}
        if gradient:
            inputs |= {
                "dy_developer": (dy, DEVELOPER),
                "w1_auditor": (w1, AUDITOR),
                "dy_auditor": (dy, AUDITOR),
                "w1": (w1, DEVELOPER),
            }
        for name, (values, owner) in inputs.items():
            self._small.set_var(name, self._own(self._small_io, values, owner))
        examples = {name: np.zeros_like(values) for name, (values, _) in inputs.items()}
        function, outputs = (program.cross_both, ["dw", "dx"]) if gradient else (program.cross, ["dw"])
        self._run(f"cross {rows} {gradient}", function, examples, outputs, self._small)
        # A party's own product is added by itself: SPU's for this ring reads memory that is not aligned as it expects.
        dw = self._share(self._small, "dw", np.int32).reshape(hidden, -1) + _product(dy.T, x)
        if gradient:
            self._dx = self._share(self._small, "dx", np.int32).reshape(rows, -1) + _product(dy, w1)

        self.set("dw1", np.ascontiguousarray(dw.T) << 32)
        zeros, factors = np.zeros(self._shapes["w1"], np.float32), program.factors(numerator, shift)
        for number, factor in enumerate(factors, start=1):
            public = self._io.make_shares(np.array(factor, np.float32), self._lib.Visibility.VIS_PUBLIC)
            self._runtime.set_var("factor", public[self._rank])
            slope = {"dw1": zeros, "factor": np.zeros((), np.float32)}
            if number < len(factors):
                self._run("scaled", program.scaled, slope, ["dw1"], public=["factor"])
            else:
                self._run("moved", program.moved, {"w1": zeros, **slope}, ["w1"], public=["factor"])
        return {}

    def score(self) -> dict[str, Any]:
        """Logits of the input."""
        self._run(f"score {len(self._x)}", program.score, self._examples(), ["z"])
        return {}

    def _own(self, io: Any, values: Array, owner: int) -> Any:
        """What this party sets of an input that one party alone has: the values, or nothing but the shape."""
        mine = values if owner == self._rank else np.zeros_like(values)
        return io.make_shares(mine, self._lib.Visibility.VIS_SECRET, owner)[self._rank]

    def _to_small(self, share: Array, bits: int) -> Array:
        """A share modulo 2^32 with so many fractional bits. The developer adds half of what both lose on average."""
        kept = (share >> (program.FRACTION_BITS - bits)) + (self._rank == DEVELOPER)
        return kept.astype(np.int32)

    def _share(self, runtime: Any, name: str, dtype: Any) -> Array:
        chunks = []
        for serialized in runtime.get_var(name).share_chunks:
            chunk = self._lib.ValueChunk()
            chunk.ParseFromString(serialized)
            chunks.append(chunk.content)
        return np.frombuffer(b"".join(chunks), dtype).astype(np.int64)

    def _examples(self) -> dict[str, Array]:
        weights = {name: np.zeros(self._shapes[name], np.float32) for name in program.PARAMETERS}
        return {"x": np.zeros_like(self._x), **weights}

    def _run(
        self,
        key: str,
        function: Any,
        examples: Mapping[str, Array],
        outputs: Sequence[str],
        runtime: Any = None,
        public: Sequence[str] = (),
    ) -> None:
        """A program on the variables of these names; compiled the first time."""
        if key not in self._executables:
            from spu.utils import frontend

            known = self._lib.Visibility
            seen = [known.VIS_PUBLIC if name in public else known.VIS_SECRET for name in examples]
            values, names = list(examples.values()), list(examples)
            self._executables[key] = frontend.compile(
                frontend.Kind.JAX, function, values, {}, names, seen, lambda flat: list(outputs)
            )[0]
        (runtime or self._runtime).run(self._executables[key])


def _product(a: Array, b: Array) -> Array:
    """Of shares modulo 2^32, as int64 whose low half counts."""
    return a.astype(np.int64) @ b.astype(np.int64)


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
    if op == "train":
        return machine.train(**header), []
    if op == "score":
        return machine.score(), []
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
        try:
            while (message := messages.read(commands)) is not None:
                queue.append(message)
                ready.release()
        except ProtocolError as error:
            os.write(2, f"{error}\n".encode())  # to the log
            os._exit(1)
        os._exit(0)  # the parent is gone; SPU may be waiting for a peer

    threading.Thread(target=receive, daemon=True).start()
    while True:
        ready.acquire()
        try:
            header, arrays = answer(machine, *queue.pop(0))
        except Exception as error:
            header, arrays = {"error": f"{type(error).__name__}: {error}"[:2000]}, []
        messages.write(answers, header, *arrays)


if __name__ == "__main__":
    main()
