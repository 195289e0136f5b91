"""Each protocol and its part of the dealer, over a few sizes; both parties in this process, one after the other thread.

A measured call is the protocol of both parties with masks that were dealt before; the dealer's work is measured apart.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import Correlation, complete, corrected, deal, expand
from amint_mpc.mpc.correlations.prg import SEED_BYTES, SecretStream
from amint_mpc.mpc.protocols import linear, relu, sigmoid, truncate
from amint_mpc.mpc.protocols.linear import LinearMasks
from amint_mpc.mpc.protocols.relu import ReluMasks
from amint_mpc.mpc.protocols.rounds import InRounds, Rounds
from amint_mpc.mpc.protocols.sigmoid import SigmoidTables
from amint_mpc.mpc.ring import fixed_point as fp
from amint_mpc.mpc.ring import products
from amint_mpc.transport.channel import memory_pair

Protocol = Callable[[Rounds, dict[str, Tensor]], InRounds[Tensor]]
MATRICES = [(32, 96, 16), (128, 256, 64), (128, 768, 128)]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def streams() -> tuple[SecretStream, SecretStream]:
    return SecretStream(bytes(SEED_BYTES), "developer"), SecretStream(bytes(SEED_BYTES), "auditor")


def measure(benchmark: Any, masks: Correlation, protocol: Protocol) -> None:
    """Both parties' side of a protocol on the same masks again and again, which only a benchmark may do."""
    plan = {"it": masks}
    own = streams()
    material = [expand(plan, own[party], party, 0)["it"] for party in (DEVELOPER, AUDITOR)]
    material[DEVELOPER] = complete(plan, {"it": material[DEVELOPER]}, deal(plan, streams(), 0))["it"]
    rounds = [Rounds(channel, party) for party, channel in enumerate(memory_pair())]

    def one(party: int) -> Tensor:
        rounds[party].begin(0)
        return rounds[party].run(protocol(rounds[party], material[party]))

    with ThreadPoolExecutor(2) as pool:
        shares = benchmark(lambda: [f.result() for f in [pool.submit(one, party) for party in (DEVELOPER, AUDITOR)]])
    assert shares[0].shape == shares[1].shape
    for each in rounds:
        each.channel.abort("failed")


def share(*shape: int) -> Tensor:
    return torch.randint(-(2**40), 2**40, shape)


@pytest.mark.parametrize("sizes", MATRICES, ids=str)
def test_ring_matmul(benchmark: Any, sizes: tuple[int, int, int]) -> None:
    rows, inner, columns = sizes
    a, b = share(rows, inner), share(inner, columns)
    assert benchmark(products.matmul, a, b).shape == (rows, columns)


@pytest.mark.parametrize("sizes", MATRICES, ids=str)
def test_ring_matmul_with_a_small_factor(benchmark: Any, sizes: tuple[int, int, int]) -> None:
    rows, inner, columns = sizes
    a, b = torch.randint(-2048, 2049, (rows, inner)), share(inner, columns)
    assert benchmark(products.small_matmul, a, b).shape == (rows, columns)


@pytest.mark.parametrize("sizes", MATRICES, ids=str)
def test_linear(benchmark: Any, sizes: tuple[int, int, int]) -> None:
    rows, inputs, outputs = sizes
    masks = LinearMasks(rows, inputs, outputs)
    x, w, dy = torch.randint(-2048, 2049, (rows, inputs)), share(inputs, outputs), share(rows, outputs)

    def scaling(_: object) -> InRounds[Tensor]:
        yield
        return dy

    def protocol(rounds: Rounds, material: dict[str, Tensor]) -> InRounds[Tensor]:
        own = x if rounds.party == DEVELOPER else None
        layer = yield from linear.forward(rounds, masks, material, own, w)
        return (yield from linear.backward(rounds, layer, dy, scaling, True))[1]

    measure(benchmark, masks, protocol)


@pytest.mark.parametrize("shape", [(32, 16), (128, 64), (128, 128)], ids=str)
def test_relu(benchmark: Any, shape: tuple[int, int]) -> None:
    masks = ReluMasks(*shape)
    y, w2, g = share(*shape), share(shape[1]), share(shape[0])

    def protocol(rounds: Rounds, material: dict[str, Tensor]) -> InRounds[Tensor]:
        layer = yield from relu.forward(rounds, masks, material, y, w2)
        return (yield from relu.backward(rounds, layer, g))[0]

    measure(benchmark, masks, protocol)


@pytest.mark.parametrize("rows", [32, 128, 512])
def test_sigmoid(benchmark: Any, rows: int) -> None:
    z = share(rows)

    measure(benchmark, SigmoidTables(rows), lambda rounds, material: sigmoid.sigmoid(rounds, material, z))


@pytest.mark.parametrize("size", [1_000, 16_384, 100_000])
def test_truncate(benchmark: Any, size: int) -> None:
    masks = truncate.TruncationMasks((size,), fp.DY_BITS)
    x = share(size)
    measure(benchmark, masks, lambda rounds, material: truncate.truncated(rounds, masks, material, x))


DEALT = {
    "linear": LinearMasks(128, 769, 128, constants=1),
    "relu": ReluMasks(128, 128),
    "sigmoid": SigmoidTables(128),
    "truncate": truncate.TruncationMasks((128, 128), fp.DY_BITS),
}


@pytest.mark.parametrize("name", DEALT)
def test_dealer(benchmark: Any, name: str) -> None:
    """What the dealer does for one step at 768 features, 128 hidden units, batch 128: draw for both, then correct."""
    plan = {name: DEALT[name]}
    made = benchmark(lambda: deal(plan, streams(), 0))
    assert len(made) == len(corrected(plan))
