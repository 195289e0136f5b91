"""The notebook runs from its first cell to its last, in a kernel of its own and an empty folder."""

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"
LIMIT_S = 100
ASK = """
import json
print(json.dumps({
    "rows": len(found),
    "areas": [roc_auc_score(*report_halves(each.scores)) for each in (twin, run)],
    "notes": [twin.note, run.note],
}))
"""


def shown(notebook: Any, source: str) -> str:
    """What the cell with this source shows: its table as HTML, or its text."""
    (cell,) = (cell for cell in notebook.cells if cell.cell_type == "code" and source in cell.source)
    data = [output["data"] for output in cell.outputs if "data" in output]
    return str(data[-1].get("text/html", data[-1]["text/plain"]))


def test_it_is_kept_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)


@pytest.mark.timeout(LIMIT_S + 15)
def test_every_cell_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # threads that wait for a core spin, and other tests may have it
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(ASK))
    NotebookClient(
        notebook, timeout=LIMIT_S, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    found = json.loads(code[-1].outputs[0]["text"])
    assert found["rows"] == 10
    assert all(area > 0.7 for area in found["areas"]), found["areas"]  # about .97
    assert "IN ONE PROCESS" in found["notes"][1]
    assert shown(notebook, "am.audit(").count("<tr>") == 1 + 10
    assert "the evidence holds" in shown(notebook, "am.verify(")
    assert "Nothing was protected" in shown(notebook, "am.run_in_process(")
    assert list(tmp_path.glob("runs/*/report.html"))
