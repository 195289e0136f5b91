"""What `doctor` says of the way in which masks are made: whether it works here, and which one suits."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from amint_mpc.cli import main
from amint_mpc.mpc.ring import native


def masks(tmp_path: Path, party: str = "", *overrides: str) -> dict[str, object]:
    """The check of masks at a developer."""
    (tmp_path / "party.yaml").write_text(f"role: developer\n{party}")
    text = "".join(f"{override}\n" for override in overrides)
    (tmp_path / "mine.yaml").write_text(f"name: mine\n{text}")
    command = ["doctor", "--role", "developer", "--party", str(tmp_path / "party.yaml")]
    told = CliRunner().invoke(main, [*command, "--config", str(tmp_path / "mine.yaml"), "--json"])
    (found,) = [check for check in json.loads(told.stdout)["checks"] if check["what"] == "masks"]
    return found


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(native, "best", lambda: "avx2")


def test_two_parties_suit_a_machine_with_a_core_for_each_thread(tmp_path: Path) -> None:
    found = masks(tmp_path, "", "security: {link: wan}")
    assert (found["ok"], found["warning"]) == (True, False)
    assert str(found["found"]).startswith("two-party on a wan, 2 threads on 2 cores, avx2: suits")


@pytest.mark.parametrize("why", ["more threads than cores", "no AVX2"])
def test_a_dealer_suits_a_slow_machine_better(why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if why == "no AVX2":
        monkeypatch.setattr(native, "best", lambda: "portable")
    found = masks(tmp_path, "generator_threads: 3\n" if why == "more threads than cores" else "")
    assert (found["ok"], found["warning"]) == (True, True)
    assert "a dealer suits better" in str(found["do"])


def test_without_the_functions_in_c_two_parties_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amint_mpc.roles.backends.pair.library", lambda: None)
    found = masks(tmp_path)
    assert not found["ok"]
    assert "set security.correlations to dealer" in str(found["do"])


@pytest.mark.parametrize(
    ("head", "said"),
    [("{}", "two-party would do without"), ("{optimizer: novograd}", "head.optimizer novograd needs one")],
)
def test_a_dealer_that_was_agreed_on(head: str, said: str, tmp_path: Path) -> None:
    found = masks(tmp_path, "dealer: {port: 7802}\n", "security: {correlations: dealer}", f"head: {head}")
    assert found["ok"]
    assert str(found["found"]).startswith("dealer: ")
    assert said in str(found["found"])


def test_a_dealer_without_an_address(tmp_path: Path) -> None:
    found = masks(tmp_path, "auditor: {port: 7801}\n", "security: {correlations: dealer}")
    assert not found["ok"]
    assert "no address of a dealer" in str(found["found"])
