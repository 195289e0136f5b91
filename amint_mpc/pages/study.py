"""A study's folder: study.csv, one row a run, and study.json with its title and the paper's values (amint_mpc.study).

Rows are read for what they have: unknown columns are left out, and so are missing values.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from amint_mpc.pages.files import damaged, read_bytes, read_record, regular
from amint_mpc.pages.run import known_versions
from amint_mpc.results import AT_HALF, CALIBRATED, Amount, Count, Digest, Record, Share, Text, renamed

MAX_CSV_BYTES = 2**23
MAX_ROWS = 20_000
MAX_MESSAGE = 4000
MAX_SECTIONS, MAX_VARIANTS = 60, 600  # more than a page can show
TAPS = ("entry", "middle", "output")
MEASURES = (
    *("mint_accuracy_calibrated", "mint_accuracy_at_half", "mint_auc", "tpr_at_1pct_fpr", "task_accuracy"),
    *("task_accuracy_without_mint", "task_accuracy_with_distillation_alone", "seconds", "ms_per_step"),
)
PRICE = "price"
"""Task accuracy alone minus that with the head, seed by seed: what the head costs."""
_SHOWN = (
    *("mint_accuracy_calibrated", "mint_auc", "mint_accuracy_at_half", "tpr_at_1pct_fpr", "task_accuracy"),
    *("task_accuracy_without_mint", PRICE, "seconds"),
)


class Row(Record):
    """A run, as a line of study.csv; `amint_mpc.study` writes it. An empty field is a value that there is not (yet).

    Times in s and ms, sizes in MB (a million bytes) a step. Values of a CSV file are text, so numbers are read from it.
    """

    model_config = ConfigDict(strict=False)

    backbone: Text = ""
    variant: Text = ""
    taps: Text = ""
    dataset: Text = ""
    mint_weight: Annotated[float, Field(ge=0, le=1e6)] | None = None
    head_input: Text = ""
    mode: Text = ""
    method: Text = ""
    seed: Count | None = None
    status: Text = "done"
    mint_accuracy_calibrated: Share | None = None
    mint_accuracy_calibrated_low: Share | None = None
    mint_accuracy_calibrated_high: Share | None = None
    mint_accuracy_at_half: Share | None = None
    mint_auc: Share | None = None
    tpr_at_1pct_fpr: Share | None = None
    task_accuracy: Share | None = None
    task_accuracy_low: Share | None = None
    task_accuracy_high: Share | None = None
    task_accuracy_without_mint: Share | None = None
    task_accuracy_with_distillation_alone: Share | None = None
    mean_score_members: Share | None = None
    mean_score_external: Share | None = None
    mean_score_unseen: Share | None = None
    seconds: Amount | None = None
    ms_per_step: Amount | None = None
    rounds_per_step: Amount | None = None
    mb_sent_developer: Amount | None = None
    mb_sent_auditor: Amount | None = None
    mb_dealer: Amount | None = None
    members: Count | None = None
    external: Count | None = None
    unseen: Count | None = None
    epochs: Count | None = None
    digest: Digest | None = None
    message: Annotated[str, Field(max_length=MAX_MESSAGE)] = ""
    run: Text = ""

    @model_validator(mode="before")
    @classmethod
    def _old(cls, found: object) -> object:
        return renamed(found, CALIBRATED)


class PaperValue(Record):
    """What a paper reports for a data set, architecture and taps. Both values at threshold 0.5, as fractions."""

    dataset: Text
    backbone: Text
    taps: Text
    mint_accuracy_at_half: Share | None = None
    task_accuracy: Share | None = None

    @model_validator(mode="before")
    @classmethod
    def _old(cls, found: object) -> object:
        return renamed(found, AT_HALF)


class Paper(Record):
    source: Text = "the paper"
    threshold: Share = 0.5
    values: Annotated[list[PaperValue], Field(max_length=2000)] = Field(default_factory=list)

    def value(self, dataset: str, backbone: str, taps: str) -> PaperValue | None:
        """None where it has nothing."""
        place = dataset, backbone, taps
        return next((each for each in self.values if (each.dataset, each.backbone, each.taps) == place), None)


class About(Record):
    """study.json."""

    name: Text = ""
    title: Text = ""
    command: Annotated[str, Field(max_length=2000)] = ""
    versions: dict[Text, Text | int | None] = Field(default_factory=dict)
    paper: Paper = Paper()


@dataclass(frozen=True)
class Spread:
    """Mean over runs and their standard deviation (n - 1), None for one run."""

    mean: float
    deviation: float | None


@dataclass(frozen=True)
class Variant:
    """Finished runs that differ in their seeds alone.

    Args:
        row: the first of them. measures: of `MEASURES` and `PRICE`, as far as known.
        paper: for results of the paper's own method only: with distillation it is another one.
    """

    row: Row
    runs: tuple[Row, ...]
    measures: dict[str, Spread]
    paper: PaperValue | None

    @classmethod
    def of(cls, runs: Sequence[Row], paper: Callable[[str, str, str], PaperValue | None]) -> Variant:
        """Args: paper: what a paper reports for a data set, backbone and taps."""
        row = runs[0]
        values = {name: [v for run in runs if (v := getattr(run, name)) is not None] for name in MEASURES}
        values[PRICE] = [
            run.task_accuracy_without_mint - run.task_accuracy
            for run in runs
            if run.task_accuracy_without_mint is not None and run.task_accuracy is not None
        ]
        measures = {name: _spread(found) for name, found in values.items() if found}
        own = row.method == "amint"
        return cls(row, tuple(runs), measures, paper(row.dataset, row.backbone, row.taps) if own else None)

    @property
    def section(self) -> tuple[str, str, str]:
        """Data set, mode and method: what stands in one table."""
        return self.row.dataset, self.row.mode, self.row.method


@dataclass(frozen=True)
class Section:
    """What stands in one table: one data set, mode and method."""

    dataset: str
    mode: str
    method: str
    variants: tuple[Variant, ...]

    @property
    def varying(self) -> list[str]:
        """The settings that are not the same for all variants, or that name them."""
        names = ("backbone", "taps", "mint_weight", "head_input")
        different = [name for name in names if len({getattr(each.row, name) for each in self.variants}) > 1]
        if len({tuple(getattr(each.row, name) for name in names) for each in self.variants}) < len(self.variants):
            different.append("variant")
        return different or ["backbone"]

    @property
    def known(self) -> list[str]:
        """The measures that the page shows of it."""
        return [name for name in _SHOWN if any(name in each.measures for each in self.variants)]


@dataclass(frozen=True)
class Study:
    about: About
    versions: dict[str, str]
    rows: tuple[Row, ...]
    sections: tuple[Section, ...]

    @property
    def counts(self) -> Counter[str]:
        return Counter(row.status for row in self.rows)

    @property
    def seeds(self) -> list[int]:
        return sorted({row.seed for row in self.rows if row.seed is not None})


def is_study(path: Path) -> bool:
    """Whether a study's results lie there."""
    return regular(path / "study.csv")


