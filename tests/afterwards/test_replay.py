"""Steps done again: bit for bit where nothing was touched, refused with the place where something was."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from torch import Tensor

from amint_mpc.afterwards import agreement, played
from amint_mpc.afterwards import replay as replaying
from amint_mpc.afterwards.replay import replay
from amint_mpc.amint.trainer import Trainer
from amint_mpc.cli import main
from amint_mpc.config import Experiment, load_experiment
from amint_mpc.errors import EvidenceError, UsageError
from amint_mpc.evidence.files import COIN
from amint_mpc.evidence.verify import verify
from amint_mpc.models.classifier import Classifier
from amint_mpc.models.head_weights import init_head, seeded_normal
from amint_mpc.roles import developer
from amint_mpc.roles.heads import head_kind
from amint_mpc.roles.plans import sealed_rows
from amint_mpc.roles.secure_head import SecureMintHead
from amint_mpc.runlog.expected import ExpectedEntries
from amint_mpc.runlog.kept_frames import FOLDER
from tests.roles.memory_runs import Secure, secure_run

KEPT = [
    *("data.members=48", "data.external=48", "data.unseen=40", "training.batch=12", "training.epochs=5"),
    *("training.evaluate_every=2", "evidence.replay=true", "training.cooldown=0.5", "training.sealed_epochs=1"),
]
FASTER = ("training.sealed_batch=12", "head.learning_rate=0.1")
TEACHER = ("training.distillation=1.0", "training.warmup_epochs=1")


def run_of(root: Path, *more: str, wrap: Callable[[Any], Any] = lambda head: head) -> Secure:
    torch.set_num_threads(1)
    experiment: Experiment = load_experiment("smoke", [*KEPT, *more])
    first = init_head(head_kind(experiment).inputs, experiment.head.hidden, seeded_normal(7))
    return secure_run(experiment, root, first.tensors(), wrap, logged=True)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of(tmp_path_factory.mktemp("kept"), *TEACHER).folders["developer"]


@pytest.fixture
def folder(kept: Path, tmp_path: Path) -> Path:
    shutil.copytree(kept, tmp_path / "developer")
    return tmp_path / "developer"


@contextmanager
def without_frames() -> Iterator[None]:
    """As a run whose head keeps secrets of its own, and as those of before: gradients are kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(developer, "keeps_frames", lambda experiment: False)
        patch.setattr(played, "keeps_frames", lambda experiment: False)
        yield


@pytest.fixture(scope="module")
def gradients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with without_frames():
        return run_of(tmp_path_factory.mktemp("gradients"), *TEACHER).folders["developer"]


@pytest.fixture
def with_gradients(gradients: Path) -> Iterator[Path]:
    with without_frames():
        yield gradients


def test_every_step_follows_bit_for_bit(kept: Path) -> None:
    found = replay(kept, None, 0, 19)
    assert (found.first, found.last, found.checkpoints, found.exact, found.difference) == (0, 19, 3, True, 0.0)
    assert found.frames_matched
    assert found.assumes is None


@pytest.mark.parametrize(
    ("first", "last", "wanted"), [(0, 0, (0, 7)), (9, 9, (8, 15)), (7, 8, (0, 15)), (19, 19, (16, 19))]
)
def test_some_steps_are_done_from_checkpoint_to_checkpoint(
    kept: Path, first: int, last: int, wanted: tuple[int, int]
) -> None:
    found = replay(kept, None, first, last)
    assert (found.first, found.last) == wanted
    assert found.exact
    assert found.frames_matched
    assert (found.assumes is None) == (wanted[0] == 0)
    assert wanted[0] == 0 or "Adam's state and the soft labels at the checkpoint of epoch" in str(found.assumes)


def test_without_warm_up_the_first_checkpoint_is_the_drawn_classifier(tmp_path: Path) -> None:
    kept = run_of(tmp_path, "training.warmup_epochs=0").folders["developer"]
    found = replay(kept, None, 0, 5)
    assert found.exact
    assert found.assumes is None


@pytest.mark.parametrize(
    "more",
    [
        ("head.optimizer=momentum", "head.momentum=0.5", "head.learning_rate=0.03"),
        ("head.optimizer=novograd", "head.learning_rate=0.03"),
        ("training.sealed_epochs=0",),
        ("security.checked_blocks=0",),
        ("security.gradient_noise=0.5", "security.gradient_bits=16"),
    ],
)
def test_whatever_the_head_keeps_from_step_to_step_is_done_again(more: tuple[str, ...], tmp_path: Path) -> None:
    kept = run_of(tmp_path, *more).folders["developer"]
    for first, last in ((0, 19), (9, 9), (17, 19)):
        found = replay(kept, None, first, last)
        assert found.exact
        assert found.frames_matched


