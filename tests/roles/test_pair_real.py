"""Short runs on masks that the two parties really make, of each kind of experiment, and a query after each."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from amint_mpc.afterwards import parties
from amint_mpc.config import PARTIES
from amint_mpc.events import StepEvent
from amint_mpc.evidence.verify import compare_logs, verify
from amint_mpc.mpc.correlations.base import Plan
from amint_mpc.mpc.pair.maker import PairMaker
from amint_mpc.results import Summary
from amint_mpc.roles.backends import pair
from amint_mpc.runlog.expected import ExpectedEntries
from tests.mpc.native_only import native_only
from tests.roles.test_pair_run import Pair, experiment

pytestmark = native_only
PLAIN = "training.sealed_epochs=0"
KINDS = {
    "sgd": [PLAIN],
    "momentum": [PLAIN, "head.optimizer=momentum"],
    "maps": [PLAIN, "head.input=maps"],
    "sealed": [],
    "sealed momentum": ["head.optimizer=momentum"],
    "noise": [PLAIN, "security.gradient_noise=0.01", "security.gradient_bits=16"],
    "wan": ["security.link=wan"],
}
IMAGES = torch.randint(0, 256, (5, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    torch.set_num_threads(1)
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("masks ")]


def finished(place: Path, *settings: str, **own: dict[str, Any]) -> Pair:
    two = Pair(place, experiment(*settings), **own)
    for result in two.run():
        assert isinstance(result, Summary), result
    compare_logs(*(two.folder / role for role in PARTIES))
    return two


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_and_a_query_after_it(kind: str, tmp_path: Path) -> None:
    two = finished(tmp_path, *KINDS[kind])
    for role in PARTIES:
        found = verify(two.folder / role, ExpectedEntries).log
        assert found.made is not None
        assert found.stopped is None
    quiet: Any = lambda *_: None  # noqa: E731
    answered, asked = two.each(
        {
            "developer": lambda party: parties.developer(two.folder / "developer", party, 10, quiet, quiet),
            "auditor": lambda party: parties.auditor(two.folder / "auditor", party, IMAGES, 2, quiet, quiet),
        }
    )
    assert answered == 7, answered
    result, _ = asked
    backbone = two.folder / "developer" / "backbone.safetensors"
    plain = parties.plaintext_scores(two.agreed, two.folder / "auditor", backbone, IMAGES)
    assert torch.allclose(result.scores, plain, atol=0.01)


def test_an_early_stop_with_masks_ahead(tmp_path: Path) -> None:
    two = finished(tmp_path, "training.patience=1", "training.learning_rate=1e-6", "training.epochs=40")
    found = verify(two.folder / "developer", ExpectedEntries).log
    assert found.stopped is not None
    assert found.stopped < 40


@pytest.mark.parametrize("slow", PARTIES)
def test_a_party_that_makes_masks_slowly(slow: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one waits, and both end as they should."""

    class Slow(PairMaker):
        def make(self, number: int, plan: Plan) -> Any:
            if PARTIES[self.party] == slow and number % 2 == 0:  # one of its two threads
                time.sleep(0.3)
            return super().make(number, plan)

    monkeypatch.setattr(pair, "PairMaker", Slow)
    two = finished(tmp_path, developer={"generator_threads": 3}, auditor={"ahead_mb": 0.001})
    steps = [each for each in two.events[slow] if isinstance(each, StepEvent) and each.phase != "warm-up"]
    assert len(steps) == 7
