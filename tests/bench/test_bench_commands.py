"""The commands of measurement at tiny sizes: they end well, and their last line has what is promised."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from amint_mpc.bench import count
from amint_mpc.bench.setup import Setup
from amint_mpc.cli import main

TINY = ["--features", "12", "--hidden", "3", "--batch", "8"]
SETUP = Setup(12, 3, 8)


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("AMINT_MPC")]:
        monkeypatch.delenv(name)

    def invoke(*arguments: str) -> dict[str, Any]:
        result: Result = CliRunner().invoke(main, [*arguments, "--json"], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        last = json.loads(result.stdout.splitlines()[-1])
        assert isinstance(last, dict)
        return last

    return invoke


def test_head_counts_what_a_dry_run_counts_whatever_the_steps(measured, tmp_path: Path) -> None:
    found = measured("bench", "head", *TINY, "--steps", "3", "--plot", "delays.png")
    step = count.training_step(count.record(SETUP.experiment(3)))
    assert found["rounds"] == step.rounds == 10  # counted over three steps
    assert found["ours_with_log_ms"] > 0
    assert -10 < found["log_share"] < 1  # noise may make it negative
    assert found["mb_sent_developer"] == pytest.approx(step.developer / 1e6)
    assert found["mb_sent_auditor"] == pytest.approx(step.auditor / 1e6)
    assert found["mb_dealer"] == pytest.approx(step.dealer / 1e6)
    assert found["ours_ms"] > found["plaintext_ms"] > 0
    assert found["overhead_vs_plaintext"] == pytest.approx(found["ours_ms"] / found["plaintext_ms"])
    assert found["crypten_ms"] is None
    assert found["speedup_vs_crypten"] is None
    assert (found["steps"], found["slices"]) == (3, 3)
    assert found["two_party_ms"] > found["two_party_online_ms"] > 0
    assert found["two_party_rounds"] == step.rounds  # who makes the masks is nothing to the online part
    developer, auditor = found["two_party_mb"]
    assert min(developer, auditor) > found["mb_sent_developer"] + found["mb_dealer"]  # masks are most of it
    low, high = found["spread"]["ours_ms"]
    assert low <= found["ours_ms"] <= high
    assert all(value >= 0 for value in found["cpu_ms"].values())
    assert min(found["peak_mb"].values()) > 10
    parts = found["developer_ms"]
    assert {"backbone", "secure_computing", "waiting_for_peer", "waiting_for_dealer"} < parts.keys()
    assert [point["rtt_ms"] for point in found["at_rtt"]] == [0, 1, 5, 20, 50]
    # ten messages, one after another, each half a round trip late: the last point cannot be faster
    assert found["at_rtt"][-1]["ms"] > step.rounds * 25
    assert (tmp_path / "delays.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.long
def test_head_against_crypten(measured) -> None:
    found = measured("bench", "head", *TINY, "--steps", "2", "--against", "crypten")
    assert found["crypten_ms"] > 0
    assert found["crypten_rounds"]["stock"] > found["crypten_rounds"]["lean"] > found["rounds"]
    assert found["crypten_mb"]["stock"] > found["crypten_mb"]["lean"] > 0
    assert found["speedup_vs_crypten_lean"] == pytest.approx(found["crypten_lean_ms"] / found["ours_ms"])
    assert found["speedup_vs_crypten"] == pytest.approx(found["crypten_ms"] / found["ours_ms"])


@pytest.mark.long
def test_train(measured) -> None:
    found = measured("bench", "train", "--config", "smoke", "--set", "training.distillation=0.3", "--steps", "3")
    assert found["overhead"] == pytest.approx(found["secure_step_ms"] / found["plaintext_step_ms"])
    assert found["rounds"] == 10
    assert found["threads"]["twin"] >= 1
    parts = found["developer_ms"]
    assert parts["backbone"] > 0
    assert parts["secure_computing"] > 0
    assert found["device_waits_share"].keys() == {"developer", "twin"}
    assert all(0 < share < 1 for share in found["device_waits_share"].values())


@pytest.mark.long
def test_train_on_noise_on_a_device(measured) -> None:
    found = measured("bench", "train", "--config", "smoke", "--noise", "16", "--device", "cpu", "--steps", "1")
    assert found["experiment"] == "noise"
    assert found["overhead"] > 0
    assert found["peak_device_mb"] is None


@pytest.mark.long
def test_scaling_grows_in_bytes_and_not_in_rounds(measured, tmp_path: Path) -> None:
    rows = measured("bench", "scaling", *TINY, "--steps", "1", "--plot", "sizes.png")["rows"]
    assert len(rows) == 9
    assert {row["rounds"] for row in rows} == {10}
    for axis in ("batch", "features", "hidden"):
        sent = [row["mb_dealer"] for row in rows if row["axis"] == axis]
        assert sent == sorted(sent)
        assert sent[0] < sent[-1]
    assert (tmp_path / "sizes.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "arguments",
    [
        ("bench", "head", "--batch", "7"),
        ("bench", "head", "--steps", "0"),
        ("bench", "head", "--rtt-ms", "-1"),
        ("bench", "head", "--mbit", "0"),
        ("bench", "head", "--rtt-ms", "5", "--against", "crypten"),
        ("bench", "head", "--plot", "absent/delays.png"),
        ("bench", "train", "--steps", "0"),
        ("bench", "train", "--noise", "4"),
        ("estimate", "--set", "security.correlations=insecure-embedded-dealer"),
        ("estimate", "--rtt-ms", "-1"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_starts(arguments: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
