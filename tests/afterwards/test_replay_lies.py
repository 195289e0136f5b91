"""A developer that lied in the run, and one that changes what it kept: a replay names the place."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc.afterwards import replay as replaying
from amint_mpc.afterwards.replay import replay
from amint_mpc.amint.audit import Audit
from amint_mpc.amint.trainer import Trainer
from amint_mpc.evidence.files import COIN
from amint_mpc.evidence.verify import verify
from amint_mpc.roles import developer
from amint_mpc.roles.secure_head import SecureMintHead
from amint_mpc.runlog.expected import ExpectedEntries
from amint_mpc.runlog.kept_frames import FOLDER
from tests.afterwards.kept_runs import TEACHER, change, flip, nudge, refused, run_of


def test_a_liars_soft_labels_are_found(tmp_path: Path) -> None:
    """Labels of its choice in place of the teacher's answers train on external images with their classes."""
    chosen = torch.eye(10)[torch.arange(48) % 10]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Audit, "_teach", lambda self: setattr(self, "soft_labels", chosen))
        liar = run_of(tmp_path, *TEACHER).folders["developer"]
    verify(liar, ExpectedEntries)
    refused(liar, "the checkpoint of epoch 1 does not follow: the teacher's soft labels")
    assert "soft labels" in str(replay(liar, None, 9, 9).assumes)


def test_soft_labels_that_change_on_the_way_are_found(tmp_path: Path) -> None:
    honest = Trainer.state

    def state(self: Trainer) -> dict[str, Tensor]:
        found = honest(self)
        if "first_task" in found and self.soft_labels is not None:
            self.audit.soft_labels = self.soft_labels.flip(0)
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
        (OtherFeatures, "step 2: (with the features .* sends other|the head cannot do it)"),
        (
            OtherSealed,
            "the sealed phase: (with the features .* sends other|the head cannot do it)",
        ),
        (
            OtherScored,
            "the scoring (of epoch 3|after step 7): (with the features .* sends other|the head cannot do it)",
        ),
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


RAW: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "the first head": (
        "received.bin",
        flip(0),
        r"step 0: (what was kept in received\.bin is not|the head cannot do it)",
    ),
    "a frame": (
        "received.bin",
        flip(0.2),
        r"replay: .*: (what was kept in received\.bin is not|the head cannot do it)",
    ),
    "a sealed frame": (
        "received.bin",
        flip(0.9),
        r"the sealed phase: (what was kept in received\.bin is not|the head cannot do it)",
    ),
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


def test_other_gradients_do_not_lead_to_the_logged_classifier(
    with_gradients: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the developer had told of other gradients from the start: digests fit, the classifier does not."""
    honest = replaying.gradients_before
    monkeypatch.setattr(replaying, "gradients_before", lambda *args: honest(*args) * -1)
    refused(with_gradients, "the checkpoint of epoch 3 does not follow", 0, 5)


@pytest.mark.parametrize(("first", "said"), [(0, "epoch 1 does not follow"), (9, "step 8: the features that went in")])
def test_another_order_of_images_does_not(first: int, said: str, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from amint_mpc.amint import audit

    honest = audit.epoch_orders
    monkeypatch.setattr(audit, "epoch_orders", lambda ex: ((m[::-1].copy(), e[::-1].copy()) for m, e in honest(ex)))
    refused(kept, said, first, first)
