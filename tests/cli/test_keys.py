"""`amint-mpc keys local`: all three roles on one machine, for trials."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from amint_mpc import identity
from amint_mpc.cli import main
from amint_mpc.config import ROLES


def test_every_role_trusts_the_others_and_nothing_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["keys", "local"]).exit_code == 0
    for role in ROLES:
        folder = tmp_path / "parties" / role / "keys"
        assert stat.S_IMODE((folder / f"{role}.key").stat().st_mode) == 0o600
        for peer in set(ROLES) - {role}:
            own = identity.load(tmp_path / "parties" / peer / "keys", peer)
            assert identity.fingerprint(identity.trusted(folder, peer)) == own.fingerprint
    before = (tmp_path / "parties/auditor/keys/auditor.key").read_bytes()
    assert CliRunner().invoke(main, ["keys", "local"]).exit_code == 2
    assert (tmp_path / "parties/auditor/keys/auditor.key").read_bytes() == before
