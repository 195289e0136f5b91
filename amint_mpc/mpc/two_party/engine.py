"""Starts SPU's process at one party, and joins it with the other party's through the relay.

All of SPU's files, sockets and its log, lie in a folder that this user alone can enter, and go with it.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from amint_mpc.errors import PeerError, ProtocolError
from amint_mpc.mpc.two_party import messages, process
from amint_mpc.mpc.two_party.relay import Relay
from amint_mpc.transport.channel import Channel, ChannelStats

POLL_S = 0.25
LOCAL = ("set", "get", "input")
"""Commands that need no answer of the other party's; it may have finished, and gone, before their own."""
INSTALL = "Run pip install '.[two-party]' in the checkout, with Python 3.10 or 3.11"
ENGINE_NOTICE = "the head is computed under SPU (CHEETAH), not CrypTen: no dealer, nobody but the two parties"


class SpuEngine:
    """SPU at one party. Use as a context: on leaving it the process is gone.

    Args:
        link: to the other party, for SPU alone; the two heads have another one.
        party: DEVELOPER or AUDITOR.
        check: called while SPU computes; raises PeerError when the other party is lost.
        timeout_s: a peer whose SPU says nothing for so long is lost.
    """

    def __init__(
        self, link: Channel, party: int, check: Callable[[], None] = lambda: None, timeout_s: float = 300.0
    ) -> None:
        self._link, self._party, self._check_peer, self._timeout_s = link, party, check, timeout_s
        self._folder: Path | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._relay: Relay | None = None

    def __repr__(self) -> str:
        return "SpuEngine()"

    @property
    def stats(self) -> ChannelStats:
        """What SPU sent and received, with all that its connections and the relay add."""
        return self._link.stats

    def start(self) -> None:
        """Start the process and join the other party's; both call it at the same place of their schedules.

        Raises:
            PeerError: the two could not be joined.
        """
        self._folder = Path(tempfile.mkdtemp(prefix="amint-mpc-spu-"))
        own, peer = self._folder / "own", self._folder / "peer"
        self._relay = Relay(self._link, self._party, own, peer)
        self._child = subprocess.Popen(
            [sys.executable, "-m", process.__name__, str(self._folder / "log")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # One thread for SPU's local products; its ciphertexts have threads of their own.
            env={**os.environ, "OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"},
            start_new_session=True,  # Ctrl-C reaches us alone
        )
        hosts = [f"unix:{path}" for path in (own, peer)]
        self._call("start", rank=self._party, hosts=hosts[:: -1 if self._party else 1], timeout_s=self._timeout_s)

    @property
    def process_id(self) -> int | None:
        """Of SPU's process, while there is one."""
        return None if self._child is None else self._child.pid

    @property
    def folder(self) -> Path | None:
        """Of SPU's sockets and log."""
        return self._folder

    def set(self, name: str, share: Tensor) -> None:
        """Set this party's share, int64, of a variable."""
        self._call("set", share.numpy(), name=name)

    def get(self, name: str) -> Tensor:
        """This party's share, int64, of a weight, of the logits z or, modulo 2^32, of the gradient dx."""
        (array,) = self._call("get", name=name)
        return torch.from_numpy(array.copy())

    def input(self, x: Tensor | None, shape: Sequence[int]) -> None:
        """The developer's own input, float64; x is None at the auditor."""
        self._call("input", *([] if x is None else [x.numpy()]), shape=list(shape))

    def train(self, targets: Sequence[float], numerator: int, shift: int, gradient: bool) -> None:
        """A step on the input, with the other party; see `program`."""
        self._call("train", targets=list(targets), numerator=numerator, shift=shift, gradient=gradient)

    def score(self) -> None:
        """The logits of the input, with the other party."""
        self._call("score")

    def close(self) -> None:
        """End the process and delete its files; a second call does nothing."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):
                        pipe.close()
        if self._relay is not None:
            self._relay.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> SpuEngine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _call(self, op: str, *arrays: NDArray[Any], **settings: Any) -> list[NDArray[Any]]:
        if self._child is None:
            raise RuntimeError("start the engine first")
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        message = None
        with suppress(BrokenPipeError):
            messages.write(self._child.stdin, {"op": op, **settings}, *arrays)
            while not select.select([self._child.stdout], [], [], POLL_S)[0]:
                if op not in LOCAL:
                    self._check()
            message = messages.read(self._child.stdout)
        if message is None:
            self._check()
            raise ProtocolError("SPU's process ended unexpectedly", "Start both parties again")
        header, found = message
        if "error" in header:
            self._check()
            if op == "start":
                raise PeerError("SPU could not be joined with the other party's", "Start both parties again")
            # SPU's own words, without its stack: shapes and places in its source, never values
            first = " ".join(str(header["error"]).split("tacktrace")[0].split())[:200]
            raise ProtocolError(f"SPU could not compute: {first}", "Start both parties again")
        return found

    def _check(self) -> None:
        self._check_peer()
        if self._relay is not None:
            self._relay.check()
