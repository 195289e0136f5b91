"""One suite for every engine of the dense head: what `SharedHead` promises, whoever makes the masks."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from amint_mpc.mpc.two_party import engine as engines
from amint_mpc.mpc.two_party.engine import SpuEngine
from amint_mpc.mpc.two_party.head import OPENED_DX_BITS, SpuHead
from amint_mpc.mpc.two_party.program import DX_BITS, FRACTION_BITS
from amint_mpc.mpc.two_party.relay import PIECE, Relay
from torch import Tensor

from amint_mpc.errors import PeerError, ProtocolError
from amint_mpc.models.head_weights import HeadWeights, init_head, seeded_normal
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.dense.descent import GradientDescent
from amint_mpc.mpc.dense.head import SecureHead
from amint_mpc.mpc.dense.layers import score_plan, train_plan
from amint_mpc.mpc.ring import fixed_point as fp
from amint_mpc.mpc.shared_head import SharedHead
from amint_mpc.transport.channel import Channel, memory_pair
from tests.mpc.parties import run_both

ROWS, INPUTS, HIDDEN = 8, 12, 4
RATE = GradientDescent(3, 6)
TARGETS = (torch.arange(ROWS) < ROWS // 2).float()
needs_spu = pytest.mark.skipif(importlib.util.find_spec("spu") is None, reason="SPU is not installed")


@dataclass
class Played:
    """What one party saw of the script below."""

    gradients: list[Tensor | None] = field(default_factory=list)
    logits: list[Tensor | None] = field(default_factory=list)
    snapshots: list[dict[str, Tensor]] = field(default_factory=list)
    opened: dict[str, Tensor] | None = None
    done: int = 0
    held: dict[str, Any] = field(default_factory=dict)


def first() -> HeadWeights:
    drawn = init_head(INPUTS, HIDDEN, seeded_normal(3))
    return HeadWeights(drawn.w1, drawn.b1 + 0.1, drawn.w2 * 10, drawn.b2 - 0.1)


def batch(seed: int) -> Tensor:
    x = torch.randn(ROWS, INPUTS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return fp.decode(fp.encode(x.clamp(-8, 8), fp.X_BITS), fp.X_BITS)


def script(head: SharedHead, party: int) -> Played:
    """Two steps, a scoring, a sealed step, back to before it, the same scoring, and the end."""
    played, mine = Played(), party == DEVELOPER
    x = [batch(seed) if mine else None for seed in range(4)]
    generator = torch.Generator().manual_seed(11)
    masks = {
        name: torch.randint(-(2**63), 2**63 - 1, shape, generator=generator) for name, shape in head.shapes.items()
    }
    head.share_weights(None if mine else first().tensors(), None if mine else masks)
    for step in (0, 1):
        played.gradients.append(head.train_step(x[step], TARGETS))
    played.logits.append(head.logits(x[2], ROWS))
    played.snapshots.append(head.snapshot())
    played.gradients.append(head.train_step(x[3], TARGETS, open_gradient=False))
    played.snapshots.append(head.snapshot())
    head.restore(played.snapshots[0])
    played.logits.append(head.logits(x[2], ROWS))
    played.opened, played.done = head.open_weights(), head.done
    return played


def with_dealer() -> tuple[Played, Played]:
    train, scoring = train_plan(ROWS, INPUTS + 1, HIDDEN, RATE), score_plan(ROWS, INPUTS + 1, HIDDEN)
    return run_both(
        lambda party, channel, supply: script(SecureHead(channel, party, supply, INPUTS, HIDDEN, RATE), party),
        [train, train, scoring, train, scoring],
    )


def under_spu(body: Callable[[SpuHead, int, SpuEngine], Any]) -> tuple[Any, Any]:
    links = memory_pair()

    def one(party: int, channel: Channel, _: Any) -> Any:
        with SpuEngine(links[party], party, timeout_s=60) as engine:
            return body(SpuHead(channel, party, engine, INPUTS, HIDDEN, RATE), party, engine)

    try:
        return run_both(one, [])
    finally:
        for link in links:
            link.close()


def watched(head: SpuHead, party: int, engine: SpuEngine) -> Played:
    """The script, and then what this party's SPU holds of the features, and where it listens."""
    played = script(head, party)
    assert engine.folder is not None
    played.held = {
        "sent": engine.stats.bytes_sent,
        "x": engine.get("x"),
        "dx": engine.get("dx"),
        "ports": listening_ports(engine.process_id),
        "mode": engine.folder.stat().st_mode & 0o777,
    }
    return played


