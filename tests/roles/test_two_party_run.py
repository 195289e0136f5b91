"""A run without a dealer: two processes, SPU at each, and nobody else."""

import importlib.util
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from amint_mpc import identity
from amint_mpc.afterwards import agreement
from amint_mpc.config import Experiment, Party, Role, load_experiment
from amint_mpc.errors import UsageError
from amint_mpc.events import Event
from amint_mpc.evidence.verify import verify
from amint_mpc.roles import auditor, developer
from amint_mpc.runfolder import RunFolder
from amint_mpc.runlog.expected import ExpectedEntries
from tests.roles.party_processes import Site

pytestmark = pytest.mark.timeout(600)
needs_spu = pytest.mark.skipif(importlib.util.find_spec("spu") is None, reason="SPU is not installed")
TINY = (
    "security.correlations=two-party",
    "evidence.replay=true",
    "training.batch=32",
    "head.hidden=4",
    "head.learning_rate=0.2",
)


def experiment() -> Experiment:
    return load_experiment("smoke", TINY)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    place = Site(tmp_path_factory.mktemp("two"), experiment(), connect_timeout_s=120)
    try:
        for role in ("auditor", "developer"):
            place.execute_role(role)
        for child in place.children:
            assert child.wait(280) == 0, child.err
        yield place
    finally:
        place.end()


@needs_spu
def test_the_head_lies_at_the_auditor_alone(finished: Site) -> None:
    files = {role: {path.name for path in finished.run_folder(role).glob("*.safetensors")} for role in finished.roles}
    assert files == {
        "developer": {"backbone.safetensors"},
        "auditor": {"first-head.safetensors", "head.safetensors", "scores.safetensors"},
    }
    assert not (finished.folder / "dealer" / "party.yaml").exists()


@needs_spu
def test_the_run_folders_say_what_computed_the_head(finished: Site) -> None:
    for role in finished.roles:
        summary = json.loads((finished.run_folder(role) / "summary.json").read_text())
        assert summary["head_engine"] == "SPU (CHEETAH)"
        assert "insecure" not in summary
        assert summary["mb_sent_per_step"] > 0.5
        assert "SPU" in (finished.run_folder(role) / "log.txt").read_text()


@needs_spu
def test_the_log_of_the_run_holds(finished: Site) -> None:
    verify(finished.run_folder("auditor"), ExpectedEntries)  # raises where it does not


@needs_spu
def test_it_agrees_with_a_plaintext_head_on_the_same_features(finished: Site) -> None:
    torch.set_num_threads(os.cpu_count() or 1)  # the developer's
    found = agreement.compare(finished.run_folder("auditor"), finished.run_folder("developer"), None)
    assert found.weights < 0.005
    assert found.moved < 0.05
    assert found.scores < 0.005
    assert found.loss < 2 * math.log(2) + 0.05


def test_without_spu_both_say_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    places: dict[Role, Path] = {role: tmp_path / "keys" / role for role in ("developer", "auditor")}
    identity.create_for_one_machine(places)
    events: list[Event] = []
    with RunFolder.create(tmp_path, experiment(), "auditor", "auditor") as folder:
        with pytest.raises(UsageError, match="not installed") as error:
            auditor.run(
                experiment(),
                Party(role="auditor", listen={"port": 0}, keys=places["auditor"]),  # type: ignore[arg-type]
                folder,
                events.append,
            )
        assert "pip install '.[two-party]'" in error.value.hint
        with pytest.raises(UsageError, match="not installed"):
            developer.run(experiment(), Party(role="developer", keys=places["developer"]), folder, events.append)


def test_an_auditor_without_a_dealer_is_told_of_both_ways(tmp_path: Path) -> None:
    identity.create(tmp_path / "keys", "auditor")
    with (
        RunFolder.create(tmp_path, load_experiment("smoke"), "auditor", "auditor") as folder,
        pytest.raises(UsageError, match="no address of a dealer") as error,
    ):
        auditor.run(
            load_experiment("smoke"),
            Party(role="auditor", listen={"port": 0}, keys=tmp_path / "keys"),  # type: ignore[arg-type]
            folder,
            lambda _: None,
        )
    assert "security.correlations=two-party" in error.value.hint
    assert "pip install '.[two-party]'" in error.value.hint


@pytest.mark.parametrize("change", ["head.input=conv", "head.optimizer=momentum"])
def test_what_two_parties_alone_cannot_do_is_refused(change: str) -> None:
    with pytest.raises(UsageError, match="two-party has"):
        load_experiment("smoke", (*TINY, change))