def refused(folder: Path, said: str, first: int = 0, last: int = 19) -> None:
    with pytest.raises(EvidenceError, match=said):
        replay(folder, None, first, last)


def test_a_liars_soft_labels_are_found(tmp_path: Path) -> None:
    """Labels of its choice in place of the teacher's answers train on external images with their classes."""
    chosen = torch.eye(10)[torch.arange(48) % 10]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_teach", lambda self: setattr(self, "soft_labels", chosen))
        liar = run_of(tmp_path, *TEACHER).folders["developer"]
    verify(liar, ExpectedEntries)
    refused(liar, "the checkpoint of epoch 1 does not follow: the teacher's soft labels")
    assert "soft labels" in str(replay(liar, None, 9, 9).assumes)


def test_soft_labels_that_change_on_the_way_are_found(tmp_path: Path) -> None:
    honest = Trainer.state

    def state(self: Trainer) -> dict[str, Tensor]:
        found = honest(self)
        if "first_task" in found and self.soft_labels is not None:
            self.soft_labels = self.soft_labels.flip(0)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "state", state)
        liar = run_of(tmp_path, *TEACHER).folders["developer"]
    refused(liar, "the checkpoint of epoch 3 has other soft labels", 16, 19)


class Lies(SecureMintHead):
    """A developer that trains on zeros in place of the auditor's gradients."""

    def step(self, features: Tensor, members: int) -> Tensor:
        return super().step(features, members) * 0


class OtherFeatures(SecureMintHead):
    """A developer that gives the head other features than its classifier's."""

    def step(self, features: Tensor, members: int) -> Tensor:
        return super().step(features.flip(1) if self.meter.steps == 2 else features, members)


class OtherSealed(SecureMintHead):
    def seal(self, features: Tensor) -> None:
        super().seal(features.flip(1))


class OtherScored(SecureMintHead):
    def score(self, features: Tensor) -> Tensor | None:
        return super().score(features.flip(1))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Lies, "step 1: the features that went into the head are not the classifier's"),
        (OtherFeatures, "step 2: with the features that were kept, the head sends other frames than the log names"),
        (OtherSealed, "the sealed phase: with the features that were kept, the head sends other frames"),
        (OtherScored, "the scoring of epoch 3: with the features that were kept, the head sends other frames"),
    ],
)
def test_gradients_that_are_not_the_auditors_are_found(kind: type, said: str, tmp_path: Path) -> None:
    def wrap(head: Any) -> Any:
        head.__class__ = kind
        return head

    liar = run_of(tmp_path, *TEACHER, wrap=wrap).folders["developer"]
    verify(liar, ExpectedEntries)
    refused(liar, said)


def test_other_features_that_are_kept_are_not_the_classifiers(tmp_path: Path) -> None:
    """As above, with the lie in what is kept, too: then the frames follow from it."""
    from amint_mpc.runlog.replay_tape import Tape

    class Liar(Tape):
        def step(self, features: Tensor, members: int) -> Tensor:
            return super().step(features.flip(1), members)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(developer, "Tape", Liar)
        liar = run_of(tmp_path, *TEACHER).folders["developer"]
    refused(liar, "step 0: the features that went into the head are not the classifier's")


