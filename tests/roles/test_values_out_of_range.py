"""A whole run whose values leave the ranges of the secure head ends with an error, and leaves no figures behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from amint_mpc.config import Experiment, load_experiment
from amint_mpc.errors import ProtocolError, UsageError
from amint_mpc.host.in_process import run_in_process
from amint_mpc.roles.heads import check_experiment
from tests.device import DEVICE

SMALL = [
    "security.correlations=dealer",
    "data.members=128",
    "data.external=128",
    "data.unseen=64",
    "training.batch=32",
    "training.warmup_epochs=1",
    "training.epochs=12",
    "training.evaluate_every=1",
    "evidence.log=false",
]


def experiment(*settings: str) -> Experiment:
    return load_experiment("quickstart", [*SMALL, *settings])


def test_a_run_that_leaves_its_ranges_ends_with_an_error(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="left the range in which the secure head is exact") as ended:
        run_in_process(experiment("head.learning_rate=0.95"), tmp_path, device=DEVICE)
    assert "head.learning_rate" in ended.value.hint
    assert ended.value.exit_code == 4
    assert not list(tmp_path.glob("*/summary.json"))
    assert not (tmp_path / "auditor" / "head.safetensors").exists()


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (["head.hidden=1000"], "at most 512 hidden units"),
        (["head.optimizer=novograd", "training.batch=300", "data.members=300", "data.external=300"], "too far"),
    ],
)
def test_sizes_that_the_secure_head_cannot_test_are_refused_before_a_run(settings: list[str], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        check_experiment(experiment(*settings))
