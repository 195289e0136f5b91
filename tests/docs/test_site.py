"""The site: it builds without a warning, needs no other host, and says all that is taken from the code."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from amint_mpc.cli import main
from amint_mpc.config import Experiment, Party

pytest.importorskip("mkdocs", reason="the extra docs is not installed")
ROOT = Path(__file__).parents[2]
FROM_ELSEWHERE = re.compile(
    r"<(?:script|link|img|iframe|source)\b[^>]*(?:src|href)=[\"']?(?:https?:)?//|class=\"mermaid"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    # not --quiet: what is not logged, --strict does not count
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_nothing_comes_from_another_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        found = FROM_ELSEWHERE.search(page.read_text(encoding="utf-8"))
        assert found is None, f"{found and found[0]}, in {page.name}"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", sheet.read_text(encoding="utf-8")), sheet.name


def test_every_command_and_every_setting_is_there(site: Path) -> None:
    commands = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    assert all(f"Usage: amint-mpc {name} " in commands for name in main.commands)
    settings = (site / "reference" / "configuration.html").read_text(encoding="utf-8")
    parts = {name: field.annotation for name, field in Experiment.model_fields.items() if name not in ("name", "seed")}
    keys = [f"{part}.{key}" for part, model in parts.items() for key in model.model_fields]
    assert all(f"<code>{key}</code>" in settings for key in ["name", "seed", *keys, *Party.model_fields])


def test_docstrings_are_laid_out(site: Path) -> None:
    engine = (site / "reference" / "engine.html").read_text(encoding="utf-8")
    assert "<p><strong>Guarantees</strong></p>\n<ul>\n<li>exact: for -2^62" in engine  # protocols.truncate
    assert "<p><strong>Steps</strong></p>\n<ol>\n<li>open c = W - R" in engine  # protocols.linear
    assert "<td><code>shared_head.py</code></td>" in engine  # mpc
