"""How many steps `bench head` takes, with and without a log: what docs/benchmarks.md says of its wall time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from amint_mpc.bench import head_step, ours
from amint_mpc.bench.head_step import LINK_STEPS, PLAIN_STEPS, measure
from amint_mpc.bench.ours import EmulatedLink
from amint_mpc.bench.rivals import READY, READY_STEPS, STEADY
from amint_mpc.bench.setup import Setup
from amint_mpc.bench.workers import Worker
from amint_mpc.config import PARTIES, Experiment, load_experiment
from amint_mpc.mpc.correlations.checking import UsedPlans
from amint_mpc.roles.plans import stretches_of


class Counted:
    """Workers that only note what they are asked; a step takes each of them a second."""

    asked: list[dict[str, Mapping[str, Any]]]
    blocks: int
    by_name: Mapping[str, Worker]
    experiments: Mapping[str, Experiment]

    def __init__(self, workers: Mapping[str, Worker], folder: Path) -> None:
        Counted.asked = []
        self.names, Counted.by_name = frozenset(workers), dict(workers)
        Counted.experiments = {
            name: load_experiment(Path(worker.settings["folder"]) / "experiment.yaml")
            for name, worker in workers.items()
        }
        experiment = load_experiment(str(folder / "experiment.yaml"))
        Counted.blocks = experiment.training.epochs * experiment.steps_per_epoch

    def __enter__(self) -> Counted:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was started."""

    def ask(self, commands: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        Counted.asked.append(dict(commands))
        waits = ("in_head", "waiting_for_peer", "waiting_for_dealer")
        none = dict.fromkeys(("cpu", "peak_mb", "bytes_sent", "bytes_on_all_links", *waits), 0.0)
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


def plans_of(worker: str) -> int:
    """What a party without a dealer would make if it ran to the end: training steps, then scoring batches."""
    return len(UsedPlans(stretches_of(Counted.experiments[worker])))


def test_without_a_dealer_all_that_a_slice_uses_is_made_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_step, "Workers", Counted)
    found = measure(Setup(12, 3, 8, steps=2))
    asked = [commands for commands in Counted.asked if f"{STEADY}-developer" in commands]
    assert [commands[f"{STEADY}-{party}"]["steps"] for commands in asked for party in PARTIES] == [1, 1, *[12] * 4]
    for commands in asked:  # every slice ends as full as it began
        assert commands.keys() == {f"{STEADY}-{party}" for party in PARTIES}
        assert all(command["ahead"] == Counted.by_name[name].settings["room"] for name, command in commands.items())
    assert found["two_party_ms"] == found["two_party_online_ms"] == 1000
    assert found["two_party_rounds"] == 8


def test_masks_that_are_ready_are_all_that_there_will_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_step, "Workers", Counted)
    measure(Setup(12, 3, 8, steps=2))
    name = f"{READY}-auditor"
    first, *slices = [commands[name] for commands in Counted.asked if name in commands]
    every = plans_of(name)
    assert (first["steps"], first["ahead"]) == (1, every - 1)
    assert Counted.by_name[name].settings["room"] == every
    assert [command["steps"] for command in slices] == [READY_STEPS] * 2
    assert all("ahead" not in command for command in slices)
    assert every > 1 + 2 * READY_STEPS


@pytest.mark.parametrize("why", ["another link", "not asked for", "no functions in C"])
def test_without_a_dealer_is_left_out(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_step, "Workers", Counted)
    setup = Setup(12, 3, 8, steps=2)
    if why == "another link":
        setup = replace(setup, link=EmulatedLink(1.0))
    elif why == "not asked for":
        setup = replace(setup, two_party=False)
    else:
        monkeypatch.setattr("amint_mpc.roles.backends.pair.library", lambda: None)
    found = measure(setup)
    assert not any(name.startswith((STEADY, READY)) for name in Counted.by_name)
    assert {value for key, value in found.items() if key.startswith("two_party")} == {None}
