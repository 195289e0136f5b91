"""How many steps `bench head` takes, with and without a log: what docs/benchmarks.md says of its wall time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from amint_mpc.bench import head_step, ours
from amint_mpc.bench.head_step import LINK_STEPS, PLAIN_STEPS, Setup, measure
from amint_mpc.bench.workers import Worker
from amint_mpc.config import load_experiment


class Counted:
    """Workers that only note what they are asked; a step takes each of them a second."""

    asked: list[dict[str, Mapping[str, Any]]]
    blocks: int

    def __init__(self, workers: Mapping[str, Worker], folder: Path) -> None:
        Counted.asked = []
        experiment = load_experiment(str(folder / "experiment.yaml"))
        Counted.blocks = experiment.training.epochs * experiment.steps_per_epoch

    def __enter__(self) -> Counted:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was started."""

    def ask(self, commands: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        Counted.asked.append(dict(commands))
        none = dict.fromkeys(("cpu", "peak_mb", "in_head", "waiting_for_peer", "waiting_for_dealer", "bytes_sent"), 0.0)
        return {
            name: {**none, "start": 0, "end": command["steps"], "clock": (0, 8 * command["steps"])}
            | dict.fromkeys(("seconds", "blocked"), [1.0] * command["steps"])
            for name, command in commands.items()
        }


def steps(role: str, **wanted: Any) -> int:
    found = [commands[role] for commands in Counted.asked if role in commands]
    return sum(command["steps"] for command in found if wanted.items() <= command.items())


@pytest.mark.parametrize("links", [(), (1.0, 5.0)])
@pytest.mark.parametrize("count", [3, 50, 100])
def test_every_step_is_taken_once_with_a_log_and_once_without(
    count: int, links: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_step, "Workers", Counted)
    found = measure(Setup(12, 3, 8, steps=count), links)
    assert found["ours_ms"] == found["ours_with_log_ms"] == 1000
    assert steps("developer", log=True) == steps("auditor", log=True) == ours.WARM_UP + count
    assert steps("developer", log=False) == steps("auditor", log=False) == count + len(links) * (LINK_STEPS + 1)
    assert steps("dealer") == steps("developer") + ours.LEAD == Counted.blocks
    assert steps("plaintext") % (PLAIN_STEPS * (1 + min(ours.SLICES, count))) == 0
