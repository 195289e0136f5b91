"""Where files are looked for, what a user is told to put where, and what a broken download leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from amint_mpc.config import list_experiments, load_experiment
from amint_mpc.data import DATASETS
from amint_mpc.errors import DataError
from amint_mpc.host.checks import examine
from tests.data.written_sets import gtsrb

FILED = sorted(set(DATASETS) - {"mnist-5k"})
TO_DOWNLOAD = {"mnist", "fashion-mnist", "gtsrb"}


@pytest.mark.parametrize("name", FILED)
def test_doctor_says_what_to_put_where(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The experiment's numbers do not matter here; its dataset does."""
    monkeypatch.chdir(tmp_path)
    experiment, party = tmp_path / "e.yaml", tmp_path / "party.yaml"
    experiment.write_text(f"data: {{dataset: {name}}}\n")
    for settings, folder in (("", None), ("data: images\n", tmp_path / "images")):
        party.write_text("role: developer\n" + settings)
        found = next(check for check in examine("developer", str(experiment), party) if check.what == "developer data")
        if folder is not None and name in TO_DOWNLOAD:
            assert found.ok
            assert found.found == f"{name} would be downloaded into {folder}"
        else:
            assert not found.ok
            assert DATASETS[name].layout in found.do
            assert (str(folder) if folder else "needs a data folder") in found.found
    assert not (tmp_path / "images").exists()


def test_doctor_reads_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    gtsrb(tmp_path / "images/gtsrb")
    (tmp_path / "party.yaml").write_text("role: developer\ndata: images\n")
    (tmp_path / "e.yaml").write_text(
        "data: {dataset: gtsrb, members: 20, external: 20, unseen: 6}\ntraining: {batch: 4}\n"
    )

    def found() -> tuple[bool, str]:
        checks = examine("developer", "e.yaml", None)
        return next((check.ok, check.found) for check in checks if check.what == "developer data")

    assert found() == (True, "gtsrb, 46 images, 46 needed")
    damaged = tmp_path / "images/gtsrb/GTSRB/Training/00003/00000_00000.ppm"
    damaged.write_text("damaged")
    assert not found()[0]
    assert str(damaged) in found()[1]


def test_a_download_arrives_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    def half(root: Path, split: str, download: bool) -> None:
        assert download
        gtsrb(root / "gtsrb")
        raise RuntimeError("File not found or corrupted.")

    def whole(root: Path, split: str, download: bool) -> None:
        if split == "test":
            gtsrb(root / "gtsrb")

    root = tmp_path / "new"
    monkeypatch.setattr(datasets, "GTSRB", half)
    with pytest.raises(DataError, match="cannot be downloaded: File not found or corrupted") as raised:
        DATASETS["gtsrb"].read(root)
    assert "GT-final_test.csv" in raised.value.hint
    assert list(root.iterdir()) == []

    monkeypatch.setattr(datasets, "GTSRB", whole)
    told: list[str] = []
    assert len(DATASETS["gtsrb"].read(root, told.append).labels) == 46
    assert told == [f"downloading gtsrb into {root}"]
    assert [path.name for path in root.iterdir()] == ["gtsrb"]


# The sizes of each split in the paper (arXiv 2509.07879): members, external, unseen.
PAPER = {
    "paper-mnist": ("mnist", 25_000, 35_000, 10_000),
    "paper-cifar10": ("cifar-10", 20_000, 30_000, 10_000),
    "paper-gtsrb": ("gtsrb", 11_000, 15_600, 12_600),
    "paper-tiny-imagenet": ("tiny-imagenet", 40_000, 60_000, 10_000),
}


def test_the_papers_experiments_have_its_numbers_and_its_method() -> None:
    assert {name for name in list_experiments() if name.startswith("paper-")} == set(PAPER)
    for name, sizes in PAPER.items():
        found = load_experiment(name)
        assert (found.data.dataset, found.data.members, found.data.external, found.data.unseen) == sizes
        assert found.data.dataset in DATASETS
        assert found.method == "amint"
        assert (found.training.learning_rate, found.training.batch) == (1e-4, 64)
        assert 50 <= found.training.epochs <= 100
        assert found.training.warmup_epochs == 0
        first, second = list_experiments()[name].read_text().splitlines()[:2]
        assert first == f"# amint-mpc train --config {name} --data FOLDER"
        assert "Not run here" in second