def listening_ports(process: int | None) -> list[str]:
    """TCP addresses at which a process listens, as Linux shows them."""
    sockets = {str(path.readlink()) for path in Path(f"/proc/{process}/fd").iterdir() if path.is_symlink()}
    tables = [Path(f"/proc/{process}/net/{kind}").read_text() for kind in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table.splitlines()]
    return [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets]


@pytest.fixture(scope="module", params=["dealer", pytest.param("two-party", marks=needs_spu)])
def played(request: pytest.FixtureRequest) -> tuple[Played, Played]:
    return with_dealer() if request.param == "dealer" else under_spu(watched)


@pytest.fixture(scope="module")
def under_watch(played: tuple[Played, Played]) -> tuple[Played, Played]:
    if not played[0].held:
        pytest.skip("of SPU alone")
    return played


def reference() -> tuple[list[Tensor], HeadWeights]:
    """Gradients of the two steps, and the weights after them, in float64."""
    weights, gradients = first(), []
    for seed in (0, 1):
        x = batch(seed)
        y = weights.hidden(x)
        g = (y.relu() @ weights.w2 + weights.b2).sigmoid() - TARGETS
        dy = g[:, None] * weights.w2 * (y > 0)
        gradients.append(dy @ weights.w1.T)
        rate = RATE.numerator / 2**RATE.shift
        weights = HeadWeights(
            weights.w1 - rate * x.T @ dy,
            weights.b1 - rate * dy.sum(0),
            weights.w2 - rate * y.relu().T @ g,
            weights.b2 - rate * g.sum(),
        )
    return gradients, weights


def test_the_developer_learns_the_gradient(played: tuple[Played, Played]) -> None:
    for found, wanted in zip(played[DEVELOPER].gradients[:2], reference()[0], strict=True):
        assert found is not None
        assert (found - wanted).norm() < 0.03 * wanted.norm()
    assert played[AUDITOR].gradients == [None] * 3


def test_a_sealed_step_tells_nobody_and_moves_the_head(played: tuple[Played, Played]) -> None:
    assert played[DEVELOPER].gradients[2] is None
    before, after = (sum_of(played, number) for number in (0, 1))
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_the_auditor_learns_logits(played: tuple[Played, Played]) -> None:
    wanted = reference()[1].logits(batch(2))
    for found in played[AUDITOR].logits:  # the second after going back
        assert found is not None
        assert torch.allclose(found, wanted, atol=0.01)
    assert played[DEVELOPER].logits == [None, None]


def test_the_auditor_alone_opens_the_weights(played: tuple[Played, Played]) -> None:
    opened, wanted = played[AUDITOR].opened, reference()[1].tensors()
    assert played[DEVELOPER].opened is None
    assert opened is not None
    assert opened.keys() == wanted.keys()
    for name, value in wanted.items():
        assert opened[name].shape == value.shape
        assert (opened[name] - value).norm() < 0.01 * value.norm() + 4e-3, name  # the sigmoid rounds at random


def test_steps_are_counted(played: tuple[Played, Played]) -> None:
    assert [party.done for party in played] == [5, 5]


def test_shares_alone_say_nothing(played: tuple[Played, Played]) -> None:
    """Each share is uniform over the ring: with 48 weights below 2^40, a plain one would have its top bits alike."""
    for party in played:
        top = party.snapshots[0]["w1"].flatten() >> 56
        assert len(top.unique()) > len(top) / 2


