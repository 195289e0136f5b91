"""A place for the parties of one test; at its end no process, port or half-written file is left."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from amint_mpc.config import load_experiment
from tests.roles.party_processes import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """`site("training.epochs=3", connect_timeout_s=5)`: the smoke experiment, changed, and party settings."""
    made: list[Site] = []

    def make(*overrides: str, **party: Any) -> Site:
        made.append(
            Site(
                tmp_path / f"site{len(made)}",
                load_experiment("smoke", ("security.correlations=dealer", *overrides)),
                **party,
            )
        )
        return made[-1]

    try:
        yield make
    finally:
        for each in made:
            each.end()
