"""CrypTen's communicator for two parties over one `Channel`: no torch.distributed, no sockets, no pickle.

Guarantees
    to_one_alone: `reduce` and `gather` to one party send it the other's tensor, and send nothing back. (CrypTen's
        own runs gloo's ring reduce, which leaves half of the plaintext in the other party's buffer.)
    in_step: every message carries its operation and its number; if the two programs differ, the first message that
        does is a `ProtocolError`.
    plain_objects: an object is sent as JSON of plain values or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.distributed import ReduceOp

from amint_mpc.errors import ProtocolError
from amint_mpc.mpc.crypten_compat import crypten
from amint_mpc.transport.channel import ChannelStats
from amint_mpc.transport.frames import JsonValue, Spec

Tensors: TypeAlias = "Tensor | list[Tensor]"


class TensorLink(Protocol):
    """The part of a `Channel` that is used here."""

    stats: ChannelStats

    def send(self, tag: str, step: int, *tensors: Tensor) -> None: ...
    def receive(self, tag: str, step: int, *specs: Spec) -> list[Tensor]: ...
    def send_json(self, tag: str, value: JsonValue) -> None: ...
    def receive_json(self, tag: str) -> JsonValue: ...


class _Later:
    """What isend and irecv give back: `wait()` does what is left to do."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work: Callable[[], object] | None = work

    def wait(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            work()


class TwoPartyCommunicator(crypten.communicator.Communicator):  # type: ignore[misc, name-defined]
    """One party's end.

    Args:
        channel: the link to the other party.
        party: 0 or 1; CrypTen's rank.
    """

    def __init__(self, channel: TensorLink, party: int) -> None:
        if party not in (0, 1):
            raise ValueError(f"two parties are numbered 0 and 1, not {party}")
        self._channel = channel
        self._rank = party
        self._sent = self._received = 0
        self._name = f"rank{party}"
        self.reset_communication_stats()

    def _post(self, operation: str, tensors: Sequence[Tensor]) -> None:
        self._channel.send(f"crypten.{operation}", self._sent, *tensors)
        self._sent += 1

    def _take(self, operation: str, like: Sequence[Tensor]) -> list[Tensor]:
        specs = [(tensor.dtype, tuple(tensor.shape)) for tensor in like]
        received = self._channel.receive(f"crypten.{operation}", self._received, *specs)
        self._received += 1
        return received

    def _here(self, party: int | None) -> bool:
        if party not in (0, 1):
            raise ProtocolError(f"there is no party {party}: CrypTen's parties are 0 and 1 here")
        return party == self._rank

    # ------------------------------------------------------------ one to one

    def send(self, tensor: Tensor, dst: int) -> None:
        """Send to the other party."""
        if self._here(dst):
            raise ProtocolError("a party does not send to itself")
        self._post("send", [tensor])

    def recv(self, tensor: Tensor, src: int | None = None) -> Tensor:
        """Receive a tensor of this dtype and shape; `tensor` itself stays as it is."""
        if src is not None and self._here(src):
            raise ProtocolError("a party does not receive from itself")
        return self._take("send", [tensor])[0]

    def isend(self, tensor: Tensor, dst: int) -> _Later:
        self.send(tensor, dst)
        return _Later(lambda: None)

    def irecv(self, tensor: Tensor, src: int | None = None) -> _Later:
        """Receives into `tensor`, when it is waited for."""
        return _Later(lambda: tensor.copy_(self.recv(tensor, src)))

    # ------------------------------------------------------------ collectives

    def all_reduce(self, input: Tensors, op: Any = ReduceOp.SUM, batched: bool = False) -> Tensors:
        """Both get the sum (or xor) of both inputs. One round."""
        mine = _as_list(input)
        combine = _rule(op)
        self._post("all_reduce", mine)
        result = [combine(a, b) for a, b in zip(mine, self._take("all_reduce", mine), strict=True)]
        return result if batched else result[0]

    def reduce(self, input: Tensors, dst: int, op: Any = ReduceOp.SUM, batched: bool = False) -> Tensors | None:
        """`dst` gets the sum (or xor); the other party gets None, and no message."""
        mine = _as_list(input)
        combine = _rule(op)
        if not self._here(dst):
            self._post("reduce", mine)
            return None
        result = [combine(a, b) for a, b in zip(mine, self._take("reduce", mine), strict=True)]
        return result if batched else result[0]

    def gather(self, tensor: Tensor, dst: int) -> list[Tensor] | list[None]:
        """`dst` gets both tensors in order of the parties; the other party gets [None]."""
        if not self._here(dst):
            self._post("gather", [tensor])
            return [None]
        return self._in_order(tensor, self._take("gather", [tensor])[0])

    def all_gather(self, tensor: Tensor) -> list[Tensor]:
        """Both get both tensors, in order of the parties."""
        self._post("all_gather", [tensor])
        return self._in_order(tensor, self._take("all_gather", [tensor])[0])

    def _in_order(self, mine: Tensor, theirs: Tensor) -> list[Tensor]:
        return [mine.clone(), theirs] if self._rank == 0 else [theirs, mine.clone()]

    def scatter(
        self, scatter_list: list[Tensor], src: int, size: Any = None, device: torch.device | None = None
    ) -> Tensor:
        """Each gets its own of `src`'s two tensors; the other party says the shape by `size` or by its own list."""
        if self._here(src):
            self._post("scatter", [scatter_list[1 - self._rank]])
            return scatter_list[self._rank]
        shape = scatter_list[self._rank].shape if size is None else size
        return self._take("scatter", [torch.empty(shape, dtype=torch.int64, device="meta")])[0]

    def broadcast(self, input: Tensors, src: int, group: None = None, batched: bool = False) -> Tensors:
        """Both get `src`'s tensors, in place."""
        mine = _as_list(input)
        if self._here(src):
            self._post("broadcast", mine)
        else:
            for target, value in zip(mine, self._take("broadcast", mine), strict=True):
                target.data.copy_(value)
        return input

    def barrier(self) -> None:
        """Return when the other party is here too. One round."""
        self._post("barrier", [])
        self._take("barrier", [])

    # ------------------------------------------------------------ objects

    def send_obj(self, obj: Any, dst: int, group: None = None) -> None:
        """Send plain values as JSON; see `plain`."""
        if self._here(dst):
            raise ProtocolError("a party does not send to itself")
        self._channel.send_json("crypten.object", plain(obj))

    def recv_obj(self, src: int, group: None = None) -> JsonValue:
        """Receive plain values; tuples and sizes arrive as lists."""
        if self._here(src):
            raise ProtocolError("a party does not receive from itself")
        return self._channel.receive_json("crypten.object")

    def broadcast_obj(self, obj: Any, src: int, group: None = None) -> Any:
        """Both get `src`'s plain values."""
        if not self._here(src):
            return self.recv_obj(src)
        self.send_obj(obj, 1 - src)
        return obj

    # ------------------------------------------------------------ who and how much

    def get_world_size(self) -> int:
        return 2

    def get_rank(self) -> int:
        return self._rank

    def set_name(self, name: str) -> None:
        self._name = name

    def get_name(self) -> str:
        return self._name

    def reset_communication_stats(self) -> None:
        """Count from here on. The channel keeps its own, unbroken count."""
        self._zero = self._counts()

    def _counts(self) -> tuple[float, ...]:
        stats = self._channel.stats
        return stats.rounds, stats.bytes_sent + stats.bytes_received, stats.seconds_waiting

    def get_communication_stats(self) -> dict[str, float]:
        """Rounds, bytes in both directions with headers, and seconds spent waiting for the other party."""
        rounds, size, waited = (now - then for now, then in zip(self._counts(), self._zero, strict=True))
        return {"rounds": rounds, "bytes": size, "time": waited}

    def print_communication_stats(self) -> None:
        for key, value in self.get_communication_stats().items():
            crypten.log(f"{key}: {value}")


def plain(value: Any) -> JsonValue:
    """`value` as JSON: None, bool, int, float, str, and lists, tuples (also torch.Size) and dicts of them.

    Raises:
        ProtocolError: anything else. CrypTen would pickle it.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: plain(item) for key, item in value.items()}
    raise ProtocolError(
        f"objects of type {type(value).__name__} are not sent to the other party",
        "Nothing is pickled here; send tensors, or plain values that fit JSON",
    )


def _as_list(value: Tensors) -> list[Tensor]:
    return value if isinstance(value, list) else [value]


def _rule(op: Any) -> Callable[[Tensor, Tensor], Tensor]:
    if op == ReduceOp.SUM:
        return torch.add
    if op == ReduceOp.BXOR:
        return torch.bitwise_xor
    raise ProtocolError(f"shares are combined by sum or xor, not by {op}")
