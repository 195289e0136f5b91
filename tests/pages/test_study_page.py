"""The page about a study, from study.csv as a study writes it."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from amint_mpc.errors import AmintError
from amint_mpc.pages.page import make
from amint_mpc.pages.study import MAX_CSV_BYTES, Row
from amint_mpc.study.rows import to_csv
from tests.pages.made_runs import plain


def rows(method: str = "amint", **changes: Any) -> list[dict[str, Any]]:
    """Two backbones, two taps, two seeds."""
    return [
        {
            **{"backbone": backbone, "variant": taps, "taps": taps, "dataset": "mnist-5k", "mint_weight": 1.0},
            **{"head_input": "pooled", "mode": "plaintext", "method": method, "seed": seed, "status": "done"},
            **{
                "mint_accuracy_calibrated": 0.90 + seed / 100,
                "mint_accuracy_at_half": 0.8,
                "mint_auc": 0.95,
                "seconds": 60.0,
            },
            **{"task_accuracy": 0.9, "task_accuracy_without_mint": 0.925, "run": f"runs/{backbone}-{taps}-s{seed}"},
            **changes,
        }
        for backbone in ("resnet50", "mobilenet")
        for taps in ("entry", "middle")
        for seed in (1, 2)
    ]


def study(folder: Path, found: list[dict[str, Any]], **about: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "study.csv").write_text(to_csv([Row.model_validate(row) for row in found]))
    value = {
        "dataset": "mnist-5k",
        "backbone": "resnet50",
        "taps": "entry",
        "mint_accuracy_at_half": 0.83,
        "task_accuracy": 0.97,
    }
    paper = {"source": "arXiv 2509.07879", "threshold": 0.5, "values": [value]}
    record = {"name": "tiny", "title": "Tiny", "command": "amint-mpc study --config tiny", "paper": paper, **about}
    (folder / "study.json").write_text(json.dumps(record))
    return folder


def words(page: str) -> str:
    return plain(unescape(re.sub(r"<[^>]*>", " ", page.split("</style>")[1])))


def test_means_spreads_price_and_the_papers_value(tmp_path: Path) -> None:
    page = make(study(tmp_path, rows()))
    text = words(page)
    assert "Tiny" in text
    assert "8 runs (8 done), 2 seeds" in text
    assert re.search(r"resnet50 entry 91\.5 ± 0\.7 0\.950 ± 0\.000 80\.0 ± 0\.0 83 90\.0 ± 0\.0 97 92\.5", text)
    assert re.search(r"mobilenet entry 91\.5 ± 0\.7 0\.950 ± 0\.000 80\.0 ± 0\.0 - 90\.0 ± 0\.0 - 92\.5", text)
    assert "2.5 ± 0.0" in text  # the price
    assert "Fewer than five seeds are no ground for a comparison" in text
    assert page.count('class="chart"') == 2  # one a backbone


def test_the_paper_stands_beside_its_own_method_alone(tmp_path: Path) -> None:
    text = words(make(study(tmp_path / "kd", rows("amint-kd"))))
    assert "amint-kd" in text
    assert "2509.07879" not in text


def test_missing_values_and_unknown_columns_are_left_out(tmp_path: Path) -> None:
    path = study(tmp_path, rows())
    (path / "study.json").unlink()
    lines = [
        "backbone,status,task_accuracy,colour,seed",
        "vit,done,0.5,blue,1",
        "vit,pending,,,2",
        "vit,done,0.7,red,3",
    ]
    (path / "study.csv").write_text("\n".join(lines))
    text = words(make(path))
    assert "3 runs (2 done, 1 pending)" in text
    assert "vit 60.0 ± 14.1 2" in text
    assert "blue" not in text


def test_failed_runs_are_told_and_an_empty_study_is_a_page(tmp_path: Path) -> None:
    failed = rows(status="failed", message="out of <b>memory</b>", task_accuracy=None)
    page = make(study(tmp_path, failed))
    assert "8 runs failed." in words(page)
    assert "out of &lt;b&gt;memory&lt;/b&gt;" in page
    assert "No run has finished yet" in words(page)


def test_a_baseline_stands_in_a_section_of_its_own(tmp_path: Path) -> None:
    alone = {"backbone": "resnet50", "variant": "task-alone", "dataset": "mnist-5k", "mode": "plaintext"}
    alone |= {"method": "task", "seed": 1, "status": "done", "task_accuracy": 0.93}
    text = words(make(study(tmp_path, [alone, *rows()])))
    assert text.index("method amint") < text.index("method task, no membership head")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("backbone,status,task_accuracy\nvit,done,2\n", "row 1, column task_accuracy"),
        ("backbone,status,task_accuracy\nvit,done,nan\n", "row 1, column task_accuracy"),
        ("backbone,status,seed\nvit,done,1e99\n", "row 1, column seed"),
        ("nothing,of,this\n1,2,3\n", "not a table of runs"),
        ("status\n" + "done\n" * 20_001, "not a table of runs"),
        ("status,backbone\ndone," + "x" * 400 + "\n", "column backbone"),
        ("status,backbone\ndone," + "x" * 200_000 + "\n", "no CSV"),
        ("status\n" + "x" * MAX_CSV_BYTES, "longer than"),
        ("", "not a table of runs"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, text: str, match: str) -> None:
    path = study(tmp_path, rows())
    (path / "study.csv").write_text(text)
    with pytest.raises(AmintError, match=match):
        make(path)


def test_a_study_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AmintError, match=r"amint-mpc 99\.0"):
        make(study(tmp_path, rows(), versions={"amint-mpc": "99.0"}))


def test_names_in_a_study_are_never_markup(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    page = make(study(tmp_path, rows(backbone=evil, dataset=evil, taps=evil, mode=evil), title=evil, command=evil))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
