"""One small secure run, logged by both parties, for all tests of this folder."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.evidence.bundles import Bundle, logged_run
from tests.roles.memory_runs import Secure


@pytest.fixture(scope="session")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Secure:
    torch.set_num_threads(1)
    return logged_run(tmp_path_factory.mktemp("logged"))


@pytest.fixture(scope="session")
def folders(logged: Secure) -> dict[str, Bundle]:
    """The run folders of both; not to be changed."""
    keys = logged.folders["developer"].parent / "keys"
    return {role: Bundle(path, keys) for role, path in logged.folders.items()}


@pytest.fixture
def bundle(folders: dict[str, Bundle], tmp_path: Path) -> Iterator[Bundle]:
    """The auditor's folder, to be changed."""
    yield folders["auditor"].copy(tmp_path / "auditor")
    shutil.rmtree(tmp_path / "auditor")
