"""The dealer's material fits, and is handed out in the order of the plan alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from amint_mpc.errors import ProtocolError
from amint_mpc.mpc.correlations.base import Correlation, Material, deal, expand
from amint_mpc.mpc.correlations.generic import AndTriple, Product, SharedBit, Square, Wraps
from amint_mpc.mpc.correlations.prg import SecretStream
from amint_mpc.mpc.crypten.provider import DealtProvider, RecordingProvider
from amint_mpc.mpc.crypten.session import CryptenSession
from amint_mpc.mpc.crypten.tracing import trace
from amint_mpc.mpc.crypten_compat import crypten
from amint_mpc.mpc.protocols.divide import DivisionMasks, finish, masked_signs, unsigned_quotient
from tests.mpc.crypten.crypten_parties import Parties
from tests.mpc.local_dealer import local_supplies


def material(correlation: Correlation, seed: int = 0) -> tuple[Material, Material]:
    plan = {"it": correlation}
    developer, auditor = (supply.take(0, plan)["it"] for supply in local_supplies([plan], seed))
    return developer, auditor


PRODUCTS = [
    Product("mul", (3, 1), (4,)),
    Product("matmul", (3, 4), (4, 5)),
    Product("conv1d", (2, 3, 9), (4, 3, 3), (("padding", (1,)), ("stride", (2,)))),
    Product("conv2d", (2, 4, 6, 6), (6, 2, 3, 3), (("groups", 2), ("padding", (1, 1)))),
    Product("conv_transpose1d", (2, 3, 5), (3, 4, 3), (("stride", (2,)),)),
    Product("conv_transpose2d", (2, 3, 4, 4), (3, 4, 3, 3), (("stride", (2, 2)), ("output_padding", (1, 1)))),
]


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda p: p.operation)
def test_products(product: Product) -> None:
    d, a = material(product)
    options = dict(product.options)
    expected = getattr(torch, product.operation)(d["a"] + a["a"], d["b"] + a["b"], **options)
    assert torch.equal(d["c"] + a["c"], expected)
    assert expected.abs().max() > 2**60  # over the whole ring


def test_other_correlations() -> None:
    d, a = material(Square((5, 2)))
    assert torch.equal(d["r2"] + a["r2"], (d["r"] + a["r"]) ** 2)
    d, a = material(AndTriple((2, 5), (5,)))
    assert torch.equal(d["c"] ^ a["c"], (d["a"] ^ a["a"]) & (d["b"] ^ a["b"]))
    d, a = material(SharedBit((1000,)))
    bit = ((d["word"] ^ a["word"]) & 1).long()
    assert torch.equal(d["ring"] + a["ring"], bit)
    assert 400 < bit.sum() < 600
    d, a = material(Wraps((1000,)))
    total = torch.tensor([x + y for x, y in zip(d["r"].tolist(), a["r"].tolist(), strict=True)], dtype=torch.float64)
    theta = d["theta"] + a["theta"]
    assert torch.allclose((d["r"] + a["r"]).double() + theta * 2.0**64, total, rtol=0, atol=2.0**13)
    assert set(theta.tolist()) == {-1, 0, 1}


def test_nobody_alone_learns_a_correction() -> None:
    """The auditor receives nothing; what the developer receives is masked by what only the auditor draws."""
    correlation = SharedBit((64,))
    plan = {"it": correlation}
    own = bytes(32)
    rings = []
    for other in (b"a" * 32, b"b" * 32):
        streams = SecretStream(own, "dealer"), SecretStream(other, "dealer")
        (ring,) = deal(plan, streams, 0)
        rings.append(ring)
    assert (rings[0] != rings[1]).all()
    assert "ring" not in expand(plan, SecretStream(own, "dealer"), 0, 0)["it"]


@pytest.mark.parametrize("divisor", [3, 7, 120, 10**6, 2**32 - 1])
def test_division_is_less_than_two_off(divisor: int) -> None:
    generator = torch.Generator().manual_seed(divisor)
    limit = 2**62 - divisor
    x = torch.randint(-limit, limit, (50_000,), generator=generator) >> torch.randint(0, 62, (50_000,))
    x[:5] = torch.tensor([0, 1, -1, limit - 1, 1 - limit])
    mine = torch.randint(-(2**63), 2**63 - 1, x.shape, generator=generator)
    d, a = material(DivisionMasks((50_000,), divisor), divisor)
    sent = masked_signs(mine, d, divisor, 0), masked_signs(x - mine, a, divisor, 1)
    result = finish(mine, sent, d, divisor, 0) + finish(x - mine, sent, a, divisor, 1)
    floor = x.div(divisor, rounding_mode="floor")
    assert set((result - floor).unique().tolist()) <= {0, 1, 2}


def test_unsigned_quotient() -> None:
    x = torch.tensor([[0, 1, -1], [2**63 - 1, -(2**63), -7]])
    expected = torch.tensor([[(v % 2**64) // 10 for v in row] for row in x.tolist()])
    assert torch.equal(unsigned_quotient(x, 10), expected)
    assert unsigned_quotient(x[0, 2], 10).shape == ()


def test_divisors_out_of_range() -> None:
    for divisor in (2, 2**32 + 1):
        with pytest.raises(ValueError, match="divisor"):
            DivisionMasks((1,), divisor)


# ------------------------------------------------------------------ only the plan


def multiply(shape: tuple[int, ...]) -> Any:
    x = crypten.cryptensor(torch.ones(shape), src=0)
    return (x * x.flip(0)).get_plain_text()


def compare() -> Any:
    return (crypten.cryptensor(torch.ones(4), src=0) > 0).get_plain_text()


@pytest.mark.parametrize(
    "other",
    [lambda: multiply((5,)), lambda: multiply((2, 2)), compare, lambda: [multiply((4,)), multiply((4,))]],
    ids=["size", "shape", "kind", "more"],
)
def test_another_request_than_planned_is_refused(parties: Parties, other: Any) -> None:
    plan = trace(lambda: multiply((4,)))

    def work(session: CryptenSession) -> None:
        with session.step(plan):
            other()

    with pytest.raises(ProtocolError, match="asked for"):
        parties.run(work, [plan])


def test_less_than_planned_and_nothing_outside_of_a_step(parties: Parties) -> None:
    plan = trace(lambda: multiply((4,)))

    def less(session: CryptenSession) -> None:
        with session.step(plan):
            pass

    with pytest.raises(ProtocolError, match="ended before 2 of its 2"):
        parties.run(less, [plan])
    with pytest.raises(ProtocolError, match="in no step"):
        parties.run(lambda session: multiply((4,)), [plan])


def test_another_order_is_refused() -> None:
    plan = {"0": Square((2,)), "1": Wraps((2,))}
    provider = DealtProvider()
    supply = local_supplies([plan])[1]
    provider.load(plan, supply.take(0, plan))
    with pytest.raises(ProtocolError, match=r"Wraps.* where the plan has Square.*number 0"):
        provider.wrap_rng((2,))
    provider.square((2,))
    provider.wrap_rng((2,))
    provider.finish()


def test_steps_have_fresh_material(parties: Parties) -> None:
    plan = trace(lambda: multiply((4,)))

    def work(session: CryptenSession) -> list[torch.Tensor]:
        seen = []
        for _ in range(3):
            with session.step(plan):
                seen.append(multiply((4,)))
        return seen

    for result in parties.run(work, [plan] * 3):
        assert all((value - 1).abs().max() < 1e-3 for value in result)


def test_unknown_operations_have_no_triple() -> None:
    with pytest.raises(ValueError, match="no triple for load"):
        RecordingProvider().generate_additive_triple((1,), (1,), "load")
    with pytest.raises(ProtocolError, match="positional"):
        RecordingProvider().generate_additive_triple((1,), (1,), "mul", None, 1)
