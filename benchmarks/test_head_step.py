"""A training step of the head, all three parties in this process, and the same in plaintext torch.

The three share one interpreter here, so a step takes longer than between processes: compare these figures with each
other over time. `amint-mpc bench head` measures what a run will see.
"""

import pytest
import torch

from amint_mpc.bench.head_step import Setup
from amint_mpc.bench.inprocess import parties
from amint_mpc.bench.plaintext import TorchHead
from amint_mpc.roles.heads import Dense, secure_optimizer
from amint_mpc.roles.plans import targets

SIZES = [(768, 128, 128), (256, 64, 128), (96, 8, 32)]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("features", "hidden", "batch"), SIZES)
def test_secure_step(benchmark, features: int, hidden: int, batch: int) -> None:
    experiment = Setup(features, hidden, batch).experiment(1)
    x = torch.randn(batch, features, dtype=torch.float64).clamp(-8, 8)
    with parties(Dense(features, hidden), secure_optimizer(experiment)) as three:
        gradient = benchmark(three.train, x, targets(batch // 2))
    assert gradient.shape == x.shape


@pytest.mark.parametrize(("features", "hidden", "batch"), SIZES)
def test_secure_score(benchmark, features: int, hidden: int, batch: int) -> None:
    x = torch.randn(batch, features, dtype=torch.float64).clamp(-8, 8)
    optimizer = secure_optimizer(Setup(features, hidden, batch).experiment(1))
    with parties(Dense(features, hidden), optimizer) as three:
        logits = benchmark(three.score, x)
    assert logits.shape == (batch,)


@pytest.mark.parametrize(("features", "hidden", "batch"), SIZES)
def test_plaintext_step(benchmark, features: int, hidden: int, batch: int) -> None:
    head = TorchHead(Setup(features, hidden, batch).experiment(1))
    gradient = benchmark(head.step, torch.randn(batch, features), batch // 2)
    assert gradient.shape == (batch, features)
