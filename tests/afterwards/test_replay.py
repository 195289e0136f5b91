"""Steps done again: bit for bit where nothing was touched, and what is left to be believed."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from amint_mpc.afterwards import agreement
from amint_mpc.afterwards import replay as replaying
from amint_mpc.afterwards.replay import replay
from amint_mpc.cli import main
from amint_mpc.config import load_experiment
from amint_mpc.errors import UsageError
from amint_mpc.evidence.chain import Walked
from amint_mpc.evidence.files import COIN
from amint_mpc.evidence.verify import verify
from amint_mpc.models.classifier import Classifier
from amint_mpc.models.features import Features
from amint_mpc.roles.plans import sealed_rows
from amint_mpc.runlog.expected import ExpectedEntries
from amint_mpc.runlog.kept_frames import FOLDER
from tests.afterwards.kept_runs import FASTER, TEACHER, refused, run_of


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
    kept = run_of(tmp_path, *TEACHER, "training.sealed_epochs=6", "training.sealed_learning_rate=0.1", *FASTER).folders[
        "developer"
    ]
    found = agreement.compare(kept.parent / "auditor", kept, None)
    assert found.moved < 0.2  # the sigmoid rounds at random, and these are few rows
    assert found.scores < 0.02
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agreement, "sealed_rows", lambda experiment, coin: sealed_rows(experiment, bytes(32)))
        other = agreement.compare(kept.parent / "auditor", kept, None)
    assert other.moved > 1.5 * found.moved


def test_where_gradients_are_kept_they_are_the_developers_word(with_gradients: Path) -> None:
    found = replay(with_gradients, None, 0, 19)
    assert found.exact
    assert not found.frames_matched
    assert found.assumes == "the gradients that the developer kept are those of the auditor's head"
    assert agreement.compare(with_gradients.parent / "auditor", with_gradients, None).scores < 0.005


def test_of_a_log_of_version_1_the_first_state_is_its_word_too(
    with_gradients: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Walked, "version", 1)
    found = replay(with_gradients, None, 0, 19)
    assert found.exact
    assert not found.frames_matched
    assert "soft labels at the checkpoint of epoch 1 came about as they should have; the gr" in str(found.assumes)


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
    honest = Features.forward

    def off_by(share: float) -> None:
        def forward(self: Features, maps: Sequence[Tensor]) -> Tensor:
            features = honest(self, maps)
            return features + (features * share).detach()

        monkeypatch.setattr(Features, "forward", forward)

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
