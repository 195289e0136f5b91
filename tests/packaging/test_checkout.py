"""A checkout has the same bytes on every machine, whatever its git does with line endings."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from amint_mpc.evidence.software_digests import code_files

ROOT = Path(__file__).parents[2]


def git(*arguments: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True).stdout


def written(to: Path, *settings: str) -> dict[str, str]:
    """The code of the index, as a git with these settings writes it."""
    git(*settings, "checkout-index", "--all", f"--prefix={to}/")
    return code_files(to / "amint_mpc", to / "configs")


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no checkout")
def test_windows_line_endings_are_not_made(tmp_path: Path) -> None:
    plain = written(tmp_path / "plain")
    assert len(plain) > 100
    windows = written(tmp_path / "windows", "-c", "core.autocrlf=true", "-c", "core.eol=crlf")
    assert windows == plain
    assert b"\r\n" not in (tmp_path / "windows" / "README.md").read_bytes()
    unlike = git("ls-files", "--eol").splitlines()
    assert not [line for line in unlike if "i/crlf" in line or "i/mixed" in line]
