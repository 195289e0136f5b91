"""The demo's processes: what they tell arrives, the first failure is the one shown, and none survives."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from amint_mpc import identity
from amint_mpc.config import PARTIES, ROLES, load_experiment, load_party
from amint_mpc.errors import AmintError
from amint_mpc.host import processes as module
from amint_mpc.host.processes import Processes
from tests.pids import alive

TELL = "import json, os, sys, time, signal\ndef tell(**r): print(json.dumps(r), flush=True)\n"
STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN); tell(event='notice', text=str(os.getpid())); time.sleep(60)"
FAIL = "tell(event='error', message='too small', hint='add images', code={code}); sys.exit({code})"


def children(**scripts: str) -> dict[str, list[str]]:
    return {name: [sys.executable, "-c", TELL + script] for name, script in scripts.items()}


def note(processes: Processes, pids: list[int], then: type[BaseException] | None = None) -> None:
    for _, record in processes.records():
        pids.append(int(record["text"]))
        if then is not None:
            raise then


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE_S", 0.5)
    monkeypatch.setattr(module, "ECHO_S", 1.0)


def test_records_arrive_in_order_and_other_lines_are_passed_over(tmp_path: Path) -> None:
    script = "tell(event='notice', text='one'); print('a library speaks'); print('[1]'); tell(event='summary', n=2)"
    with Processes(children(a=script, b=script), tmp_path) as processes:
        told = list(processes.records())
    for name in ("a", "b"):
        assert [record["event"] for who, record in told if who == name] == ["notice", "summary"]


def test_a_failure_is_passed_on_and_nobody_survives(tmp_path: Path) -> None:
    pids: list[int] = []
    commands = children(a=STUBBORN, b="time.sleep(0.5); " + FAIL.format(code=5))
    with pytest.raises(AmintError) as caught, Processes(commands, tmp_path) as processes:
        note(processes, pids)
    assert (caught.value.message, caught.value.hint, caught.value.exit_code) == ("b: too small", "add images", 5)
    assert len(pids) == 1
    assert not alive(pids[0])


def test_a_lost_peer_is_not_shown_as_the_reason(tmp_path: Path) -> None:
    commands = children(a=FAIL.format(code=3), b="time.sleep(0.3); " + FAIL.format(code=4))
    with pytest.raises(AmintError, match="b: too small"), Processes(commands, tmp_path) as processes:
        list(processes.records())


def test_a_crash_shows_its_last_lines_and_its_code(tmp_path: Path) -> None:
    commands = children(a="raise RuntimeError('a bug')")
    with pytest.raises(AmintError) as caught, Processes(commands, tmp_path) as processes:
        list(processes.records())
    assert "the a ended with code 1" in caught.value.message
    assert "a bug" in caught.value.message
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, ValueError])
def test_an_exception_here_stops_them_too(tmp_path: Path, interrupt: type[BaseException]) -> None:
    pids: list[int] = []
    with pytest.raises(interrupt), Processes(children(a=STUBBORN), tmp_path) as processes:
        note(processes, pids, interrupt)
    assert len(pids) == 1
    assert not alive(pids[0])


def test_a_party_ends_when_its_parent_is_gone() -> None:
    code = "import threading, time, amint_mpc.cli.run as run\nfrom sys import modules\n"
    code += "threading.Thread(target=modules['amint_mpc.cli.run']._end_with_parent, daemon=True).start()\n"
    code += "print('up', flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"up\n"
    assert child.poll() is None
    child.communicate(timeout=30)  # closes stdin, as the parent's end does
    assert child.returncode == -signal.SIGTERM


def test_throw_away_keys_and_addresses_fit_together(tmp_path: Path) -> None:
    experiment = load_experiment("smoke", ["security.correlations=dealer"])
    module.prepare(tmp_path, experiment, None)
    parties = {role: load_party(tmp_path / role / "party.yaml", role) for role in ROLES}
    assert load_experiment(tmp_path / "experiment.yaml").digest() == experiment.digest()
    assert parties["developer"].auditor == parties["auditor"].listen
    assert parties["developer"].dealer == parties["auditor"].dealer == parties["dealer"].listen
    assert parties["auditor"].listen != parties["dealer"].listen
    for role in ROLES:
        for peer in set(ROLES) - {role}:
            mark = identity.load(parties[peer].keys, peer).fingerprint
            assert identity.fingerprint(identity.trusted(parties[role].keys, peer)) == mark


@pytest.mark.long
def test_the_demo_ends_with_its_json_line(tmp_path: Path) -> None:
    arguments = ["--config", "smoke", "--keep", "kept", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "amint_mpc", "demo", *arguments], cwd=tmp_path, capture_output=True, check=True
    )
    told = json.loads(done.stdout.splitlines()[-1])
    keys = {"mint_accuracy_calibrated", "mint_accuracy_at_half", "mint_auc", "tpr_at_1pct_fpr", "task_accuracy"}
    keys |= {"task_accuracy_without_mint", "twin_mint_auc", "steps", "seconds", "rounds_per_step"}
    assert all(isinstance(told[key], int | float) for key in keys)
    assert set(told["mb_sent_per_step"]) == set(PARTIES)
    assert set(told["intervals"]["secure"]) >= {"mint_auc", "task_accuracy"}
    assert {"developer", "auditor"} <= set(told["runs"])
    assert all((tmp_path / path / "summary.json").is_file() for path in told["runs"].values())
