"""The logged run of the evidence tests, and runs that can be done again, for what follows a run."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.afterwards.kept_runs import TEACHER, run_of, without_frames
from tests.afterwards.pair import Pair
from tests.evidence.bundles import Bundle
from tests.evidence.conftest import folders, logged

__all__ = ["folders", "logged", "pair"]


@pytest.fixture
def pair(folders: dict[str, Bundle], tmp_path: Path) -> Pair:
    return Pair(folders, tmp_path)


@pytest.fixture(scope="package")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of(tmp_path_factory.mktemp("kept"), *TEACHER).folders["developer"]


@pytest.fixture
def folder(kept: Path, tmp_path: Path) -> Path:
    shutil.copytree(kept, tmp_path / "developer")
    return tmp_path / "developer"


@pytest.fixture(scope="package")
def gradients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with without_frames():
        return run_of(tmp_path_factory.mktemp("gradients"), *TEACHER).folders["developer"]


@pytest.fixture
def with_gradients(gradients: Path) -> Iterator[Path]:
    with without_frames():
        yield gradients
