"""A study's folder: what counts as done, what is moved aside, and who may run in it."""

import json
from pathlib import Path

import pytest

from amint_mpc.errors import DataError, UsageError
from amint_mpc.study import rows
from amint_mpc.study.folder import StudyFolder
from amint_mpc.study.results import rebuild
from tests.study.studies import finish, plan_of


def test_done_is_a_summary_of_the_very_settings(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "out")
    (cell,) = plan_of(tmp_path, grid={"model.taps": ["entry"]}).cells
    (other,) = plan_of(tmp_path, grid={"model.taps": ["entry"]}, set={"training.epochs": 7}).cells
    assert cell.name == other.name
    assert folder.summary(cell) is None
    finish(folder, cell, 0.8, 0.9)
    assert folder.summary(cell) is not None
    assert folder.summary(other) is None
    old = (folder.run(cell) / "summary.json").read_text().replace("mint_accuracy_calibrated", "mint_accuracy")
    (folder.run(cell) / "summary.json").write_text(old)  # of a version in which two quantities had this name
    assert rows._figures(folder.summary(cell))["mint_accuracy_calibrated"] == 0.9
    (folder.run(cell) / "summary.json").write_text('{"digest": "')
    assert folder.summary(cell) is None
    (folder.run(cell) / "summary.json").write_text("[]")
    assert folder.summary(cell) is None


def test_what_lies_in_the_way_is_kept_aside(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "out")
    (cell,) = plan_of(tmp_path, grid={"model.taps": ["entry"]}).cells
    assert folder.clear(cell) is None
    for number in (1, 2):
        folder.run(cell).mkdir(parents=True)
        (folder.run(cell) / "log.txt").write_text(str(number))
        assert folder.clear(cell) == tmp_path / f"out/aside/entry-s1-{number}"
        assert not folder.run(cell).exists()
    assert (tmp_path / "out/aside/entry-s1-1/log.txt").read_text() == "1"


def test_a_failure_is_known_until_its_settings_change(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "out")
    (cell,) = plan_of(tmp_path, grid={"model.taps": ["entry"]}).cells
    folder.fail(cell, DataError("no images", "buy some"))
    failure = folder.failure(cell)
    assert failure is not None
    assert (failure.message, failure.hint, failure.code) == ("no images", "buy some", 5)
    assert folder.failure(plan_of(tmp_path, grid={"model.taps": ["entry"]}, set={}).cells[0]) is None


def test_one_study_one_process_one_folder(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, grid={"model.taps": ["entry"]})
    folder = StudyFolder(tmp_path / "out")
    with folder.locked(plan):
        rebuild(plan, folder, "amint-mpc study")
        with pytest.raises(UsageError, match="another process"), StudyFolder(tmp_path / "out").locked(plan):
            pass
    with folder.locked(plan):
        pass
    about = json.loads((tmp_path / "out/study.json").read_text())
    (tmp_path / "out/study.json").write_text(json.dumps({**about, "name": "other"}))
    with pytest.raises(UsageError, match="holds the study other"), folder.locked(plan):
        pass
    (tmp_path / "out/study.json").unlink()
    with pytest.raises(UsageError, match="something else"), folder.locked(plan):
        pass
