"""CrypTen between two of our parties: our channel, our dealer, our masks, in the thread that opened the session.

CrypTen keeps its state in globals of the process. A session binds its own to the current thread, and hooks that are
put in place once, below, look there first; threads without a session see CrypTen as it is. What is replaced, and why:

    communicator.get            our communicator: no torch.distributed, sockets, environment variables or pickle
    mpc.get_default_provider    our dealer instead of a first party that knows all masks
    PRZS, PRSS, rand            masks from AES-CTR instead of MT19937 with a 32-bit seed
    crypten.generators          "global" (dropout; public by nature) is the session's own; the others are refused
    ArithmeticSharedTensor.div_ one message instead of a local division that is now and then wrong by 2^48
    comparisons, ReLU, conv2d   cheaper protocols with the same result (functions.py)
    beaver.matmul               the same protocol with products from BLAS (products.py), two of them instead of three
    CrypTenConfig.config        a value for each thread, so that two parties in one process do not switch each other's
                                settings (nor their autograd: `crypten_compat`)

Sharing an input sends nothing. Both parties draw one mask M from a common stream, keyed by 32 random bytes from each
of them: the owner of x holds x + M, the other party -M (for XOR sharing, x ^ M and M). That M is known to both is
what additive sharing means: M is the other party's share, and the owner knows x. M hides x from nobody else, and is
used for nothing else; so nobody beyond the two parties may learn the seeds, which cross the encrypted link once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from amint_mpc.errors import ProtocolError
from amint_mpc.mpc.correlations.base import MaskSource, Plan
from amint_mpc.mpc.correlations.prg import SEED_BYTES, SecretStream, derive_key
from amint_mpc.mpc.crypten import functions
from amint_mpc.mpc.crypten.communicator import TwoPartyCommunicator
from amint_mpc.mpc.crypten.provider import Arithmetic, Binary, DealtProvider, Provider
from amint_mpc.mpc.crypten_compat import crypten
from amint_mpc.mpc.ring import products
from amint_mpc.transport.channel import Channel
from amint_mpc.transport.frames import as_bytes, as_tensor

_bound = threading.local()
_SAFE_SETTINGS = {  # debug and validation open every value; active_security checks triples but no opening
    "communicator.verbose": False,
    "debug.debug_mode": False,
    "debug.validation_mode": False,
    "mpc.active_security": False,
    "mpc.protocol": "beaver",
}


class Masks:
    """Uniform ring elements from a secret stream, fresh at every call."""

    def __init__(self, secret: bytes, label: str) -> None:
        self._stream = SecretStream(secret, label)
        self._calls = 0

    def draw(self, size: Any) -> Tensor:
        self._calls += 1
        shape = (size,) if isinstance(size, int) else tuple(size)
        return self._stream.draw(self._calls, [(torch.int64, shape)])[0]


class Binding:
    """All that CrypTen has in globals, for one party.

    Args:
        communicator: a CrypTen communicator.
        provider: answers requests for correlated randomness.
        common: secret known to both parties. local: known to this one alone.
    """

    def __init__(self, communicator: Any, provider: Provider, common: bytes, local: bytes) -> None:
        self.communicator = communicator
        self.provider = provider
        self.common = Masks(common, "crypten/common")
        self.local = Masks(local, "crypten/local")
        public = torch.Generator()
        public.manual_seed(int.from_bytes(derive_key(common, "crypten/dropout")[:8], "big") >> 1)
        self.generators = {"global": {torch.device("cpu"): public}}
        self.config: Any = crypten.cfg.config


class CryptenSession:
    """An open session: steps, in which CrypTen may compute on shares.

    Attributes:
        taken: steps taken or passed over: the number of the next one.
    """

    def __init__(self, channel: Channel, party: int, supply: MaskSource, binding: Binding) -> None:
        self.channel = channel
        self.party = party
        self.binding = binding
        self.taken = 0
        self._supply = supply

    @contextmanager
    def step(self, plan: Plan) -> Iterator[None]:
        """One step, with the dealer's material for exactly what the plan says, bound to this thread for its length.

        Raises:
            ProtocolError: CrypTen asked for something else, in another order, or for less.
        """
        provider, step = self.binding.provider, self.taken
        assert isinstance(provider, DealtProvider)
        self.taken = step + 1
        provider.load(plan, self._supply.take(step, plan))
        try:
            with nullcontext() if current() is self.binding else bind(self.binding):
                yield
            provider.finish()
        finally:
            provider.drop()

    def skip(self, plan: Plan) -> None:
        """Pass over one step: its masks are never used. Both parties do."""
        self._supply.skip(self.taken, plan)
        self.taken += 1


def open_session(channel: Channel, party: int, supply: MaskSource) -> CryptenSession:
    """A session whose steps bind CrypTen to the thread they run in; both parties open it at the same time. One round.

    Args:
        channel: the link to the other party, which stays open when the session ends.
        party: 0 (developer) or 1 (auditor); CrypTen's rank.
        supply: correlated randomness, from step 0 on.
    """
    own = as_tensor(os.urandom(SEED_BYTES))
    channel.send("crypten.seed", 0, own)
    (other,) = channel.receive("crypten.seed", 0, (torch.uint8, (SEED_BYTES,)))
    common = b"".join(as_bytes(part) for part in ((own, other) if party == 0 else (other, own)))
    binding = Binding(TwoPartyCommunicator(channel, party), DealtProvider(), common, os.urandom(SEED_BYTES))
    return CryptenSession(channel, party, supply, binding)


@contextmanager
def bind(binding: Binding) -> Iterator[None]:
    """Make `binding` what CrypTen sees in this thread."""
    if current() is not None:
        raise ProtocolError("this thread has a CrypTen session already")
    _bound.binding = binding
    try:
        with crypten.cfg.temp_override(_SAFE_SETTINGS):
            yield
    finally:
        _bound.binding = None


def current() -> Binding | None:
    """The binding of this thread."""
    return getattr(_bound, "binding", None)


# ------------------------------------------------------------------ the hooks


class _Generators(Mapping[str, Any]):
    """`crypten.generators`: in a session only the public one."""

    def __init__(self, own: Mapping[str, Any]) -> None:
        self._own = own

    def __getitem__(self, key: str) -> Any:
        binding = current()
        if binding is None:
            return self._own[key]
        if key not in binding.generators:
            raise ProtocolError(f"CrypTen's '{key}' generator is not for secrets and is not used in a session")
        return binding.generators[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._own)

    def __len__(self) -> int:
        return len(self._own)


def _install() -> None:
    """Put the hooks in place."""
    comm = crypten.communicator
    own_get, own_initialized, own_provider = comm.get, comm.is_initialized, crypten.mpc.get_default_provider
    comm.get = lambda: own_get() if (b := current()) is None else b.communicator
    comm.is_initialized = lambda: own_initialized() if current() is None else True
    crypten.mpc.get_default_provider = lambda: own_provider() if (b := current()) is None else b.provider
    crypten.generators = _Generators(crypten.generators)  # type: ignore[attr-defined]
    _hook_masks()
    _hook_division()
    _hook_products()
    _hook_settings()
    functions.install(current)


def _hook_masks() -> None:
    own = {(kind, name): getattr(kind, name) for kind, name in ((Arithmetic, "PRZS"), (Arithmetic, "PRSS"))}
    own |= {(Binary, "PRZS"): Binary.PRZS, (Binary, "rand"): Binary.rand}

    def arithmetic_zero(size: Any, device: Any = None) -> Any:
        """Shares M and -M of zero."""
        if (binding := current()) is None:
            return own[Arithmetic, "PRZS"](size, device=device)
        zero = Arithmetic(src=-1)
        mask = binding.common.draw(size)
        zero.share = mask if binding.communicator.get_rank() == 0 else mask.neg_()
        return zero

    def binary_zero(size: Any, device: Any = None) -> Any:
        """Shares M and M of zero."""
        if (binding := current()) is None:
            return own[Binary, "PRZS"](size, device=device)
        zero = Binary(src=-1)
        zero.share = binding.common.draw(size)
        return zero

    def arithmetic_random(size: Any, device: Any = None) -> Any:
        """Shares of a value that is random and known to nobody."""
        if (binding := current()) is None:
            return own[Arithmetic, "PRSS"](size, device=device)
        return Arithmetic.from_shares(binding.local.draw(size))

    def binary_random(*size: Any, bits: int = 64, device: Any = None) -> Any:
        """The same, XOR shared, `bits` bits long."""
        if (binding := current()) is None:
            return own[Binary, "rand"](*size, bits=bits, device=device)
        random = Binary(src=-1)
        shape = size if isinstance(size[0], int) else size[0]
        random.share = binding.local.draw(shape) & ((1 << bits) - 1 if bits < 64 else -1)
        return random

    Arithmetic.PRZS = staticmethod(arithmetic_zero)
    Arithmetic.PRSS = staticmethod(arithmetic_random)
    Binary.PRZS = staticmethod(binary_zero)
    Binary.rand = staticmethod(binary_random)


def _hook_division() -> None:
    own = Arithmetic.div_

    def div_(self: Any, y: Any) -> Any:
        """Division by a public number or tensor; by whole numbers with less than two units of error."""
        if (binding := current()) is None:
            return own(self, y)
        divisor = _whole(y)
        if divisor is None:
            return self.mul_(torch.as_tensor(y, dtype=torch.float32).reciprocal())
        if divisor == 0:
            raise ZeroDivisionError("division of a shared value by zero")
        if divisor < 0:
            self.neg_()
        if abs(divisor) != 1:
            self.share = binding.provider.quotient(self.share, abs(divisor), binding.communicator)
        return self

    Arithmetic.div_ = Arithmetic.__itruediv__ = div_


def _hook_products() -> None:
    beaver = crypten.mpc.primitives.beaver
    own = beaver.matmul

    def matmul(x: Any, y: Any) -> Any:
        """Beaver's product [x y] = [c] + e [b] + [a] d + e d, where e = x - a and d = y - b are opened."""
        if (binding := current()) is None or x.share.dim() != 2 or y.share.dim() != 2:
            return own(x, y)
        a, b, c = (t.share for t in binding.provider.generate_additive_triple(x.size(), y.size(), "matmul"))
        e, d = binding.communicator.all_reduce([x.share - a, y.share - b], batched=True)
        right = b + d if binding.communicator.get_rank() == 0 else b  # e d is added by one party
        return Arithmetic.from_shares(c + products.matmul(e, right) + products.matmul(a, d), precision=0)

    beaver.matmul = matmul


def _whole(y: Any) -> int | None:
    """The one whole number that a public divisor consists of, if it does."""
    if isinstance(y, (int, float)):
        return int(y) if int(y) == y else None
    if not isinstance(y, torch.Tensor):
        raise TypeError(f"a shared value is divided by numbers and tensors, not by {type(y).__name__}")
    first = y.reshape(-1)[0].item()
    return int(first) if int(first) == first and bool((y == first).all()) else None


def _hook_settings() -> None:
    process = {"config": crypten.cfg.config}

    def get(_: Any) -> Any:
        return process["config"] if (binding := current()) is None else binding.config

    def put(_: Any, new: Any) -> None:
        if (binding := current()) is None:
            process["config"] = new
        else:
            binding.config = new

    type(crypten.cfg).config = property(get, put)


_install()