def sum_of(played: tuple[Played, Played], number: int) -> dict[str, Tensor]:
    mine, theirs = (party.snapshots[number] for party in played)
    return {name: mine[name] + theirs[name] for name in mine}


def test_the_auditors_spu_holds_no_features(under_watch: tuple[Played, Played]) -> None:
    own = under_watch[DEVELOPER].held["x"]
    assert torch.allclose(fp.decode(own, FRACTION_BITS), batch(2), atol=2**-19)
    assert not under_watch[AUDITOR].held["x"].any()


def test_the_auditors_share_of_the_gradient_says_nothing(under_watch: tuple[Played, Played]) -> None:
    for party in under_watch:
        top = party.held["dx"].flatten().to(torch.int32) >> 24
        assert len(top.unique()) > len(top) / 4


def test_the_opened_gradient_is_not_the_exact_product(under_watch: tuple[Played, Played]) -> None:
    """Exact sums of small integers could be solved for the weights. What is opened is another number: right on average,
    less than a unit of 2^-OPENED_DX_BITS off, and not the nearest one either, which would follow from the exact one."""
    shares = [party.held["dx"].to(torch.int32) for party in under_watch]
    exact = fp.decode((shares[0] + shares[1]).long(), DX_BITS) * 2.0**OPENED_DX_BITS
    opened = under_watch[DEVELOPER].gradients[1]
    assert opened is not None
    units = opened * 2.0**OPENED_DX_BITS
    assert torch.equal(units, units.round())
    error = units - exact
    assert float(error.abs().max()) < 1
    assert float((units != exact.round()).double().mean()) > 0.05
    assert abs(float(error.mean())) < 5 * 0.5 / error.numel() ** 0.5
    assert float((exact != exact.round()).double().mean()) > 0.9


def test_what_spu_sends_is_counted(under_watch: tuple[Played, Played]) -> None:
    for party in under_watch:
        assert party.held["sent"] > 1_000_000  # its set-up alone


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="reads Linux's /proc")
def test_spu_opens_no_port(under_watch: tuple[Played, Played]) -> None:
    """Its sockets lie in a folder that nobody else can enter: a stranger has no place to knock at."""
    for party in under_watch:
        assert party.held["ports"] == []
        assert party.held["mode"] == 0o700


@needs_spu
def test_what_needs_no_peer_is_answered_when_it_has_finished_and_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "POLL_S", 0.0)  # every answer is late

    def body(head: SpuHead, party: int, engine: SpuEngine) -> Tensor | None:
        if party == DEVELOPER:
            head.share_weights(None, None)
        else:
            masks = {name: torch.ones(shape, dtype=torch.int64) for name, shape in head.shapes.items()}
            head.share_weights(first().tensors(), masks)
        assert engine._relay is not None
        if party == DEVELOPER:
            engine.close()
            engine._link.close()
            return None
        wait_until_failed(engine._relay)
        head.restore(head.snapshot())
        return engine.get("w1")

    _, share = under_spu(body)
    assert torch.equal(share, torch.ones(INPUTS, HIDDEN, dtype=torch.int64))


@pytest.mark.parametrize("head", [(1, -1), (-2, 5), (1, PIECE + 1), (0, 5)])
def test_a_malformed_piece_ends_the_relay(head: tuple[int, int], tmp_path: Path) -> None:
    """The developer's relay; connections that the auditor opens have odd numbers."""
    ours, theirs = memory_pair()
    relay = Relay(ours, DEVELOPER, tmp_path / "own", tmp_path / "peer")
    theirs.send("spu", 0, torch.tensor(head))
    theirs.send("spu", 0, torch.zeros(5, dtype=torch.uint8))
    wait_until_failed(relay)
    relay.close()
    for link in (ours, theirs):
        link.abort("failed")


def wait_until_failed(relay: Relay) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            relay.check()
        except (PeerError, ProtocolError):
            return
        time.sleep(0.01)
    pytest.fail("the relay goes on")