def change(file: Path, edit: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(file)
    edit(tensors)
    save_file(tensors, file)


def nudge(name: str) -> Callable[[dict[str, torch.Tensor]], Any]:
    return lambda tensors: tensors.update({name: tensors[name] * 1.5 + 0.1})


def flip(at: float) -> Callable[[bytes], bytes]:
    """Another bit at this share of a file."""

    def edit(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[int(at * (len(data) - 1))] ^= 1
        return bytes(changed)

    return edit


RAW: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "the first head": ("received.bin", flip(0), r"step 0: what was kept in received\.bin is not what the auditor sent"),
    "a frame": ("received.bin", flip(0.2), r"replay: .*: what was kept in received\.bin is not what the auditor sent"),
    "a sealed frame": ("received.bin", flip(0.9), r"the sealed phase: what was kept in received\.bin is not what"),
    "frames cut": ("received.bin", lambda data: data[: len(data) // 2], r"received\.bin ends too early"),
    "a block": ("blocks.bin", flip(0.5), r"blocks\.bin does not hold the blocks that the dealer has signed"),
    "the last block": ("blocks.bin", flip(1), r"blocks\.bin does not hold the blocks"),
    "blocks cut": ("blocks.bin", lambda data: data[:-8], r"blocks\.bin ends too early"),
    "more blocks": ("blocks.bin", lambda data: data + b"x", r"blocks\.bin holds more than the run has"),
    "no frames": ("received.bin", lambda data: b"", r"received\.bin ends too early"),
    "features": ("features.bin", lambda data: bytes(len(data)), "step 0: the features that went into the head are not"),
    "no number": ("features.bin", lambda data: b"\xff" * len(data), "step 0: the features that went into the head"),
    "features cut": ("features.bin", lambda data: data[:-8], r"features\.bin ends too early"),
    "more features": ("features.bin", lambda data: data + b"x", r"features\.bin holds more than the run has"),
    "another seed": ("seed", lambda data: b"00" * 32, "is not the one that the dealer gave"),
    "no seed": ("seed", lambda data: b"seed", "is not a seed"),
}


@pytest.mark.parametrize("name", RAW)
def test_a_changed_frame_or_block_is_found(name: str, folder: Path) -> None:
    file, edit, said = RAW[name]
    path = folder / FOLDER / file
    path.write_bytes(edit(path.read_bytes()))
    refused(folder, said)


@pytest.mark.parametrize("coin", ["00" * 32, "", "zz" * 32])
def test_a_changed_coin_is_found(coin: str, folder: Path) -> None:
    (folder / COIN).write_text(coin)
    refused(folder, "the coin was changed|replay: .*|does not hold a coin")


@pytest.mark.parametrize("file", ["received.bin", "blocks.bin", "features.bin", "seed", "state-3.safetensors"])
def test_a_missing_file_is_found(file: str, folder: Path) -> None:
    (folder / FOLDER / file).unlink()
    refused(folder, rf"cannot (be )?read.*|{file} cannot be read")
    (folder / FOLDER / file).mkdir()
    refused(folder, "is not a file")


TAMPERED: dict[str, tuple[str, Callable[[dict[str, torch.Tensor]], Any], str]] = {
    "the first classifier": ("state-1", nudge("backbone.features.standardise.running_mean"), "of epoch 1 is not"),
    "the soft labels": ("state-3", nudge("soft_labels"), "of epoch 3 is not"),
    "no state": ("state-5", lambda tensors: tensors.clear(), "of epoch 5 is not"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_changed_state_is_found(name: str, folder: Path) -> None:
    file, edit, said = TAMPERED[name]
    change(folder / FOLDER / f"{file}.safetensors", edit)
    refused(folder, f"what was kept for the checkpoint {said} what the log names")


def test_the_number_of_threads_is_that_of_the_run(folder: Path) -> None:
    torch.set_num_threads(2)
    try:
        assert replay(folder, None, 0, 5).exact
        assert torch.get_num_threads() == 2
        for text in ("0", "-1", "x", "1" * 15, "9999"):
            (folder / FOLDER / "threads").write_text(text)
            refused(folder, "threads does not hold a number of threads")
    finally:
        torch.set_num_threads(1)


def test_what_was_kept_is_for_the_owner_alone(kept: Path) -> None:
    files = [*(kept / FOLDER).iterdir(), kept / COIN, kept.parent / "auditor" / COIN]
    assert {file.name for file in files} >= {"seed", "received.bin", "blocks.bin", "features.bin", "threads", "coin"}
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert (kept / COIN).read_text() == (kept.parent / "auditor" / COIN).read_text()
    assert not list((kept / FOLDER).glob("gradients-*"))


def test_a_plaintext_head_on_the_same_features_comes_to_the_same(tmp_path: Path) -> None:
    """With sealed epochs: from the head that was drawn for them, on the rows that the coin chose."""
    kept = run_of(tmp_path, *TEACHER, "training.sealed_epochs=6", *FASTER).folders["developer"]
    found = agreement.compare(kept.parent / "auditor", kept, None)
    assert found.moved < 0.05
    assert found.scores < 0.005
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agreement, "sealed_rows", lambda experiment, coin: sealed_rows(experiment, bytes(32)))
        other = agreement.compare(kept.parent / "auditor", kept, None)
    print(found, other)
    assert other.moved > 2 * found.moved


GRADIENTS: dict[str, tuple[str, Callable[[dict[str, torch.Tensor]], Any], str]] = {
    "a gradient": ("gradients-3", nudge("gradients"), "what was kept for the checkpoint of epoch 3 is not"),
    "the last gradients": ("gradients-7", nudge("gradients"), "what was kept for the end is not"),
    "a gradient left out": (
        "gradients-5",
        lambda tensors: tensors.update(gradients=tensors["gradients"][1:].contiguous()),
        "what was kept for the checkpoint of epoch 5 is not",
    ),
    "no gradients": ("gradients-3", lambda tensors: tensors.clear(), "of epoch 3 is not"),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_a_changed_gradient_is_found(name: str, with_gradients: Path, tmp_path: Path) -> None:
    shutil.copytree(with_gradients, tmp_path / "developer")
    file, edit, said = GRADIENTS[name]
    change(tmp_path / "developer" / FOLDER / f"{file}.safetensors", edit)
    refused(tmp_path / "developer", said)


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_damaged_file_is_found(damage: str, with_gradients: Path, tmp_path: Path) -> None:
    shutil.copytree(with_gradients, tmp_path / "developer")
    file = tmp_path / "developer" / FOLDER / "gradients-3.safetensors"
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:100])
    refused(tmp_path / "developer", r"gradients-3\.safetensors cannot be read", 0, 5)


def test_where_gradients_are_kept_they_are_the_developers_word(with_gradients: Path) -> None:
    found = replay(with_gradients, None, 0, 19)
    assert found.exact
    assert not found.frames_matched
    assert found.assumes == "the gradients that the developer kept are those of the auditor's head"
    assert agreement.compare(with_gradients.parent / "auditor", with_gradients, None).scores < 0.005


def test_of_a_log_of_version_1_the_first_state_is_its_word_too(
    with_gradients: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "version_of", lambda found: 1)
    found = replay(with_gradients, None, 0, 19)
    assert found.exact
    assert not found.frames_matched
    assert "soft labels at the checkpoint of epoch 1 came about as they should have; the gr" in str(found.assumes)


def test_other_gradients_do_not_lead_to_the_logged_classifier(
    with_gradients: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the developer had told of other gradients from the start: digests fit, the classifier does not."""
    honest = replaying.gradients_before
    monkeypatch.setattr(replaying, "gradients_before", lambda *args: honest(*args) * -1)
    refused(with_gradients, "the checkpoint of epoch 3 does not follow", 0, 5)


@pytest.mark.parametrize(("first", "said"), [(0, "epoch 1 does not follow"), (9, "step 8: the features that went in")])
def test_another_order_of_images_does_not(first: int, said: str, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from amint_mpc.amint import trainer

    honest = trainer.epoch_orders
    monkeypatch.setattr(trainer, "epoch_orders", lambda ex: ((m[::-1].copy(), e[::-1].copy()) for m, e in honest(ex)))
    refused(kept, said, first, first)


def test_small_differences_are_told_and_large_ones_refused(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As another machine rounds. (Not by other gradients: whether a unit then crosses zero is chance, and shows.)"""
    honest = Classifier.weights

    def off_by(share: float) -> None:
        def weights(self: Classifier) -> dict[str, Tensor]:
            return {
                name: value * (1 + share) if value.is_floating_point() else value
                for name, value in honest(self).items()
            }

        monkeypatch.setattr(Classifier, "weights", weights)

    off_by(replaying.TOLERANCE / 10)
    found = replay(kept, None, 0, 5)
    assert not found.exact
    assert 0 < found.difference <= replaying.TOLERANCE
    off_by(replaying.TOLERANCE * 10)
    refused(kept, "does not follow", 0, 5)


def test_features_that_differ_in_their_last_bits_are_told(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As another machine rounds. The head is given what it was given, so that its frames match all the same."""
    honest = Classifier.tapped

    def off_by(share: float) -> None:
        def tapped(self: Classifier, pixels: Tensor) -> tuple[Tensor, Tensor]:
            features, second = honest(self, pixels)
            return features + (features * share).detach(), second

        monkeypatch.setattr(Classifier, "tapped", tapped)

    off_by(replaying.TOLERANCE / 100)
    found = replay(kept, None, 0, 5)
    assert found.frames_matched
    assert not found.exact
    assert 0 < found.difference <= replaying.TOLERANCE
    off_by(replaying.TOLERANCE * 10)
    refused(kept, "step 0: the features that went into the head are not the classifier's", 0, 5)


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
    assert "The gradients come out of the frames that both parties signed." in told.output
    assert "What this leaves to be believed: the classifier, Adam's state" in " ".join(told.output.split())
    told = CliRunner().invoke(main, ["replay", str(kept), "--json"])
    record = json.loads(told.stdout.splitlines()[-1])
    assert (record["steps"], record["frames_matched"], record["assumes"]) == ([0, 19], True, None)
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
