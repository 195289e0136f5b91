"""What the page about a run says, read as text, from folders whose right answers are computed here."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from amint_mpc.amint.metrics import best_threshold
from amint_mpc.config import Experiment
from amint_mpc.errors import DataError, UsageError
from amint_mpc.pages.page import make
from amint_mpc.results import Figure
from tests.pages.made_runs import SMOKE, TASK, comparison, made_demo, made_run, plain, scores, without_head

UNSAFE = SMOKE.model_copy(
    update={"security": SMOKE.security.model_copy(update={"correlations": "insecure-embedded-dealer"})}
)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.text.append(data)


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A twin's folder and its page."""
    path = made_run(tmp_path_factory.mktemp("twin"))
    return path, make(path)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A demo's folder, with a comparison in it, and its page."""
    path = made_demo(tmp_path_factory.mktemp("demo"))
    comparison(path / "comparison.json")
    return path, make(path)


def read(page: str) -> _Reader:
    reader = _Reader()
    reader.feed(page)
    reader.close()
    return reader


def words(page: str) -> str:
    """The text of a page, with plain dashes, quotes and spaces."""
    return plain(" ".join(read(page).text))


def sized(**counts: int) -> Experiment:
    return SMOKE.model_copy(update={"data": SMOKE.data.model_copy(update=counts)})


def test_the_answer_comes_first_and_in_words(twin: tuple[Path, str]) -> None:
    text = words(twin[1])
    drawn = scores(SMOKE)
    threshold = best_threshold(drawn["members_calibration"], drawn["unseen_calibration"])
    found = float((drawn["members_report"] >= threshold).double().mean())
    wrong = float((drawn["unseen_report"] >= threshold).double().mean())
    accuracy = f"{50 * (found + 1 - wrong):.1f} %"
    order = [f"gave the right answer for {accuracy} of the images", "A classifier (resnet-mini) learned"]
    places = [text.index(part) for part in (*order, "“Member” means trained on", "How the scores are spread")]
    assert places == sorted(places)
    assert f"{100 * wrong:.0f} of 100 unseen images" in text
    assert f"{100 * found:.0f} of 100 members" in text
    assert f"1 in 100 {100 * found * 0.01 / (found * 0.01 + wrong * 0.99):.0f} of 100" in text
    for honest in (
        "trained on with its class label",
        "never be reported as “not used”",
        "A single score is no proof",
    ):
        assert honest in text


def test_a_head_that_cannot_tell_is_said_to(tmp_path: Path) -> None:
    text = words(make(made_run(tmp_path, apart=0.0)))
    assert "could not be shown to tell" in text
    assert "gave the right answer" not in text


def test_low_false_alarm_rates_only_where_there_are_images_enough(tmp_path: Path, twin: tuple[Path, str]) -> None:
    few = words(twin[1])
    assert "Nothing can be said about 1 % false alarms: one of 32 unseen images is more" in few
    many = words(make(made_run(tmp_path, name="many", experiment=sized(unseen=2000))))
    assert "that rests on 10 unseen images. At 0.1 % false alarms" in many
    assert "that rests on 1 unseen image." in many


def test_the_page_is_complete_in_itself(demo: tuple[Path, str]) -> None:
    page = demo[1]
    tags = read(page).tags
    assert {tag for tag, _ in tags}.isdisjoint({"script", "link", "img", "iframe", "object", "base", "form"})
    assert not [key for _, attributes in tags for key in attributes if key.startswith("on") or key == "src"]
    links = [attributes["href"] or "" for _, attributes in tags if "href" in attributes]
    assert all(link.startswith(("#", "https://arxiv.org/")) for link in links)
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    assert set(re.findall(r"url\(#([^)]*)\)", page)) <= set(ids)
    assert "url(" not in page.replace("url(#", "")
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_figures_follow_the_colours_of_the_page(twin: tuple[Path, str]) -> None:
    charts = re.findall(r"<svg[^>]*class=\"chart\".*?</svg>", twin[1], re.S)
    assert len(charts) == 6  # scores, ROC, threshold, reliability, losses, watched
    assert not re.search(r"#[0-9a-f]{6}", "".join(charts))
    assert all("var(--members)" in chart or "var(--unseen)" in chart for chart in charts)


