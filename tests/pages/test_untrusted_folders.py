"""A folder may come from another party: nothing in it becomes markup, and what does not fit is one clear error."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from amint_mpc.cli import main
from amint_mpc.errors import AmintError
from amint_mpc.pages import files, page
from amint_mpc.pages.page import make, write
from tests.pages.made_runs import SMOKE, comparison, made_run

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u202e{{ 7 * 7 }}$\\frac{1}{0}$"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder without fault."""
    return made_run(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def path(tmp_path: Path, sound: Path) -> Path:
    """A copy of it, to be spoiled."""
    return Path(shutil.copytree(sound, tmp_path / "run"))


def change(path: Path, **values: object) -> None:
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, **values}))


def test_text_from_a_folder_is_never_markup(tmp_path: Path) -> None:
    data = SMOKE.data.model_copy(update={"dataset": EVIL})
    model = SMOKE.model.model_copy(update={"backbone": EVIL})
    path = made_run(tmp_path, experiment=SMOKE.model_copy(update={"data": data, "model": model}), duplicates={EVIL: 1})
    change(path / "versions.json", **{EVIL: EVIL})
    change(
        path / "summary.json", figures={**json.loads((path / "summary.json").read_text())["figures"], EVIL: figure()}
    )
    text = make(path, comparison(tmp_path / "c.json", title=EVIL))
    assert "<script" not in text
    assert "<img" not in text
    assert "\u202e" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "{{ 7 * 7 }}" in text


def figure() -> dict[str, float]:
    return {"value": 0.5, "low": 0.4, "high": 0.6}


def _deep(path: Path) -> None:
    (path / "summary.json").write_text("[" * 100_000)


def _link(path: Path) -> None:
    (path / "summary.json").rename(path / "real")
    (path / "summary.json").symlink_to(path / "real")


def _pipe(path: Path) -> None:
    (path / "metrics.jsonl").unlink()
    os.mkfifo(path / "metrics.jsonl")


def _pickled(path: Path) -> None:
    (path / "scores.safetensors").write_bytes(pickle.dumps({"members_report": [1.0]}))


def _other_counts(path: Path) -> None:
    meta = {"experiment": json.loads((path / "summary.json").read_text())["digest"]}
    save_file({"members_report": torch.ones(3, dtype=torch.float64)}, path / "scores.safetensors", meta)


def _other_scores(path: Path) -> None:
    made = made_run(path.parent / "other", apart=0.2)
    (made / "scores.safetensors").replace(path / "scores.safetensors")


def _cut(name: str) -> Callable[[Path], None]:
    return lambda path: (path / name).write_bytes((path / name).read_bytes()[:-20])


def _long(name: str, size: int) -> Callable[[Path], None]:
    return lambda path: os.truncate(path / name, size)


