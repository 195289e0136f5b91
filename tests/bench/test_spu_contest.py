"""SPU beside ours: its program is the same step, its figures arrive, none of its processes survives."""

import importlib.util
import subprocess
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from amint_mpc.bench import head_step, rivals, spu_party
from amint_mpc.bench.head_step import measure
from amint_mpc.bench.setup import Setup
from amint_mpc.bench.workers import Workers
from amint_mpc.cli import main
from amint_mpc.errors import AmintError, UsageError
from amint_mpc.mpc import AUDITOR, DEVELOPER

TINY = Setup(8, 4, 4, steps=2, against="spu")
needs_spu = pytest.mark.skipif(importlib.util.find_spec("spu") is None, reason="SPU is not installed")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Every process of all workers, once they have ended."""
    found: list[subprocess.Popen[bytes]] = []

    class Watched(Workers):
        def __exit__(self, *error: object) -> None:
            super().__exit__(*error)
            found.extend(self._children.values())

    monkeypatch.setattr(head_step, "Workers", Watched)
    return found


def by_hand(x, y, w1, b1, w2, b2) -> np.ndarray:
    """The gradient with respect to the input."""
    a = x @ w1 + b1
    g = 1 / (1 + np.exp(-(np.maximum(a, 0) @ w2 + b2))) - y
    return (g[:, None] * w2 * (a > 0)) @ w1.T


@needs_spu
@pytest.mark.timeout(110)
def test_the_contest_has_both_protocols_and_leaves_no_process(started: list[subprocess.Popen[bytes]]) -> None:
    found = measure(TINY)
    for protocol in ("semi2k", "cheetah"):
        ms, (low, high) = found[f"spu_{protocol}_ms"], found["spread"][f"spu_{protocol}_ms"]
        assert 0 < low <= ms <= high
        assert found[f"speedup_vs_spu_{protocol}"] == pytest.approx(ms / found["ours_ms"])
        assert all(sent > 0.0001 for sent in found["spu_mb"][protocol])
        assert all(cpu > 0.01 for cpu in found["spu_cpu_ms"][protocol])
    # a share of the input goes one way in each step, one of its gradient the other; the rest of semi2k is alike
    sent = found["spu_mb"]["semi2k"]
    assert sent[DEVELOPER] == pytest.approx(sent[AUDITOR])
    assert sum(found["spu_mb"]["cheetah"]) > sum(sent)  # ciphertexts are larger than masked values
    assert (found["slices"], found["crypten_ms"], found["crypten_mb"]) == (2, None, None)
    assert found["two_party_vs_spu_cheetah"] > 0
    assert all(sent > 0.0001 for sent in found["two_party_mb"])
    assert len(started) == 3 + 1 + 4 + 4
    assert all(child.poll() is not None for child in started)


@needs_spu
@pytest.mark.timeout(60)
@pytest.mark.parametrize("protocol", ["semi2k", "cheetah"])
def test_what_is_opened_is_the_gradient_by_the_input(protocol: str, tmp_path: Path) -> None:
    by_name = next(rival.workers for rival in rivals.spu(TINY, tmp_path) if rival.name == f"spu {protocol}")
    with Workers(by_name, tmp_path) as workers:
        first = workers.ask({name: {"steps": 1, "open": True} for name in by_name})
        second = workers.ask({name: {"steps": 2, "open": True} for name in by_name})
    developer, auditor = by_name
    values = spu_party.first_values(8, 4, 4)
    np.testing.assert_allclose(first[developer]["gradient"], by_hand(**values), atol=0.01)
    assert not np.array_equal(first[developer]["gradient"], second[developer]["gradient"]), "the weights move"
    assert "gradient" not in first[auditor]
    assert second[developer]["bytes_sent"] > 0


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_a_missing_package_is_told_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, started: list[subprocess.Popen[bytes]], arguments: tuple[str, ...]
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "spu" else real(name, *more))
    with pytest.raises(UsageError, match="SPU is not installed here"):
        measure(TINY)
    told = CliRunner().invoke(main, ["bench", "head", "--against", "spu", *arguments])
    assert told.exit_code == 2
    assert told.stderr.startswith("error: SPU is not installed here")
    assert "pip install '.[spu]'" in told.stderr
    assert not started


def test_spu_is_measured_in_a_few_slices() -> None:
    assert rivals.slices(Setup(steps=50, against="spu")) == [17, 17, 16]
    assert rivals.slices(Setup(steps=2, against="spu")) == [1, 1]
    assert len(rivals.slices(Setup(steps=50))) == 5


def test_bytes_are_those_of_the_runs_since_the_last_question(tmp_path: Path) -> None:
    lines = tmp_path / "said"
    lines.write_text("Link details: total send bytes 7, recv bytes 9\nother\nLink details: total send bytes 5, recv\n")
    console = object.__new__(spu_party.Console)  # its constructor takes this process's stdout away
    with lines.open() as console._told, lines.open("a") as more:
        assert console.sent(2) == 12
        more.write("Link details: total send bytes 3, recv bytes 9\n")
        more.flush()
        assert console.sent(1) == 3
        with pytest.raises(AmintError, match="of 0 runs, not of 1"):
            console.sent(1)
