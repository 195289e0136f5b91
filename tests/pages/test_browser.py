"""The pages in a real browser: widths of a telephone and of a desk, light and dark, paper, and no word to anybody."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from amint_mpc.pages.page import make
from tests.pages.made_runs import comparison, made_demo
from tests.pages.test_study_page import rows, study

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")

# Loads each page at each width, and says what a reader would meet. A page's policy lets no script run in it; this one
# runs outside, in a page that holds it.
PROBE = """<!DOCTYPE html><meta charset="utf-8"><body><pre id="found"></pre>
<script>
const pages = PAGES, found = {};
let left = Object.keys(pages).length * 2;
for (const [name, page] of Object.entries(pages)) for (const width of [375, 1280]) {
  const frame = document.createElement("iframe");
  frame.style.cssText = `width:${width}px;height:900px;border:0`;
  frame.onload = () => {
    const inside = frame.contentDocument, root = inside.documentElement;
    const seen = e => e.getBoundingClientRect(), look = e => frame.contentWindow.getComputedStyle(e);
    found[name + width] = {
      over: root.scrollWidth - width,
      outside: [...inside.querySelectorAll("main *")].filter(
        e => !e.closest(".wide, svg") && seen(e).right > width + 1).length,
      headings: [...inside.querySelectorAll("h1, h2")].map(e => e.textContent),
      charts: [...inside.querySelectorAll("svg.chart")].map(e => Math.round(seen(e).height)),
      paper: look(inside.body).backgroundColor,
      ink: look(inside.body).color,
      bar: look(inside.querySelector('svg.chart [style*="--members"]')).fill,
      smallest: Math.min(...[...inside.querySelectorAll("main p, main td, main figcaption")].map(
        e => parseFloat(look(e).fontSize))),
      requests: frame.contentWindow.performance.getEntriesByType("resource").length,
    };
    if (--left === 0) document.getElementById("found").textContent = JSON.stringify(found);
  };
  frame.srcdoc = page;
  document.body.append(frame);
}
</script>"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = made_demo(tmp_path_factory.mktemp("demo"))
    comparison(folder / "comparison.json")
    return {"run": make(folder), "study": make(study(tmp_path_factory.mktemp("study"), rows()))}


def browse(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    assert BROWSER is not None
    quiet = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
    quiet += (
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--enable-logging=stderr",
    )
    command = [BROWSER, *quiet, f"--user-data-dir={folder / 'profile'}", "--timeout=60000", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)


def probe(folder: Path, pages: dict[str, str], *options: str) -> dict[str, Any]:
    """What the probe found, by page and width; nothing may stand on the console."""
    quoted = json.dumps(pages).replace("</", "<\\/")
    (folder / "probe.html").write_text(PROBE.replace("PAGES", quoted))
    done = browse(folder, *options, "--virtual-time-budget=20000", "--dump-dom", (folder / "probe.html").as_uri())
    assert "CONSOLE" not in done.stderr
    text = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.S)
    assert text is not None
    found: dict[str, Any] = json.loads(html.unescape(text[1]))
    return found


def test_pages_fit_are_complete_and_ask_for_nothing(tmp_path: Path, pages: dict[str, str]) -> None:
    found = probe(tmp_path, pages)
    assert set(found) == {"run375", "run1280", "study375", "study1280"}
    for name, seen in found.items():
        assert seen["over"] <= 0, name
        assert seen["outside"] == 0, name
        assert seen["requests"] == 0, name
        assert min(seen["charts"]) > 150, name
        assert seen["smallest"] >= 13, name
    assert found["run375"]["headings"][0] == "Was this image trained on?"
    assert "What this does not say" in found["run375"]["headings"]
    assert len(found["run1280"]["charts"]) == 6


def test_dark_is_dark_and_figures_with_it(tmp_path: Path, pages: dict[str, str]) -> None:
    light = probe(tmp_path, pages, "--blink-settings=preferredColorScheme=1")["run1280"]
    dark = probe(tmp_path, pages, "--blink-settings=preferredColorScheme=0")["run1280"]
    assert _brightness(light["paper"]) > 230 > 100 > _brightness(light["ink"])
    assert _brightness(dark["paper"]) < 60 < 180 < _brightness(dark["ink"])
    assert light["bar"] != dark["bar"]


def test_a_page_opens_as_a_file_and_prints(tmp_path: Path, pages: dict[str, str]) -> None:
    page, paper = tmp_path / "page.html", tmp_path / "page.pdf"
    page.write_text(pages["run"])
    done = browse(tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={paper}", page.as_uri())
    assert "CONSOLE" not in done.stderr
    assert paper.read_bytes().startswith(b"%PDF")
    assert paper.stat().st_size > 20_000


def _brightness(colour: str) -> float:
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3
