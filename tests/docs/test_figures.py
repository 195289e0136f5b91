"""Figures of docs/two-party-protocol.md and docs/protocol.md are those of the program; tests that pages name exist."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from amint_mpc.bench import count
from amint_mpc.bench.head_step import Setup
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import Plan
from amint_mpc.mpc.dense.descent import GradientDescent
from amint_mpc.mpc.dense.layers import train_plan
from amint_mpc.mpc.pair.maker import PairMaker, transfers_needed
from amint_mpc.mpc.rlwe import parameters
from amint_mpc.mpc.rlwe.native import library
from amint_mpc.mpc.rlwe.products import public_key_words
from tests.mpc.parties import run_both
from tests.mpc.rlwe.test_parameters import attack, of_a_step, remainders

ROOT = Path(__file__).parents[2]
PAGE, PROTOCOL = (
    (ROOT / "docs" / page).read_text(encoding="utf-8") for page in ("two-party-protocol.md", "protocol.md")
)
SIZES = (192, 64), (768, 128)


class Counting:
    """A channel that counts the bytes of each frame."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self.frames: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def send(self, tag: str, step: int, *tensors: Tensor) -> None:
        before = self._channel.stats.bytes_sent
        self._channel.send(tag, step, *tensors)
        self.frames.append(self._channel.stats.bytes_sent - before)


def plan_of(features: int, hidden: int) -> Plan:
    return train_plan(128, features + 1, hidden, GradientDescent(3, 9))


def frames(plan: Plan, link: str = "lan") -> list[list[int]]:
    """Bytes of each party's frames while a plan is made."""

    def party(index: int, channel: Any, _: Any) -> list[int]:
        counting = Counting(channel)
        maker = PairMaker(counting, index, bytes([index] * 32), link=link)  # type: ignore[arg-type]
        maker.set_up()
        counting.frames.clear()
        maker.make(0, plan)
        return counting.frames

    return list(run_both(party, []))


@pytest.mark.skipif(library() is None, reason="the functions in C were not built")
def test_bytes_of_each_message() -> None:
    found = [frames(plan_of(*sizes)) for sizes in SIZES]
    for party in (DEVELOPER, AUDITOR):
        sent = [both[party] for both in found]
        assert {len(each) for each in sent} == {8}
        for some in (slice(0, 1), slice(1, 2), slice(2, 3), slice(3, 8), slice(0, 8)):
            said = "; ".join(f"{sum(each[some]):,}" for each in sent)
            assert said in PAGE, f"{some} of {party}: {said}"


@pytest.mark.skipif(library() is None, reason="the functions in C were not built")
def test_bytes_on_a_slow_link() -> None:
    each = [[sum(sent) for sent in frames(plan_of(*sizes), "wan")] for sizes in SIZES]
    said = "a plan of {:,} + {:,} and {:,} + {:,}".format(*each[0], *each[1])
    assert said in PAGE, said
    assert f"{4 * public_key_words(packed=True):,}" in PAGE


def test_transfers_of_a_plan() -> None:
    (small, large) = (transfers_needed(plan_of(*sizes)) for sizes in SIZES)
    assert f"D chooses in {small[0]:,} ({large[0]:,}), A in {small[1]:,} ({large[1]:,})" in PAGE, f"{small}, {large}"


def test_set_up_and_parameters() -> None:
    assert f"{4 * public_key_words():,}" in PAGE
    assert f"log2 q = {math.log2(parameters.modulus(0, 8)):.2f}" in PAGE
    for prime in parameters.primes():
        assert str(prime) in PAGE
    assert f"±2^{parameters.FLOOD_BITS} at q'" in PAGE
    assert parameters.ERROR_VARIANCE == 10.5
    assert parameters.N == 8192
    assert parameters.PUBLIC_KEYS == 16


def test_distances() -> None:
    step = [of_a_step(128, *sizes, "lan") for sizes in SIZES]
    for factor in (1, 10**6):
        row = " | ".join(f"2^{math.log2(factor * each):.1f}" for each in step)
        assert f" | {row} |" in PAGE, row
    small, large = (parameters.DISTANCE / each / 1e6 for each in step)
    assert f"| {small:.0f} million | {large:.1f} million |" in PAGE


def test_what_an_attack_costs() -> None:
    log_q = math.log2(parameters.modulus(0, len(parameters.primes())))
    core, whole = attack(parameters.N, log_q, math.sqrt(parameters.ERROR_VARIANCE))
    assert f"gives 2^{int(whole)} as the standard counts" in PAGE
    assert f"costs 2^{int(core)}" in PAGE
    kept = len(parameters.KEPT_BITS)
    error = 1 / (remainders(kept) * math.sqrt(24 * math.pi * math.e))
    known = attack(parameters.N, math.log2(parameters.modulus(0, kept)), error)[1]
    assert f"errors 2^{math.ceil(math.log2(error))} of a unit: 2^{int(known)}" in PAGE
    assert attack(2 * parameters.N, log_q, math.sqrt(parameters.ERROR_VARIANCE))[0] > 128


@pytest.mark.parametrize("page", ["two-party-protocol.md", "threat-model.md"])
def test_tests_that_are_named_exist(page: str) -> None:
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", (ROOT / "docs" / page).read_text(encoding="utf-8"))
    assert named
    for name in named:
        assert f"def {name}(" in tests, name


def test_rounds_and_bytes_of_a_step() -> None:
    found = []
    for sizes in SIZES:
        transcripts = count.record(Setup(*sizes).experiment(3))
        step = count.training_step(transcripts)
        sent = [[move for move in own if move != count.RECEIVED] for own in _of_both(transcripts.step[count.TRAIN])]
        assert (len(sent[DEVELOPER]), len(sent[AUDITOR]), step.rounds) == (9, 10, 10)
        found.append(step)
    small, large = found
    assert "## One training step: ten rounds" in PROTOCOL
    assert f"sends {small.developer / 1e6:.3f} MB, the auditor {small.auditor / 1e6:.3f}" in PROTOCOL
    assert f"they send {large.developer / 1e6:.3f} and {large.auditor / 1e6:.3f}" in PROTOCOL
    assert f"{small.dealer / 1e6:.2f} and {large.dealer / 1e6:.2f} MB ahead of use" in PROTOCOL
    assert f"{large.developer / 1e6:.3f} and {large.auditor / 1e6:.3f} MB of a step of" in PROTOCOL


def _of_both(transcript: count.Transcript) -> tuple[count.Moves, count.Moves]:
    return transcript.developer, transcript.auditor


def test_a_scoring_takes_six_rounds() -> None:
    transcripts = count.record(Setup(12, 4, 8).experiment(3))
    (scoring,) = (part for kind, part in transcripts.step.items() if kind > 0)
    assert count.replay([scoring]).rounds == 6
    assert "takes exchanges 1 to 5, its tests included; in a sixth" in PROTOCOL
