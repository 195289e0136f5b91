"""A checkout whose C kernel was not built: what is slow says so, and what to do."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from amint_mpc import plaintext_run
from amint_mpc.bench import head_step, scaling
from amint_mpc.bench import train as bench_train
from amint_mpc.cli import main
from amint_mpc.errors import PeerError
from amint_mpc.host import processes
from amint_mpc.mpc.ring import native
from amint_mpc.roles import developer

SLOW = "the C kernel is not here: the secure computation runs at about half its speed"
COMMANDS = {
    "run": ("run", "--role", "developer", "--config", "smoke"),
    "demo": ("demo", "--config", "smoke"),
    "bench head": ("bench", "head"),
    "bench train": ("bench", "train", "--config", "smoke"),
    "bench scaling": ("bench", "scaling"),
}


@pytest.fixture(autouse=True)
def _nothing_starts(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise PeerError("stop here")

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AMINT_MPC_NO_NATIVE", raising=False)
    monkeypatch.setattr(plaintext_run, "check", lambda *_: None)
    for module, name in ((head_step, "measure"), (scaling, "measure"), (bench_train, "measure"), (processes, "run")):
        monkeypatch.setattr(module, name, stop)
    monkeypatch.setattr(developer, "run", stop)


@pytest.mark.parametrize("name", COMMANDS)
def test_it_is_said_at_the_start(name: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "USED", False)
    found = CliRunner().invoke(main, COMMANDS[name])
    assert found.exit_code == 3
    assert SLOW in found.stdout
    assert "with a C compiler; pip install -v shows" in found.stdout
    assert all(SLOW in log.read_text() for log in tmp_path.rglob("log.txt"))
    assert len([*tmp_path.rglob("log.txt")]) == (name == "run")


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("why", ["it is there", "on purpose"])
def test_nothing_is_said_where_all_is_as_it_should_be(name: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "USED", why == "it is there")
    if why == "on purpose":
        monkeypatch.setenv("AMINT_MPC_NO_NATIVE", "1")
    assert "kernel" not in CliRunner().invoke(main, COMMANDS[name]).output


def test_doctor_warns_and_is_content(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "USED", False)
    checks = json.loads(CliRunner().invoke(main, ["doctor", "--role", "auditor", "--json"]).stdout)["checks"]
    (kernel,) = (check for check in checks if check["what"] == "C kernel")
    assert (kernel["ok"], kernel["warning"], kernel["found"]) == (True, True, SLOW)
    assert not any(check["warning"] for check in checks if check is not kernel)
    lines = CliRunner().invoke(main, ["doctor", "--role", "auditor"]).stdout.splitlines()
    assert any(line.startswith("!!  C kernel") for line in lines)
    assert any("C compiler" in line for line in lines)


@pytest.mark.parametrize("name", ["run", "demo"])
def test_a_processor_without_avx2_is_said(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "USED", True)
    monkeypatch.setattr(native, "best", lambda: "portable")
    said = "no AVX2: masks of two parties take two to four times as long"
    assert said in CliRunner().invoke(main, COMMANDS[name]).stdout
    checks = json.loads(CliRunner().invoke(main, ["doctor", "--role", "auditor", "--json"]).stdout)["checks"]
    (kernel,) = (check for check in checks if check["what"] == "C kernel")
    assert (kernel["ok"], kernel["warning"]) == (True, True)
    assert said in kernel["found"]
