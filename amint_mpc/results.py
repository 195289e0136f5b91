"""What a run says at its end: figures with their intervals, the summary of a party, the summaries of a whole run.

The same models write summary.json and read it back, from folders that may come from another party: numbers are finite
and bounded, texts short, keys that we do not know left out.

A name stands for one quantity, everywhere:

    mint_accuracy_at_half     balanced accuracy at threshold 0.5
    mint_accuracy_calibrated  the same at the threshold that is best on the calibration images
    mint_auc                  area under the ROC curve
    tpr_at_1pct_fpr           members found at no more than 1 % false alarms
    mean_score_*              mean membership score of members, external or unseen images
    task_accuracy             share of unseen images that are classified rightly

Old files call both accuracies `mint_accuracy`: at 0.5 in the figures of an epoch, calibrated in a summary. Whoever
reads them gives them today's names, by the types `Figures` and `EpochFigures` or by `renamed`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from amint_mpc import tables

MembershipName = Literal[
    "mint_accuracy_calibrated",
    "mint_accuracy_at_half",
    "mint_auc",
    "tpr_at_1pct_fpr",
    "mean_score_members",
    "mean_score_external",
    "mean_score_unseen",
]
MEMBERSHIP: Final[tuple[MembershipName, ...]] = get_args(MembershipName)
"""What an auditor may tell a developer."""
CALIBRATED: Final = "mint_accuracy_calibrated"
AT_HALF: Final = "mint_accuracy_at_half"
_OLD = "mint_accuracy"

Text = Annotated[str, Field(max_length=300)]
Share = Annotated[float, Field(ge=0, le=1)]
Signed = Annotated[float, Field(ge=-1, le=1)]
Amount = Annotated[float, Field(ge=0, le=1e12)]
Count = Annotated[int, Field(ge=0, le=10**12)]
ClassCounts = dict[Text, Annotated[list[Count], Field(max_length=65536)]]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Record(BaseModel):
    """What a JSON file of a run holds; keys that we do not know are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    def as_json(self) -> dict[str, Any]:
        """Plain values, without what is not known."""
        return self.model_dump(mode="json", exclude_unset=True, exclude_none=True)


class Figure(Record):
    """A share with its 95 % interval (percentile bootstrap over images, Efron 1979), or a share alone."""

    value: Share
    low: Share | None = None
    high: Share | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Figure:
        if (self.low is None) != (self.high is None):
            raise ValueError("an interval has one end")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError("an interval ends before it begins")
        return self

    @property
    def interval(self) -> tuple[float, float] | None:
        """Its two ends."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def ends(self) -> tuple[float, float]:
        """What an axis must hold: the interval, or the value alone."""
        return self.interval or (self.value, self.value)

    def __str__(self) -> str:
        ends = self.interval
        return f"{self.value:.3f}" + ("" if ends is None else f" ({ends[0]:.3f} to {ends[1]:.3f})")


class Difference(Figure):
    """Of two shares."""

    value: Signed
    low: Signed | None = None
    high: Signed | None = None


def renamed(found: object, name: str) -> object:
    """What an older version wrote, under today's name. Args: name: what `mint_accuracy` meant there."""
    if not isinstance(found, dict) or name in found:
        return found
    return {name if key == _OLD else key: value for key, value in found.items()}


Figures = Annotated[dict[Text, Figure], BeforeValidator(lambda found: renamed(found, CALIBRATED))]
"""By name, of a finished run."""
EpochFigures = Annotated[dict[Text, Share | None], BeforeValidator(lambda found: renamed(found, AT_HALF))]
"""By name, on calibration images, while the run goes on."""


def figures_table(found: Mapping[str, Figure], notes: Sequence[str] = ()) -> str:
    """HTML for a notebook: a row for each figure, with its 95 % interval where it has one."""
    rows = [(name, it.value, *(it.interval or ("", ""))) for name, it in found.items()]
    return tables.table(("figure", "value", "95 % from", "to"), rows, notes)


class Outcome(Record):
    """What a party can say when its part is done. `a | b` is both together; where both say something, b counts.

    Args:
        seconds: of the training. steps: joint ones; what ends in `per_step` is a mean over them.
        sealed_steps, sealed_seconds: of the kept head.
        mb_sent_per_step: an MB is a million bytes; by role in a study's summary of a secure run.
        blocks: what a dealer dealt.
        threshold: of the scores, chosen on calibration images.
        stopped_epoch, best_epoch: of a run that stopped early, and whose weights it kept.
        images: digest of the split. duplicates, class_counts: see `amint_mpc.data.duplicates.SplitCounts`.
        shadows: shadow models of a comparison.
    """

    steps: Count | None = None
    sealed_steps: Count | None = None
    sealed_seconds: Amount | None = None
    blocks: Count | None = None
    seconds: Amount | None = None
    stopped_epoch: Count | None = None
    best_epoch: Count | None = None
    threshold: Share | None = None
    seconds_per_step: Amount | None = None
    head_seconds_per_step: Amount | None = None
    rounds_per_step: Amount | None = None
    mb_sent_per_step: Amount | dict[Text, Amount] | None = None
    head_engine: Text | None = None
    images: Digest | None = None
    duplicates: dict[Text, Count] = Field(default_factory=dict)
    class_counts: ClassCounts = Field(default_factory=dict)
    shadows: Count | None = None
    figures: Figures = Field(default_factory=dict)

    def __or__(self, other: Outcome) -> Outcome:
        return self.model_copy(update={name: getattr(other, name) for name in other.model_fields_set})

    @property
    def own_mb_sent(self) -> float | None:
        """MB a step, of this party alone."""
        return None if isinstance(self.mb_sent_per_step, dict) else self.mb_sent_per_step


class Summary(Outcome):
    """summary.json: an outcome, whose it is, and what was agreed. `secure`: a study's, of all parties."""

    role: Literal["developer", "auditor", "dealer", "twin", "comparison", "secure"]
    name: Text = ""
    method: Text = ""
    digest: Digest
    insecure: Text | None = None
    in_process: Text | None = None
    seconds: Amount

    def _repr_html_(self) -> str:
        plain = ((key, value) for key, value in self.as_json().items() if isinstance(value, str | int | float))
        return figures_table(self.figures) + tables.table(("", self.role), plain)


@dataclass(frozen=True)
class SecureRun:
    """What the parties reported at the end, by role, and their run folders."""

    reports: dict[str, Summary]
    paths: dict[str, Path]

    @property
    def figures(self) -> dict[str, Figure]:
        """The auditor's figures of membership and the developer's of the task."""
        task = self.reports["developer"].figures["task_accuracy"]
        return {**self.reports["auditor"].figures, "task_accuracy": task}

    def _repr_html_(self) -> str:
        return figures_table(self.figures, [f"{role}: {path}" for role, path in self.paths.items()])
