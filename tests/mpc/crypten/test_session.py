"""A session is one thread's: its randomness, its reveals, and what it leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import pytest
import torch

from amint_mpc.errors import ProtocolError
from amint_mpc.mpc.crypten.session import CryptenSession, current
from amint_mpc.mpc.crypten.tracing import trace
from amint_mpc.mpc.crypten_compat import crypten
from tests.mpc.crypten.crypten_parties import Parties


def test_reveal_to_one_leaves_the_other_with_nothing(parties: Parties) -> None:
    secret = torch.arange(1000.0)

    def work(session: CryptenSession) -> Any:
        x = crypten.cryptensor(secret if session.party == 1 else torch.zeros(1000), src=1)
        before = x.share.clone()
        heard = session.channel.stats.bytes_received
        plain = x.get_plain_text(dst=1)
        return plain, x.share, before, session.channel.stats.bytes_received - heard

    developer, auditor = parties.run(work)
    assert torch.equal(auditor[0], secret)
    assert developer[0] is None
    assert torch.equal(developer[1], developer[2])  # its buffer stays as it was
    assert developer[3] == 0
    assert torch.equal(developer[2] + auditor[2], (secret * 2**16).long())
    assert not (developer[2] == (secret * 2**16).long()).any()


def test_shares_of_an_input_are_uniform_and_sent_to_nobody(parties: Parties) -> None:
    def work(session: CryptenSession) -> list[torch.Tensor]:
        sent = session.channel.stats.bytes_sent
        shares = [crypten.cryptensor(torch.zeros(20_000), src=src).share for src in (0, 1)]
        shares.append(crypten.mpc.primitives.BinarySharedTensor(torch.zeros(20_000), src=0).share)
        assert session.channel.stats.bytes_sent == sent
        return shares

    first, second = parties.run(work)
    assert torch.equal(first[0] + second[0], torch.zeros(20_000, dtype=torch.int64))
    assert torch.equal(first[2] ^ second[2], torch.zeros(20_000, dtype=torch.int64))
    for share in (*first, *second):
        bits = (share.unsqueeze(0) >> torch.arange(64).unsqueeze(1)) & 1
        assert ((bits.double().mean(dim=1) - 0.5).abs() < 5 * 0.5 / 20_000**0.5).all()
    assert (first[0] != first[1]).any()  # fresh at every call


def test_weak_generators_are_refused(parties: Parties) -> None:
    def work(session: CryptenSession) -> None:
        for key in ("prev", "next", "local"):
            with pytest.raises(ProtocolError, match="not for secrets"):
                crypten.generators[key]
        with pytest.raises(ProtocolError, match="not for secrets"):
            crypten.common.rng.generate_random_ring_element((2,))

    parties.run(work)


def test_random_values_and_dropout(parties: Parties) -> None:
    def step() -> Any:
        uniform = crypten.rand(2000).get_plain_text()
        random = crypten.mpc.primitives.ArithmeticSharedTensor.PRSS((10,)).share
        kept = crypten.cryptensor(torch.ones(400), src=0).dropout(p=0.25).get_plain_text()
        return uniform, random, kept

    (uniform, mine, kept), (same, theirs, kept_there) = parties.step(step)
    assert torch.equal(uniform, same)
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.05
    assert (mine != theirs).all()  # each party's own
    assert torch.equal(kept, kept_there)
    assert 50 < (kept == 0).sum() < 150


def test_objects_are_refused_without_pickle(parties: Parties) -> None:
    def work(session: CryptenSession) -> Any:
        if session.party == 0:
            with pytest.raises(ProtocolError, match="not sent"):
                crypten.load_from_party(preloaded=torch.ones(2), src=0)
        return crypten.cryptensor(torch.ones(2, 3), broadcast_size=True, src=0).get_plain_text()

    for result in parties.run(work):
        assert torch.equal(result, torch.ones(2, 3))


def test_threads_do_not_switch_each_others_autograd_or_settings(parties: Parties) -> None:
    inside, done = threading.Barrier(2), threading.Barrier(2)

    def work(session: CryptenSession) -> tuple[bool, int]:
        if session.party == 0:
            with crypten.no_grad(), crypten.cfg.temp_override({"functions.exp_iterations": 3}):
                inside.wait(10)
                done.wait(10)
            return crypten.CrypTensor.AUTOGRAD_ENABLED, crypten.cfg.functions.exp_iterations
        inside.wait(10)
        seen = crypten.CrypTensor.AUTOGRAD_ENABLED, crypten.cfg.functions.exp_iterations
        done.wait(10)
        return seen

    assert parties.run(work) == [(True, 8), (True, 8)]


def test_debug_settings_that_open_values_are_off(parties: Parties) -> None:
    crypten.cfg.debug.validation_mode = True
    try:
        assert parties.run(lambda session: crypten.cfg.debug.validation_mode) == [False, False]
        assert crypten.cfg.debug.validation_mode
    finally:
        crypten.cfg.debug.validation_mode = False


def test_undone_at_exit_and_after_an_error(parties: Parties) -> None:
    environment = dict(os.environ)
    own_generators = dict(crypten.generators)

    def work(session: CryptenSession) -> None:
        assert crypten.is_initialized()
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        parties.run(work)
    with pytest.raises(RuntimeError, match="zero"):
        trace(lambda: (_ for _ in ()).throw(RuntimeError("zero")))
    assert current() is None
    assert not crypten.is_initialized()
    with pytest.raises(RuntimeError, match="not initialized"):
        crypten.communicator.get()
    assert dict(crypten.generators) == own_generators
    assert dict(os.environ) == environment
    assert not torch.distributed.is_initialized()


def test_one_session_a_thread(parties: Parties) -> None:
    def work(session: CryptenSession) -> None:
        with pytest.raises(ProtocolError, match="already"):
            trace(lambda: None)

    parties.run(work)


def test_crypten_without_a_session_is_as_it_was() -> None:
    """One process alone, CrypTen's own communicator and provider: our hooks stay out of the way."""
    script = (
        "import torch; import amint_mpc.mpc.crypten.session; from amint_mpc.mpc.crypten_compat import crypten;"
        "crypten.init(); x = crypten.cryptensor(torch.tensor([1.5, -2.0]));"
        "y = (x * x / 2).relu().get_plain_text(); assert (y - torch.tensor([1.125, 2.0])).abs().max() < 1e-3;"
        "assert crypten.bernoulli(x).get_plain_text().shape == (2,);"
        "assert type(crypten.mpc.get_default_provider()).__name__ == 'TrustedFirstParty'; crypten.uninit()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