def test_the_same_folder_gives_the_same_page(twin: tuple[Path, str]) -> None:
    assert make(twin[0]) == twin[1]


def test_a_demo_is_told_as_a_whole(demo: tuple[Path, str]) -> None:
    text = words(demo[1])
    assert "This page joins what all of them kept" in text
    for row in ("With the head, secure", "With the head, in the clear", "The task alone"):
        assert row in text
    assert "developer 2.00 MB 200.00 MB auditor 1.50 MB 150.00 MB dealer 4.00 MB 400.00 MB" in text
    assert "9 rounds" in text
    assert "2.5 times as long" in text


def test_each_party_is_told_from_its_own_side(demo: tuple[Path, str]) -> None:
    auditor, developer = (make(demo[0] / role) for role in ("auditor", "developer"))
    assert "told from the auditor's side" in words(auditor)
    assert "told from the developer's side" in words(developer)
    assert 'id="evidence"' in auditor
    assert 'id="evidence"' not in developer  # scores and threshold are the auditor's
    assert "0.9000" not in words(auditor)  # the task accuracy is the developer's
    assert "The parties agreed that the developer learns the final figures alone" in words(auditor)


def test_a_developer_who_is_told_no_figures_has_a_page(tmp_path: Path) -> None:
    path = made_run(tmp_path, "developer", figures={"task_accuracy": TASK})
    assert "The auditor kept its figures to itself" in words(make(path))


def test_a_figure_without_an_interval_is_printed_without(tmp_path: Path) -> None:
    figures = {"mint_accuracy_calibrated": Figure(value=0.8), "mint_auc": Figure(value=0.75), "task_accuracy": TASK}
    path = made_run(tmp_path, "developer", figures=figures)
    text = words(make(path))
    assert "gave the right answer for 80.0 % of the images" in text
    assert "95 % interval" not in text.partition("What was done")[0]
    assert "Area under the ROC curve 0.750 The scores" in text
    assert "mint_auc 0.7500 task_accuracy 0.9000 0.8500 to 0.9400" in text


def test_an_insecure_run_says_so_at_the_top(tmp_path: Path) -> None:
    path = made_run(tmp_path, "auditor", UNSAFE)
    page = make(path)
    assert '<div class="banner danger"' in page
    text = words(page)
    assert text.index("INSECURE.") < text.index("Was this image trained on?")
    assert "the dealer, made the random masks" not in text


def test_a_comparison_is_shown_and_must_belong_to_the_run(
    tmp_path: Path, twin: tuple[Path, str], demo: tuple[Path, str]
) -> None:
    text = words(demo[1])
    assert "Loss threshold" not in words(twin[1])
    assert re.search(r"Loss threshold outputs 0\.610 0\.680", text)
    assert "-7.0" in text
    assert "Untouched 90.0 % - 0.950" in text
    with pytest.raises(DataError, match="another experiment"):
        make(twin[0], comparison(tmp_path / "other.json", digest="0" * 64))


def test_baselines_are_found_beside_or_named(tmp_path: Path, twin: tuple[Path, str]) -> None:
    path = twin[0]
    alone = made_run(tmp_path / "b", experiment=without_head(), name="alone")
    assert "The task alone" not in words(twin[1])
    assert "The task alone" in words(make(path, beside=[alone]))
    other = made_run(tmp_path / "c", experiment=without_head(SMOKE.model_copy(update={"seed": 2})))
    with pytest.raises(UsageError, match="not a training in the clear on the same images"):
        make(path, beside=[other])


def test_folders_without_an_audit_are_refused(tmp_path: Path) -> None:
    for path, match in (
        (made_run(tmp_path, "dealer"), "dealer's folder"),
        (made_run(tmp_path, experiment=without_head(), name="alone"), "nothing was audited"),
        (tmp_path / "absent", "is not a folder"),
        (tmp_path / "twin.txt", "is not a folder"),
    ):
        with pytest.raises(UsageError, match=match):
            make(path)


def test_early_stopping_and_doubles_are_told(tmp_path: Path) -> None:
    path = made_run(tmp_path, stopped_epoch=3, best_epoch=2, duplicates={"members_report and unseen_report": 4})
    text = words(make(path))
    assert "stopped after epoch 3" in text
    assert "4 in members report and unseen report" in text
