"""The program from an installed wheel, in an empty folder: configs/ and the templates of reports must have come along
as package data, the C kernel where there is a compiler, and the digest of the code must be the checkout's.

`long`, for building a wheel makes pip fetch hatchling into an environment of its own.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from amint_mpc.config import list_experiments, list_studies
from amint_mpc.evidence import software_digests

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_an_installed_wheel_has_the_experiments_and_the_kernel(tmp_path: Path) -> None:
    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=empty,
            env={**os.environ, "PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    empty, site = tmp_path / "empty", tmp_path / "site"
    empty.mkdir()
    run("-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT))
    (wheel,) = tmp_path.glob("*.whl")
    run("-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel))
    assert run("-c", "import amint_mpc; print(amint_mpc.__file__)").startswith(str(site))
    if shutil.which("cc"):
        run("-c", "from amint_mpc.mpc.ring import native; assert native.USED")
    listed = run("-m", "amint_mpc", "config", "list")
    experiments, studies = listed.split("Studies", 1)
    assert [line.split()[0] for line in experiments.splitlines() if line] == list(list_experiments())
    assert [line.split()[0] for line in studies.splitlines()[1:]] == list(list_studies())
    assert json.loads(run("-m", "amint_mpc", "attest", "--json"))["files"] == software_digests.code_files()
    run("-c", "from amint_mpc.study.paper import paper_value; assert paper_value('mnist', 'vit', 'entry')")
    assert "name: quickstart" in run("-m", "amint_mpc", "config", "show")
    run("-m", "amint_mpc", "train", "--config", "smoke", "--name", "installed", "--json")
    assert (empty / "runs" / "installed" / "summary.json").is_file()
    run("-m", "amint_mpc", "report", "runs/installed")
    assert "</html>" in (empty / "runs" / "installed" / "report.html").read_text()
