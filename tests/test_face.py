"""`import amint_mpc as am`: its names, and that none of them costs anything before it is used."""

import ast
import inspect
import json
import re
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

import amint_mpc as am
from amint_mpc.config import load_experiment
from amint_mpc.data import load_split
from amint_mpc.errors import AmintError, DataError, UsageError
from amint_mpc.roles.developer import join

NAMES = {"audit", "join", "load_experiment", "load_party", "replaying", "report", "run_in_process", "train", "verify"}
EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL = [
    "security.correlations=dealer",
    "data.members=48",
    "data.external=32",
    "data.unseen=24",
    "training.epochs=1",
    "model.width=2",
    "head.hidden=2",
]


def in_a_process(program: str) -> str:
    """Its stdout; it must print no warning."""
    command = [sys.executable, "-W", "always", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_names_are_these() -> None:
    assert set(am.__all__) == NAMES | {"__version__"}
    assert set(dir(am)) >= NAMES
    assert all(callable(getattr(am, name)) for name in NAMES)
    assert am.join is join
    assert am.load_experiment is load_experiment
    with pytest.raises(AttributeError, match="no attribute 'traim'"):
        _ = am.traim  # type: ignore[attr-defined]


def test_all_of_them_say_what_they_do() -> None:
    for name in NAMES:
        assert inspect.getdoc(getattr(am, name)), name
    assert "out" in inspect.signature(am.report).parameters
    assert "NO PROTECTION" in (am.run_in_process.__doc__ or "")


def test_what_the_examples_import_is_promised() -> None:
    """Whole packages, or names of a module: `x` of `module`."""
    promised = re.sub(r"\s+", " ", am.__doc__ or "")
    promised = promised[promised.index("you can rely on:") : promised.index("Everything else is private")]
    whole = {"amint_mpc.errors", "amint_mpc.models", "amint_mpc.data"}
    texts = [path.read_text() for path in EXAMPLES.glob("*.py")]
    book = json.loads((EXAMPLES / "quickstart.ipynb").read_text())
    texts += ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code"]
    found = [node for text in texts for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in found if (node.module or "").startswith("amint_mpc")]
    assert {node.module for node in ours} > whole
    for node in ours:
        assert f"`{node.module}`" in promised
        assert node.module in whole or all(f"`{name.name}`" in promised for name in node.names), node.module


def test_importing_loads_nothing_and_warns_of_nothing() -> None:
    start = time.perf_counter()
    loaded = in_a_process("import sys, amint_mpc; print(*sys.modules)").split()
    print(f"python with the import: {time.perf_counter() - start:.2f} s")
    assert [name for name in loaded if name.startswith("amint_mpc")] == ["amint_mpc"]
    assert not {"torch", "pydantic", "numpy"} & set(loaded)
    listed = in_a_process(
        "import sys, amint_mpc; dir(amint_mpc); print('torch' in sys.modules, 'pydantic' in sys.modules)"
    )
    assert listed.split() == ["False", "False"]


def test_no_name_is_a_module_of_the_package() -> None:
    for name in NAMES:
        with pytest.raises(ModuleNotFoundError):
            import_module(f"amint_mpc.{name}")


def test_a_twin_is_trained_audited_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    experiment = am.load_experiment("smoke", SMALL)
    told: list[object] = []
    twin = am.train(experiment, device="cpu", on_event=told.append)
    assert capsys.readouterr().out == ""
    assert told
    assert twin.folder.parent == Path("runs")
    assert {len(scores) for scores in twin.scores.values()} == {24, 32, 12}
    assert "mint_auc" in twin._repr_html_()
    assert "in the clear" in twin._repr_html_()

    images = load_split(experiment, None).images("unseen_report")
    found = am.audit(twin, images)
    assert not found.verified
    assert "nothing was verified" in found._repr_html_()
    assert (found.scores - twin.scores["unseen_report"]).abs().max() < 1e-6
    grey = am.audit(str(twin.folder), images[:, 0].numpy())
    assert grey.rows == found.rows

    page = am.report(twin, out="page.html")
    assert page.read_text().count("Trained in the clear")
    with pytest.raises(UsageError, match="exists already"):
        am.report(twin, "page.html")
    assert am.report(twin, "page.html", force=True) == page
    with pytest.raises(UsageError, match="there is no log"):
        am.verify(twin)


def test_two_runs_within_a_second_have_two_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("amint_mpc.runfolder.time.strftime", lambda *_: "now")
    experiment = am.load_experiment("smoke", SMALL)
    folders = [am.train(experiment, device="cpu").folder.name for _ in range(2)]
    assert folders == ["smoke-twin-now", "smoke-twin-now-2"]
    with pytest.raises(UsageError, match="exists already"):
        am.train(experiment, tmp_path / "runs" / "smoke-twin-now")


def test_progress_is_a_line_an_epoch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    am.train(am.load_experiment("smoke", SMALL), tmp_path / "twin", device="cpu", progress=True)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch 1 of 2", "epoch 2 of 2"]


@pytest.mark.parametrize(
    ("cut", "error", "said"),
    [
        (lambda images: images.float(), DataError, "torch.float32"),
        (lambda images: images[:, :, :20], DataError, r"\[12, 1, 20, 28\]"),
        (lambda images: images[:0], DataError, r"\[0, 1, 28, 28\]"),
        (lambda _: "no-such-folder", DataError, "there is no folder"),
    ],
)
def test_images_that_do_not_fit_are_refused(tmp_path: Path, cut: object, error: type[AmintError], said: str) -> None:
    experiment = am.load_experiment("smoke", SMALL)
    twin = am.train(experiment, tmp_path / "twin", device="cpu")
    images = load_split(experiment, None).images("unseen_report")
    with pytest.raises(error, match=said):
        am.audit(twin, cut(images))  # type: ignore[operator]


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no run"):
        am.audit(tmp_path, tmp_path)
    with pytest.raises(UsageError, match="there is no log"):
        am.verify(tmp_path)
