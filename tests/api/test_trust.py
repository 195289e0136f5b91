"""What the functions of the face take on trust: nothing that a folder says of itself."""

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from torch import Tensor

import amint_mpc as am
from amint_mpc.cli import main
from amint_mpc.errors import DataError, EvidenceError, UsageError
from amint_mpc.host.in_process import InProcessRun
from amint_mpc.models import build_classifier, feature_count

SMALL = [
    "security.correlations=dealer",
    "data.members=48",
    "data.external=32",
    "data.unseen=24",
    "training.epochs=1",
    "model.width=2",
    "head.hidden=2",
]
IMAGES = torch.zeros(3, 1, 28, 28, dtype=torch.uint8)
Change = Callable[[str, Tensor], Tensor]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> InProcessRun:
    torch.set_num_threads(1)
    return am.run_in_process(am.load_experiment("smoke", SMALL), tmp_path_factory.mktemp("run") / "made", device="cpu")


@pytest.fixture
def home(run: InProcessRun, tmp_path: Path) -> Path:
    """A copy, to be changed."""
    shutil.copytree(run.folder, tmp_path / "home")
    return tmp_path / "home"


def rewrite(file: Path, change: Change) -> None:
    save_file({name: change(name, value) for name, value in load_file(file).items()}, file)


def moved(_: str, value: Tensor) -> Tensor:
    return value + 1 if value.is_floating_point() else value


def test_an_audit_is_of_the_classifier_that_the_log_names(home: Path) -> None:
    assert am.audit(home, IMAGES).verified
    backbone = home / "developer" / "backbone.safetensors"
    rewrite(backbone, moved)
    for asked in (home, home / "auditor"):
        with pytest.raises(EvidenceError, match="not the classifier of the log's end"):
            am.audit(asked, IMAGES, backbone=backbone)


def test_a_run_folder_stands_for_itself_whatever_lies_in_it(run: InProcessRun, home: Path) -> None:
    evil = home / "auditor"
    log = evil / "evidence" / "log.jsonl"
    log.write_bytes(log.read_bytes().replace(b"a", b"b", 1))
    shutil.copytree(run.folder, evil / "runs")
    with pytest.raises(EvidenceError):
        am.verify(evil)
    with pytest.raises(EvidenceError):
        am.audit(evil, IMAGES, backbone=home / "developer")


@pytest.mark.parametrize(
    "change",
    [
        lambda name, value: torch.full_like(value, float("nan")) if name == "external" else value,
        lambda name, value: value * 1e300,
        lambda name, value: -value,
        lambda name, value: value[:-1].clone() if name == "external" else value,
        lambda name, value: value.float(),
        lambda name, value: value.to(torch.complex64),
    ],
    ids=["nan", "large", "negative", "short", "float32", "complex"],
)
def test_scores_are_probabilities_of_the_agreed_sets(home: Path, change: Change) -> None:
    rewrite(home / "auditor" / "scores.safetensors", change)
    with pytest.raises(EvidenceError, match=r"scores.safetensors with .* is not the one of the log's end"):
        am.audit(home, IMAGES)
    shutil.rmtree(home / "auditor" / "evidence")  # a run without a log
    with pytest.raises(DataError, match="does not hold the scores"):
        am.audit(home, IMAGES)


def test_the_classifier_starts_from_the_seed_whatever_other_threads_draw() -> None:
    experiment = am.load_experiment("smoke", SMALL)

    def first(_: int) -> Tensor:
        feature_count(experiment, (1, 28, 28))
        return next(iter(build_classifier(experiment, (1, 28, 28), 10).parameters())).detach()

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(first, range(400)))
    assert all(torch.equal(each, found[0]) for each in found)


def test_certificates_of_the_run_itself_vouch_for_nothing(home: Path) -> None:
    with pytest.raises(UsageError, match="cannot vouch for themselves"):
        am.verify(home / "auditor", trust=home / "auditor" / "evidence" / "certificates")


def test_what_is_no_experiment_and_what_are_no_images(home: Path) -> None:
    for function in (am.train, am.run_in_process):
        with pytest.raises(UsageError, match='an experiment is needed, not "smoke"'):
            function("smoke")  # type: ignore[operator]
    for wrong in (None, ["a.png"]):
        with pytest.raises(DataError, match=r"not images|images are"):
            am.audit(home, wrong)  # type: ignore[arg-type]
    assert am.load_experiment("smoke", "seed=3").seed == 3


def test_a_pipe_in_a_bundle_is_refused_and_not_waited_for(home: Path) -> None:
    evidence = ("experiment.yaml", "evidence/statement.json", "evidence/certificates/auditor.pem")
    for name in (*evidence, "head.safetensors", "scores.safetensors", "summary.json"):
        file = home / "auditor" / name
        kept = file.read_bytes()
        file.unlink()
        os.mkfifo(file)
        with pytest.raises(EvidenceError, match="is not a file"):
            am.verify(home / "auditor")
        file.unlink()
        file.write_bytes(kept)


def test_losses_that_no_axis_holds_are_damage(home: Path) -> None:
    metrics = home / "developer" / "metrics.jsonl"
    line = next(line for line in metrics.read_text().splitlines() if '"joint"' in line and '"losses"' in line)
    losses = json.loads(line)["losses"]
    metrics.write_text(json.dumps(json.loads(line) | {"losses": dict.fromkeys(losses, 1e308)}) + "\n")
    with pytest.raises(DataError):
        am.report(home / "developer", home / "page.html")


def test_what_click_repeats_is_printable(tmp_path: Path) -> None:
    told = CliRunner().invoke(main, ["verify", str(tmp_path), "a\x1b[2Jb\u202ec"])
    assert told.exit_code == 2
    assert "\\x1b[2Jb\\u202ec" in told.output
    assert not {"\x1b", "\u202e"} & set(told.output)