def read_study(path: Path) -> Study:
    """The study in `path`.

    Raises:
        DataError: a file is damaged, or of a newer version.
    """
    about = read_record(path / "study.json", About) if regular(path / "study.json") else About()
    versions = known_versions(about.versions, path)
    rows = _rows(path / "study.csv")
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if row.status == "done" and row.task_accuracy is not None:
            groups.setdefault((row.dataset, row.mode, row.method), []).append(row)
    sections = tuple(Section(*key, _variants(found, about.paper)) for key, found in groups.items())
    if len(sections) > MAX_SECTIONS or sum(len(section.variants) for section in sections) > MAX_VARIANTS:
        damaged(path / "study.csv", "it has more variants than a page can show")
    # the task alone comes last: it is what the others are measured against
    return Study(about, versions, rows, tuple(sorted(sections, key=lambda section: "task" in section.method)))


def _rows(path: Path) -> tuple[Row, ...]:
    try:
        text = read_bytes(path, MAX_CSV_BYTES).decode("utf-8")
        reader = csv.DictReader(io.StringIO(text), restkey="", restval="")
        found = [{k: v for k, v in row.items() if k and isinstance(v, str) and v} for row in reader]
        if "status" not in (reader.fieldnames or []) or len(found) > MAX_ROWS:
            damaged(path, "it is not a table of runs, or too long")
        return tuple(TypeAdapter(list[Row]).validate_python(found))
    except (UnicodeDecodeError, csv.Error):
        damaged(path, "it is no CSV text")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        line, column = (*first["loc"], "", "")[:2]
        damaged(path, f"row {int(line) + 1}, column {column}: {first['msg']}")


def _variants(rows: Sequence[Row], paper: Paper) -> tuple[Variant, ...]:
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        same = row.backbone, row.taps, row.mint_weight, row.head_input, row.variant
        groups.setdefault(same, []).append(row)
    return tuple(Variant.of(group, paper.value) for group in groups.values())


def _spread(values: list[float]) -> Spread:
    return Spread(mean(values), stdev(values) if len(values) > 1 else None)
