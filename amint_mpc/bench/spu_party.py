"""One of SecretFlow SPU's two parties as a measured process: SPU 0.9.5 as it comes, for comparison.

The step of our head as a user would first write it in JAX (`step`), compiled by SPU's own frontend, in a ring of 64
bits: every input secret, labels public, nothing told about who owns what. Two of its protocols:

    semi2k    its first party makes every mask, by default, and so could read everything
    cheetah   two parties and nobody else: homomorphic encryption and oblivious transfer

Both over SPU's own link (brpc) on loopback, which is neither encrypted nor authenticated. Rank 0 brings the input, new
shares of it for each step, and is opened the gradient with respect to it; rank 1 brings the weights. One thread in
each process.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amint_mpc.bench.worker import Handler, work
from amint_mpc.errors import AmintError

Floats = NDArray[np.float32]

RATE = 0.05
INPUTS = ("x", "y", "w1", "b1", "w2", "b2")
OUTPUTS = ("w1", "b1", "w2", "b2", "dx")
PATIENCE_MS = 300_000  # for a message of the other; a step takes seconds

_SENT = re.compile(r"Link details: total send bytes (\d+)")


@contextmanager
def opened(settings: dict[str, Any]) -> Iterator[Handler]:
    """Make one party ready; its steps start with the first command.

    Args:
        settings: rank, ports (of both ranks, on loopback), protocol ("semi2k" or "cheetah"), features, hidden, batch,
            console (a file that does not exist yet).
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # before SPU is loaded, which asks once
    console = Console(Path(settings["console"]))
    party = SpuParty(settings)

    def handle(command: dict[str, Any]) -> dict[str, Any]:
        before, gradient = party.sent, None
        for _ in range(command["steps"]):
            gradient = party.step()
        answer: dict[str, Any] = {"bytes_sent": party.sent - before + console.sent(command["steps"])}
        if command.get("open") and gradient is not None:
            answer["gradient"] = gradient.tolist()
        return answer

    yield handle
    party.close()


def first_values(features: int, hidden: int, batch: int) -> dict[str, Floats]:
    """The input, the labels (half of a batch are members) and the weights before the first step."""
    random = np.random.default_rng(1)
    values = {
        "x": random.normal(size=(batch, features)),
        "y": np.arange(batch) < batch // 2,
        "w1": random.normal(size=(features, hidden)) / np.sqrt(features),
        "b1": np.zeros(hidden),
        "w2": random.normal(size=hidden) / np.sqrt(hidden),
        "b2": np.zeros(()),
    }
    return {name: value.astype(np.float32) for name, value in values.items()}


def step(x: Any, y: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> tuple[Any, ...]:
    """The program: Linear, ReLU, Linear; gradients of the summed binary cross-entropy; plain gradient descent.

    Returns:
        the new weights, and the gradient with respect to the input (`OUTPUTS`).
    """
    import jax
    import jax.numpy as jnp

    a = x @ w1 + b1
    active = a > 0
    h = jnp.where(active, a, 0.0)
    g = jax.nn.sigmoid(h @ w2 + b2) - y
    ga = jnp.where(active, g[:, None] * w2[None, :], 0.0)
    rate = RATE / (x.shape[0] // 2)
    return w1 - rate * (x.T @ ga), b1 - rate * ga.sum(0), w2 - rate * (h.T @ g), b2 - rate * g.sum(), ga @ w1.T


class SpuParty:
    """A rank of SPU with its shares.

    Args:
        settings: see `opened`.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        import spu
        from spu import libspu
        from spu.libspu import link
        from spu.utils import frontend

        self.sent = 0
        """Bytes of shares that went to the other outside of SPU's own program."""
        self._rank: int = settings["rank"]
        self._secret = libspu.Visibility.VIS_SECRET
        public = libspu.Visibility.VIS_PUBLIC

        config = libspu.RuntimeConfig()
        config.protocol = getattr(libspu.ProtocolKind, settings["protocol"].upper())
        config.field = libspu.FieldType.FM64
        config.enable_pphlo_profile = True  # makes it tell its bytes

        parties = link.Desc()
        parties.recv_timeout_ms = parties.http_timeout_ms = PATIENCE_MS
        for rank, port in enumerate(settings["ports"]):
            parties.add_party(f"rank-{rank}", f"127.0.0.1:{port}")
        self._link = link.create_brpc(parties, self._rank)
        self._runtime, self._io = spu.Runtime(self._link, config), spu.Io(2, config)

        self._values = first_values(settings["features"], settings["hidden"], settings["batch"])
        visible = [public if name == "y" else self._secret for name in INPUTS]
        values = [self._values[name] for name in INPUTS]
        names: Callable[[Any], list[str]] = lambda _: list(OUTPUTS)  # noqa: E731
        self._program, _ = frontend.compile(frontend.Kind.JAX, step, values, {}, list(INPUTS), visible, names)
        self._runtime.set_var("y", self._io.make_shares(self._values["y"], public)[self._rank])
        for name in ("w1", "b1", "w2", "b2"):
            self._share(name, 1)

    def step(self) -> Floats | None:
        """One step; rank 0 is opened the gradient with respect to the input."""
        self._share("x", 0)
        self._runtime.run(self._program)
        own = self._runtime.get_var("dx")
        if self._rank == 1:
            self._send(own)
            return None
        gradient: Floats = self._io.reconstruct([own, self._received(self._runtime.get_var("dx"))])
        return gradient

    def close(self) -> None:
        """Take leave of the other rank."""
        self._link.stop_link()

    def _share(self, name: str, owner: int) -> None:
        """The owner makes shares of a value and hands the other its own."""
        shares = self._io.make_shares(self._values[name], self._secret)
        own = shares[self._rank]
        if self._rank == owner:
            self._send(shares[1 - owner])
        else:
            own = self._received(own)
        self._runtime.set_var(name, own)

    def _send(self, share: Any) -> None:
        for chunk in share.share_chunks:
            self._link.send(1 - self._rank, chunk)
            self.sent += len(chunk)

    def _received(self, like: Any) -> Any:
        """The other's share in place of one of the same shape."""
        like.share_chunks = [self._link.recv(1 - self._rank) for _ in like.share_chunks]
        return like


class Console:
    """What SPU's logger writes to stdout, the only place where it tells its bytes; ours goes on to the pipe.

    Args:
        path: the file that takes the place of the file descriptor.
    """

    def __init__(self, path: Path) -> None:
        sys.stdout.flush()
        sys.stdout = os.fdopen(os.dup(1), "w", encoding="utf-8")
        with path.open("wb") as file:
            os.dup2(file.fileno(), 1)
        self._told = path.open(encoding="utf-8", errors="replace")

    def sent(self, runs: int) -> int:
        """Bytes that this process sent in the runs since the last call; without the headers of the link.

        Raises:
            AmintError: the logger told of more or fewer runs.
        """
        found = _SENT.findall(self._told.read())
        if len(found) != runs:
            raise AmintError(f"SPU told its bytes of {len(found)} runs, not of {runs}")
        return sum(map(int, found))


if __name__ == "__main__":
    work(opened)
