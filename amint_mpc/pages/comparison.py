"""comparison.json: passive MINT, attacks, the price members pay, and robustness (`amint-mpc compare`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from amint_mpc.pages.files import read_record
from amint_mpc.results import Amount, ClassCounts, Count, Difference, Digest, Figure, Figures, Record, Share, Text

ClassifierName = Literal["joint", "plain", "untrained"]


class Detector(Record):
    """One way to tell members, on one classifier."""

    name: Text
    title: Text
    on: ClassifierName
    needs: Text = ""
    citation: Text = ""
    figures: Figures


class Price(Record):
    """What the joint loss changed for one attack."""

    name: Text
    title: Text
    auc_joint: Share
    auc_plain: Share
    difference: Difference


class Change(Record):
    """A change of the images or of the classifier, and how the audit stood it."""

    name: Text
    title: Text
    figures: Figures


class Comparison(Record):
    """The whole record. Args: experiment: its name."""

    experiment: Text = ""
    digest: Digest | None = None
    method: Text = ""
    seed: Count | None = None
    shadows: Count | None = None
    images: Digest | None = None
    duplicates: dict[Text, Count] = Field(default_factory=dict)
    class_counts: ClassCounts = Field(default_factory=dict)
    classifiers: dict[Text, dict[Text, Figure]] = Field(default_factory=dict)
    detectors: Annotated[list[Detector], Field(max_length=200)] = Field(default_factory=list)
    price: Annotated[list[Price], Field(max_length=200)] = Field(default_factory=list)
    robustness: Annotated[list[Change], Field(max_length=200)] = Field(default_factory=list)
    seconds: Amount | None = None

    @property
    def rows(self) -> list[DetectorRow]:
        """Detectors by name, in their order, with what each reached on every classifier."""
        rows: dict[str, DetectorRow] = {}
        for detector in self.detectors:
            row = rows.setdefault(detector.name, DetectorRow(detector, {}))
            row.on[detector.on] = detector.figures
        return list(rows.values())


@dataclass(frozen=True)
class DetectorRow:
    """One detector. Args: first: for its title, needs and source. on: its figures on each classifier."""

    first: Detector
    on: dict[str, dict[str, Figure]]


def read_comparison(path: Path) -> Comparison:
    """Raises: DataError: missing or damaged."""
    return read_record(path, Comparison)