def _setting(key: str, value: str) -> Callable[[Path], None]:
    def do(path: Path) -> None:
        text = (path / "experiment.yaml").read_text()
        (path / "experiment.yaml").write_text(text + f"{key}: {value}\n")

    return do


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "no summary": (lambda path: (path / "summary.json").unlink(), "was cut short"),
    "half a summary": (_cut("summary.json"), "is no JSON"),
    "deep JSON": (_deep, "is no JSON"),
    "a list": (lambda path: (path / "summary.json").write_text("[]"), "damaged"),
    "NaN": (lambda path: (path / "summary.json").write_text('{"seconds": NaN}'), "is no JSON"),
    "a huge summary": (_long("summary.json", files.MAX_RECORD_BYTES + 1), "longer than"),
    "a link": (_link, "was cut short"),
    "text for a number": (lambda path: change(path / "summary.json", seconds="1"), "seconds"),
    "a share of 2": (lambda path: change(path / "summary.json", threshold=2.0), "threshold"),
    "another digest": (lambda path: change(path / "summary.json", digest="0" * 64), "another experiment"),
    "a newer version": (lambda path: change(path / "versions.json", **{"amint-mpc": "99.1.0"}), r"amint-mpc 99\.1\.0"),
    "no versions": (lambda path: (path / "versions.json").unlink(), "holds no run"),
    "an unknown setting": (_setting("quantum", "1"), "quantum is not a known key"),
    "no YAML": (_setting("a", "!!python/object:os.system {}"), "experiment.yaml"),
    "a huge experiment": (_long("experiment.yaml", 10**6), "longer than"),
    "no scores": (lambda path: (path / "scores.safetensors").unlink(), "missing"),
    "half the scores": (_cut("scores.safetensors"), "scores.safetensors is damaged"),
    "huge scores": (_long("scores.safetensors", 2**27), "too large"),
    "pickled scores": (_pickled, "scores.safetensors is damaged"),
    "other counts": (_other_counts, "scores"),
    "other scores": (_other_scores, "do not give the figures"),
    "no metrics": (lambda path: (path / "metrics.jsonl").unlink(), "missing"),
    "a pipe": (_pipe, "no regular file"),
    "half the metrics": (_cut("metrics.jsonl"), "is no JSON"),
    "a line without end": (_long("metrics.jsonl", 2**20), "too long"),
    "a wrong event": (
        lambda path: (path / "metrics.jsonl").write_text('{"event": "step"}\n'),
        "a line is not an event",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_folder_that_does_not_fit_is_one_clear_error(path: Path, case: str) -> None:
    spoil, match = BAD[case]
    spoil(path)
    before = sorted(path.iterdir())
    with pytest.raises(AmintError, match=match) as caught:
        make(path)
    assert caught.value.hint
    result = CliRunner().invoke(main, ["report", str(path)])
    assert result.exit_code == caught.value.exit_code in (2, 5)
    assert result.stderr.startswith("error: ")
    assert sorted(path.iterdir()) == before  # no page, nor a part of one


@pytest.mark.parametrize(
    ("change_", "match"),
    [
        ({"detectors": [{"name": "x", "title": "x", "on": "moon", "figures": {}}]}, "on"),
        ({"price": [{}] * 201}, "price"),
        ({"classifiers": {"joint": {"task_accuracy": {"value": 0.5, "low": 0.9, "high": 0.1}}}}, "interval"),
    ],
)
def test_a_comparison_that_does_not_fit_is_refused(
    tmp_path: Path, sound: Path, change_: dict[str, object], match: str
) -> None:
    with pytest.raises(AmintError, match=match):
        make(sound, comparison(tmp_path / "c.json", **change_))


def test_metrics_have_a_bound(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_METRICS_BYTES", 500)
    with pytest.raises(AmintError, match="too long"):
        make(sound)


def test_a_file_is_replaced_only_with_force(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "make", lambda *_: "<html></html>")  # what it says is of no matter here

    def report(*options: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["report", str(path), *options])
        return result.exit_code, result.output

    assert report() == (0, f"page: {path / 'report.html'}\n")
    assert report()[0] == 2
    (path / "report.html").write_text("mine")
    assert "exists already" in report()[1]
    assert (path / "report.html").read_text() == "mine"
    assert report("--force")[0] == 0
    assert "</html>" in (path / "report.html").read_text()
    assert json.loads(report("--out", str(tmp_path / "b.html"), "--json")[1]) == {"page": str(tmp_path / "b.html")}
    assert report("--out", str(tmp_path / "absent" / "b.html"))[0] == 2
    assert report("--out", str(tmp_path))[0] == 2


def test_a_link_in_the_folder_is_not_written_through(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "make", lambda *_: "<html></html>")
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for name in ("report.html", "report.html.part"):
        (path / name).symlink_to(victim)
    assert CliRunner().invoke(main, ["report", str(path)]).exit_code == 2
    assert CliRunner().invoke(main, ["report", str(path), "--force"]).exit_code == 0
    assert victim.read_text() == "mine"


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        write("\ud800", tmp_path / "page.html", force=False)
    assert not list(tmp_path.iterdir())
