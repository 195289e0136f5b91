"""The logged run of the evidence tests, for what follows a run."""

from pathlib import Path

import pytest

from tests.afterwards.pair import Pair
from tests.evidence.bundles import Bundle
from tests.evidence.conftest import folders, logged

__all__ = ["folders", "logged", "pair"]


@pytest.fixture
def pair(folders: dict[str, Bundle], tmp_path: Path) -> Pair:
    return Pair(folders, tmp_path)
