"""A run of all parties in one process: what it computes, what it says of itself, and how it ends when one fails."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

import amint_mpc as am
from amint_mpc import identity
from amint_mpc.afterwards.replay import replay
from amint_mpc.config import Experiment, load_experiment
from amint_mpc.data import SETS, load_split
from amint_mpc.errors import EvidenceError, UsageError
from amint_mpc.events import EpochEvent, Event, StepEvent
from amint_mpc.host import in_process
from amint_mpc.host.in_process import IN_PROCESS, InProcessRun, run_in_process
from amint_mpc.roles.auditor import FIRST_HEAD
from amint_mpc.runfolder import new_folder

TINY = [
    "security.correlations=dealer",
    *("data.members=48", "data.external=48", "data.unseen=40", "training.batch=24", "model.width=2", "head.hidden=2"),
    *("training.epochs=2", "training.evaluate_every=1"),
]


def tiny(*more: str) -> Experiment:
    return load_experiment("smoke", [*TINY, *more])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> InProcessRun:
    """To be read alone."""
    return run_in_process(tiny(), tmp_path_factory.mktemp("home") / "run", device="cpu")


def test_it_is_the_training_of_the_twin(tmp_path: Path) -> None:
    """From the same first head: so few steps leave no room to drift apart."""
    experiment = tiny("training.epochs=1", "training.warmup_epochs=0", "head.hidden=8")
    secure = run_in_process(experiment, tmp_path / "run", device="cpu")
    first = load_file(secure.folders["auditor"] / FIRST_HEAD)
    twin = am.train(experiment, tmp_path / "twin", device="cpu", first=first)
    for name in SETS:
        assert (secure.scores[name].logit() - twin.scores[name].logit()).abs().max() < 0.05, name


def test_each_party_keeps_its_own_in_its_own_folder(run: InProcessRun) -> None:
    assert {path.name for path in run.folder.iterdir()} == {"developer", "auditor"}
    files = {role: {path.name for path in folder.iterdir()} for role, folder in run.folders.items()}
    assert "backbone.safetensors" in files["developer"] - files["auditor"]
    assert files["auditor"] - files["developer"] >= {"head.safetensors", FIRST_HEAD, "scores.safetensors", "head.salt"}
    assert not [path for path in run.folder.rglob("*") if path.suffix == ".key" and path.name != "commitment.key"]


def test_every_file_and_the_result_say_how_it_was_made(run: InProcessRun, tmp_path: Path) -> None:
    assert run.note == IN_PROCESS
    assert "Nothing was protected" in run._repr_html_()
    assert "in-process" in new_folder("smoke-in-process").name
    for folder in run.folders.values():
        assert IN_PROCESS in (folder / "experiment.yaml").read_text()
        for name in ("summary.json", "versions.json"):
            assert json.loads((folder / name).read_text())["in_process"] == IN_PROCESS
        assert IN_PROCESS in (folder / "log.txt").read_text()
        for file in folder.glob("*.safetensors"):
            with safe_open(file, "pt") as tensors:
                assert tensors.metadata()["in_process"] == IN_PROCESS
        page = am.report(folder, tmp_path / f"{folder.name}.html")
        assert "In one process." in page.read_text()
    assert "In one process." in am.report(run, tmp_path / "whole.html").read_text()


def test_it_costs_the_rounds_and_bytes_of_a_secure_run(run: InProcessRun) -> None:
    assert run.developer.rounds_per_step == run.auditor.rounds_per_step == 10
    assert (run.developer.own_mb_sent or 0) > 0
    assert run.figures["mint_auc"] == run.auditor.figures["mint_auc"]
    assert {name: len(scores) for name, scores in run.scores.items()} == {
        "members_calibration": 24,
        "members_report": 24,
        "external": 48,
        "unseen_calibration": 20,
        "unseen_report": 20,
    }


def test_its_evidence_holds_until_a_file_is_changed(tmp_path: Path) -> None:
    made = run_in_process(tiny(), tmp_path / "run", device="cpu")
    for it in (made, made.folder, str(made.folders["auditor"])):
        found = am.verify(it)
        assert found.found.log.steps == 4
        assert "not who took them" in found.note
    assert set(am.verify(made).found.covered) == {
        *("experiment.yaml", "backbone.safetensors", "head.safetensors"),
        *("scores.safetensors", "first-head.safetensors", "summary.json"),
    }
    head = made.folders["auditor"] / "head.safetensors"
    head.write_bytes((made.folders["auditor"] / FIRST_HEAD).read_bytes())
    with pytest.raises(EvidenceError, match="is not the head"):
        am.verify(made)
    with pytest.raises(EvidenceError, match="is not the head"):
        am.audit(made, load_split(made.experiment, None).images("unseen_report"))


def test_the_keys_belong_to_nobody_afterwards(run: InProcessRun, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    identity.create_for_one_machine({"developer": keys / "developer", "auditor": keys / "auditor"})
    with pytest.raises(EvidenceError):
        am.verify(run, trust=keys / "auditor")


def test_logs_of_two_runs_are_told_apart(run: InProcessRun, tmp_path: Path) -> None:
    other = run_in_process(run.experiment, tmp_path / "other", device="cpu")
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed" / "developer").symlink_to(run.folders["developer"].absolute())
    (tmp_path / "mixed" / "auditor").symlink_to(other.folders["auditor"].absolute())
    with pytest.raises(EvidenceError, match="entries in common"):
        am.verify(tmp_path / "mixed")


def test_an_audit_scores_as_the_run_did(run: InProcessRun) -> None:
    split = load_split(run.experiment, None)
    for name in SETS:
        found = am.audit(run, split.images(name))
        assert found.verified
        assert (found.scores.logit() - run.scores[name].logit()).abs().max() < 0.02, name
        assert len(found) == len(found.rows) == len(found.p) == len(found.q)
        assert (found.q >= found.p).all()
        assert found.member_like.tolist() == [row["member_like"] for row in found.rows]
        assert found._repr_html_().count("<tr>") == 1 + len(found)
    alone = am.audit(run.folders["auditor"], split.external[:3], backbone=run.folders["developer"])
    assert alone.rows == am.audit(run.folder, split.external[:3]).rows
    with pytest.raises(UsageError, match="there is no classifier"):
        am.audit(run.folders["auditor"], split.external[:3])


def test_an_audit_takes_a_folder_of_files(run: InProcessRun, tmp_path: Path) -> None:
    images = load_split(run.experiment, None).images("members_report")[:4]
    for number, image in enumerate(images):
        Image.fromarray(image[0].numpy()).save(tmp_path / f"{number}.png")
    found = am.audit(run, tmp_path)
    assert found.names == ("0.png", "1.png", "2.png", "3.png")
    assert torch.equal(found.scores, am.audit(run, images).scores)


def test_without_a_log_it_says_so(tmp_path: Path) -> None:
    made = run_in_process(tiny("evidence.log=false"), tmp_path / "run", device="cpu")
    assert not (made.folders["auditor"] / "evidence").exists()
    with pytest.raises(UsageError, match="there is no log"):
        am.verify(made)
    assert not am.audit(made, load_split(made.experiment, None).images("external")).verified


@pytest.mark.parametrize(
    "more",
    [
        ("training.epochs=6", "training.patience=1", "training.learning_rate=1e-6"),
        ("training.sealed_epochs=2",),
        ("head.optimizer=novograd",),
        ("evidence.replay=true",),
    ],
)
def test_it_runs_what_a_secure_run_runs(more: tuple[str, ...], tmp_path: Path) -> None:
    made = run_in_process(tiny(*more), tmp_path / "run", device="cpu")
    am.verify(made)
    assert made.developer.steps == made.auditor.steps
    assert made.developer.stopped_epoch == made.auditor.stopped_epoch


def test_it_runs_the_convolutional_head(tmp_path: Path) -> None:
    small = ("head.input=conv", "head.filters=1", "head.hidden=2", "model.width=1", "training.epochs=1")
    made = run_in_process(tiny(*small), tmp_path / "run", device="cpu")
    am.verify(made)
    images = load_split(made.experiment, None).images("unseen_report")
    found = am.audit(made, images)
    assert (found.scores.logit() - made.scores["unseen_report"].logit()).abs().max() < 0.05


def test_of_a_convolutional_head_the_gradients_are_kept(tmp_path: Path) -> None:
    small = ("head.input=conv", "head.filters=1", "head.hidden=2", "model.width=1", "training.epochs=1")
    made = run_in_process(tiny(*small, "evidence.replay=true"), tmp_path / "run", device="cpu")
    found = replay(made.folders["developer"], None, 0, 0)
    assert found.exact
    assert not found.frames_matched
    assert "the gradients that the developer kept" in str(found.assumes)


def test_it_is_quiet_and_leaves_threads_as_they_were(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = torch.get_num_threads(), torch.get_num_interop_threads(), threading.active_count()
    told: list[tuple[str, Event]] = []
    run_in_process(tiny(), tmp_path / "run", device="cpu", on_event=lambda *event: told.append(event))
    assert capfd.readouterr() == ("", "")
    kinds = {(role, type(event)) for role, event in told}
    assert kinds >= {(role, kind) for role in ("developer", "auditor") for kind in (StepEvent, EpochEvent)}
    deadline = time.monotonic() + 10
    while threading.active_count() > before[2] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (torch.get_num_threads(), torch.get_num_interop_threads(), threading.active_count()) == before


class Broken(Exception):
    pass


def failing(role: str, kind: type[Event]) -> Callable[[str, Event], None]:
    def on_event(told: str, event: Event) -> None:
        if told == role and isinstance(event, kind):
            raise Broken(role)

    return on_event


@pytest.mark.timeout(60)
@pytest.mark.parametrize("role", ["developer", "auditor"])
@pytest.mark.parametrize("kind", [StepEvent, EpochEvent])
def test_the_first_error_ends_all_three_and_is_raised(role: str, kind: type[Event], tmp_path: Path) -> None:
    start, threads = time.monotonic(), threading.active_count()
    with pytest.raises(Broken, match=role):
        run_in_process(tiny("training.epochs=50"), tmp_path / "run", device="cpu", on_event=failing(role, kind))
    assert time.monotonic() - start < 30
    while threading.active_count() > threads:
        time.sleep(0.01)
    assert not (tmp_path / "run" / "auditor" / "summary.json").exists()
    for folder in (tmp_path / "run").iterdir():
        assert "ended early" in (folder / "log.txt").read_text()


@pytest.mark.timeout(60)
def test_a_dealer_that_fails_ends_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> int:
        raise Broken("dealer")

    monkeypatch.setattr(in_process, "serve", broken)
    with pytest.raises(Broken, match="dealer"):
        run_in_process(tiny(), tmp_path / "run", device="cpu")


@pytest.mark.timeout(60)
def test_ctrl_c_ends_the_parties(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reaches the thread that waits, not the parties."""
    begun = threading.Event()

    def interrupted(*_: Any) -> None:
        assert begun.wait(30)
        raise KeyboardInterrupt

    def on_event(_: str, event: Event) -> None:
        if isinstance(event, StepEvent):
            begun.set()

    monkeypatch.setattr(in_process, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_in_process(tiny("training.warmup_epochs=2000"), tmp_path / "run", device="cpu", on_event=on_event)


@pytest.mark.timeout(60)
def test_an_error_stops_a_party_that_computes_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer in a long warm-up is not at its link."""
    steps = 0

    def broken(*_: Any) -> int:
        time.sleep(0.5)
        raise Broken("dealer")

    def on_event(role: str, event: Event) -> None:
        nonlocal steps
        steps += isinstance(event, StepEvent)

    monkeypatch.setattr(in_process, "serve", broken)
    with pytest.raises(Broken):
        run_in_process(tiny("training.warmup_epochs=5000"), tmp_path / "run", device="cpu", on_event=on_event)
    assert steps < 10_000


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("security.correlations=insecure-embedded-dealer",), "gives up a security claim"),
        (("data.dataset=nothing",), "there is no dataset"),
        (("head.features=8", "training.evaluate_every=0", "evidence.log=false"), "training loop of your own"),
    ],
)
def test_what_cannot_run_here_is_refused(more: tuple[str, ...], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        run_in_process(tiny(*more), tmp_path / "run", device="cpu")


def test_a_folder_with_a_run_is_refused(run: InProcessRun) -> None:
    with pytest.raises(UsageError, match="exists already"):
        run_in_process(run.experiment, run.folder)


def test_progress_names_the_party(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_in_process(tiny(), tmp_path / "run", device="cpu", progress=True)
    lines = capsys.readouterr().out.splitlines()
    assert {line.split(",")[0] for line in lines} == {
        *(f"developer: epoch {number} of 3" for number in (1, 2, 3)),
        *(f"auditor: epoch {number} of 3" for number in (2, 3)),
    }
