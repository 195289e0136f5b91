"""Steps done again: bit for bit where nothing was touched, refused with the place where something was."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from amint_mpc.afterwards import replay as replaying
from amint_mpc.afterwards.replay import replay
from amint_mpc.cli import main
from amint_mpc.config import Experiment, load_experiment
from amint_mpc.errors import EvidenceError, UsageError
from amint_mpc.evidence.verify import verify
from amint_mpc.models.head_weights import init_head, seeded_normal
from amint_mpc.roles import secure_head
from amint_mpc.runlog.expected import ExpectedEntries
from amint_mpc.runlog.replay_tape import FOLDER
from tests.roles.memory_runs import Secure, secure_run

KEPT = [
    *("data.members=48", "data.external=48", "data.unseen=40", "training.batch=12", "training.epochs=5"),
    *("training.evaluate_every=2", "evidence.replay=true", "training.cooldown=0.5", "training.sealed_epochs=1"),
]


def run_of(root: Path, *more: str) -> Secure:
    torch.set_num_threads(1)
    experiment: Experiment = load_experiment("smoke", [*KEPT, *more])
    first = init_head(secure_head.head_inputs(experiment), experiment.head.hidden, seeded_normal(7))
    return secure_run(experiment, root, first.tensors(), logged=True)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    more = ("training.distillation=1.0", "training.warmup_epochs=1")
    return run_of(tmp_path_factory.mktemp("kept"), *more).folders["developer"]


@pytest.fixture
def folder(kept: Path, tmp_path: Path) -> Path:
    shutil.copytree(kept, tmp_path / "developer")
    return tmp_path / "developer"


def test_every_step_follows_bit_for_bit(kept: Path) -> None:
    found = replay(kept, None, 0, 19)
    assert (found.first, found.last, found.checkpoints, found.exact, found.difference) == (0, 19, 3, True, 0.0)


@pytest.mark.parametrize(
    ("first", "last", "wanted"), [(0, 0, (0, 7)), (9, 9, (8, 15)), (7, 8, (0, 15)), (19, 19, (16, 19))]
)
def test_some_steps_are_done_from_checkpoint_to_checkpoint(
    kept: Path, first: int, last: int, wanted: tuple[int, int]
) -> None:
    found = replay(kept, None, first, last)
    assert (found.first, found.last) == wanted
    assert found.exact


def test_without_warm_up_the_first_checkpoint_is_the_drawn_classifier(tmp_path: Path) -> None:
    developer = run_of(tmp_path, "training.warmup_epochs=0").folders["developer"]
    assert replay(developer, None, 0, 5).exact


def change(file: Path, edit: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(file)
    edit(tensors)
    save_file(tensors, file)


def nudge(name: str) -> Callable[[dict[str, torch.Tensor]], Any]:
    return lambda tensors: tensors.update({name: tensors[name] * 1.5 + 0.1})


TAMPERED: dict[str, tuple[str, Callable[[dict[str, torch.Tensor]], Any], str]] = {
    "a gradient": ("gradients-3", nudge("gradients"), "what was kept for the checkpoint of epoch 3 is not"),
    "the last gradients": ("gradients-7", nudge("gradients"), "what was kept for the end is not"),
    "the first classifier": ("state-1", nudge("backbone.features.standardise.running_mean"), "of epoch 1 is not"),
    "a gradient left out": (
        "gradients-5",
        lambda tensors: tensors.update(gradients=tensors["gradients"][1:].contiguous()),
        "what was kept for the checkpoint of epoch 5 is not",
    ),
    "no gradients": ("gradients-3", lambda tensors: tensors.clear(), "of epoch 3 is not"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_changed_file_is_found(name: str, folder: Path) -> None:
    file, edit, said = TAMPERED[name]
    change(folder / FOLDER / f"{file}.safetensors", edit)
    with pytest.raises(EvidenceError, match=said):
        replay(folder, None, 0, 19)


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_damaged_file_is_found(damage: str, folder: Path) -> None:
    file = folder / FOLDER / "gradients-3.safetensors"
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(EvidenceError, match=r"gradients-3\.safetensors cannot be read"):
        replay(folder, None, 0, 5)


def test_other_gradients_do_not_lead_to_the_logged_classifier(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the developer had told of other gradients from the start: digests fit, the classifier does not."""
    honest = replaying._gradients
    monkeypatch.setattr(replaying, "_gradients", lambda *args: honest(*args) * -1)
    with pytest.raises(EvidenceError, match="the checkpoint of epoch 3 does not follow"):
        replay(kept, None, 0, 5)


def test_another_order_of_images_does_not(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from amint_mpc.amint import trainer

    honest = trainer.epoch_orders
    monkeypatch.setattr(trainer, "epoch_orders", lambda ex: ((m[::-1].copy(), e[::-1].copy()) for m, e in honest(ex)))
    with pytest.raises(EvidenceError, match="the checkpoint of epoch 3 does not follow"):
        replay(kept, None, 0, 5)


def test_small_differences_are_told_and_large_ones_refused(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = replaying._gradients
    monkeypatch.setattr(replaying, "_gradients", lambda *args: honest(*args) * (1 + 1e-6))
    found = replay(kept, None, 0, 5)
    assert not found.exact
    assert 0 < found.difference <= replaying.TOLERANCE


def test_both_logs_name_what_was_kept(kept: Path) -> None:
    log = verify(kept, ExpectedEntries).log
    assert all(len(entry["replay"]) == 64 for entry in [*log.checkpoints, log.end])
    other = verify(kept.parent / "auditor", ExpectedEntries).log
    assert other.head == log.head
    assert not (kept.parent / "auditor" / FOLDER).exists()


def test_the_command(kept: Path, tmp_path: Path) -> None:
    told = CliRunner().invoke(main, ["replay", str(kept), "--steps", "9..9"])
    assert told.exit_code == 0, told.output
    assert "steps 8 to 15 follow: 1 checkpoints, every bit the same" in told.output
    told = CliRunner().invoke(main, ["replay", str(kept), "--json"])
    assert json.loads(told.stdout.splitlines()[-1])["steps"] == [0, 19]
    for steps, said in (
        ("20..21", "there are no steps 20..21"),
        ("x", "does not name steps"),
        ("5..2", "there are no steps"),
    ):
        told = CliRunner().invoke(main, ["replay", str(kept), "--steps", steps])
        assert told.exit_code == 2
        assert said in told.output
    told = CliRunner().invoke(main, ["replay", str(tmp_path)])
    assert told.exit_code == 2
    assert "there is no log" in told.output


def test_a_run_that_kept_nothing(tmp_path: Path) -> None:
    developer = run_of(tmp_path, "evidence.replay=false").folders["developer"]
    with pytest.raises(UsageError, match="kept nothing to replay"):
        replay(developer, None, 0, 1)


@pytest.mark.parametrize(
    "settings",
    [["training.patience=1"], ["evidence.log=false"], ["training.precision=float16"]],
)
def test_what_cannot_be_replayed_is_refused(settings: list[str]) -> None:
    with pytest.raises(UsageError, match=r"evidence\.replay"):
        load_experiment("smoke", ["evidence.replay=true", "training.evaluate_every=1", *settings])
