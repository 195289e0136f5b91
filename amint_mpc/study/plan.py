"""A study: a grid of experiments with seeds, read from a YAML file, and the list of cells that it asks for.

A study file is data of the same kind as an experiment: YAML without tags or aliases, unknown keys forbidden. Its grid
has axes. An axis is a dotted key of an experiment with a list of values, or a name of its own with a list of variants,
each a name and the settings that go together:

    grid:
      backbone:
        - {name: mini-8, set: {model.backbone: resnet-mini, model.width: 8}}
        - {name: mini-16, set: {model.backbone: resnet-mini, model.width: 16}}
      model.taps: [entry, middle, output]
"""

from __future__ import annotations

import itertools
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from amint_mpc.config import Experiment, list_studies, load_experiment
from amint_mpc.errors import UsageError
from amint_mpc.reading import complain, place, read_mapping, sentences
from amint_mpc.study.baselines import KINDS, Baseline, shared_baseline

Mode = Literal["plaintext", "secure"]
NAME = r"^[a-z0-9][a-z0-9-]{0,63}$"
MAX_RUNS = 10_000
MAX_COMPLAINTS = 10
_OURS = ("name", "seed", "grid")  # what a study sets itself


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Variant(_Model):
    """One place on an axis: a name, and settings by their dotted keys."""

    name: str = Field(pattern=NAME)
    set: dict[str, Any]


class Study(_Model):
    """What a study file says. `baselines` are trainings without a head, to tell what the head costs."""

    name: str = Field(pattern=NAME)
    title: str = Field(max_length=200)
    base: str | dict[str, Any] = "quickstart"
    set: dict[str, Any] = {}
    grid: dict[str, tuple[Variant, ...]] = Field(min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field((1,), min_length=1)
    mode: Annotated[tuple[Mode, ...], BeforeValidator(lambda m: (m,) if isinstance(m, str) else m)] = Field(
        ("plaintext",), min_length=1
    )
    baselines: tuple[Baseline, ...] = KINDS

    @field_validator("grid", mode="before")
    @classmethod
    def _name_plain_values(cls, grid: Any) -> Any:
        if not isinstance(grid, dict):
            return grid
        return {key: [_variant(str(key), value) for value in axis] for key, axis in grid.items() if _filled(key, axis)}

    @field_validator("grid")
    @classmethod
    def _names_differ(cls, grid: dict[str, tuple[Variant, ...]]) -> dict[str, tuple[Variant, ...]]:
        for axis, variants in grid.items():
            _no_twice([variant.name for variant in variants], axis)
            for variant in variants:
                _nothing_of_ours(variant.set)
        return grid

    @field_validator("set")
    @classmethod
    def _settings_only(cls, value: dict[str, Any]) -> dict[str, Any]:
        _nothing_of_ours(value)
        return value

    @field_validator("seeds", "mode", "baselines")
    @classmethod
    def _nothing_twice(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        _no_twice(values, "the list")
        return values


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Args:
        variant: its place in the grid (the names on all axes), or the kind of baseline.
        baseline: "" for a cell of the grid.
    """

    name: str
    variant: str
    experiment: Experiment
    mode: Mode = "plaintext"
    baseline: str = ""


@dataclass(frozen=True)
class StudyPlan:
    """The cells of a study in the order in which they run: seed after seed, so that an early look sees every variant.

    Args:
        baseline_of: (name of a cell, kind) -> name of its baseline's cell. Several cells may share one.
    """

    study: Study
    cells: tuple[Cell, ...]
    baseline_of: Mapping[tuple[str, str], str]


def find_study(source: str) -> Path:
    """The file of a study named by path or name.

    Raises:
        UsageError: no such name.
    """
    path = Path(source)
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        return path
    known = list_studies()
    if source not in known:
        raise UsageError(f'there is no study "{source[:60]}"', "Studies: " + ", ".join(known))
    return known[source]


def load_study(source: str) -> tuple[Study, Path]:
    """A study and its file.

    Raises:
        UsageError: no such file or name, malformed YAML, an unknown key, a value that is not allowed.
    """
    path = find_study(source)
    try:
        return Study.model_validate(read_mapping(path)), path
    except ValidationError as error:
        raise complain(error, Study, source) from None


def make_plan(study: Study, folder: Path) -> StudyPlan:
    """Every cell as an experiment that has been checked by itself.

    Args:
        folder: of the study file; a path in `base` counts from there.

    Raises:
        UsageError: a cell is not a valid experiment; all complaints at once.
    """
    base = _base(study, folder)
    wrong: dict[str, list[str]] = defaultdict(list)  # complaint -> places in the grid
    hints: list[str] = []
    places: list[tuple[str, Experiment]] = []
    for variants in _combinations(study):
        name = "-".join(variant.name for variant in variants)
        values = json.loads(json.dumps(base))
        try:
            for key, value in itertools.chain(study.set.items(), *(variant.set.items() for variant in variants)):
                place(values, key, value, study.name)
            places.append((name, _usable(Experiment.model_validate({**values, "name": name}))))
        except ValidationError as error:
            complaint, hint = sentences(error, Experiment)
            wrong[complaint].append(name)
            hints.append(hint)
        except UsageError as error:
            wrong[error.message].append(name)
            hints.append(error.hint)
    if wrong:
        raise UsageError(together(study, wrong), hints[0])
    cells, baseline_of = _with_seeds(study, places)
    return StudyPlan(study, cells, baseline_of)


def together(study: Study, wrong: Mapping[str, list[str]]) -> str:
    """One message from complaints and the places in the grid that they are about."""
    lines = [f"{_few(places)}: {complaint}" for complaint, places in list(wrong.items())[:MAX_COMPLAINTS]]
    more = [f"and {len(wrong) - MAX_COMPLAINTS} more"] if len(wrong) > MAX_COMPLAINTS else []
    return "\n".join([f"{study.name} cannot be run", *lines, *more])


def _few(places: list[str]) -> str:
    names = list(dict.fromkeys(places))
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _base(study: Study, folder: Path) -> dict[str, Any]:
    if isinstance(study.base, str):
        path = Path(study.base)
        found = load_experiment(folder / path if path.suffix in (".yaml", ".yml") else study.base)
    else:
        try:
            found = Experiment.model_validate(study.base)
        except ValidationError as error:
            raise complain(error, Experiment, f"{study.name}, base") from None
    return found.model_dump(mode="json")


def _combinations(study: Study) -> Iterator[tuple[Variant, ...]]:
    runs = len(study.seeds) * len(study.mode)
    for variants in study.grid.values():
        runs *= len(variants)
    if runs > MAX_RUNS:
        raise UsageError(f"{study.name} asks for {runs} runs", f"The most is {MAX_RUNS}")
    return itertools.product(*study.grid.values())


def _usable(experiment: Experiment) -> Experiment:
    if experiment.head.features is not None:
        raise UsageError("head.features is for a training loop of your own", "Leave it out: a study uses the program's")
    if experiment.insecure:
        raise UsageError("a study has no runs without security", "Set security.correlations to two-party or dealer")
    return experiment


def _with_seeds(
    study: Study, places: list[tuple[str, Experiment]]
) -> tuple[tuple[Cell, ...], dict[tuple[str, str], str]]:
    cells: dict[str, Cell] = {}
    baseline_of: dict[tuple[str, str], str] = {}
    for seed in study.seeds:
        for variant, experiment in places:
            seeded = experiment.model_copy(update={"seed": seed})
            own = [_cell(variant, seeded, mode) for mode in study.mode]
            for kind in study.baselines if experiment.training.mint_weight > 0 else ():
                name, shared = shared_baseline(seeded, kind)
                cells.setdefault(name, Cell(name, kind, shared, baseline=kind))
                baseline_of |= {(cell.name, kind): name for cell in own}
            for cell in own:
                if cell.name in cells:
                    raise UsageError(f"{study.name}: two cells are named {cell.name}", "Give variants other names")
                cells[cell.name] = cell
    return tuple(cells.values()), baseline_of


def _cell(variant: str, experiment: Experiment, mode: Mode) -> Cell:
    suffix = "-secure" if mode == "secure" else ""  # the plain name stays when a mode is added later
    return Cell(f"{variant}{suffix}-s{experiment.seed}", variant, experiment, mode)


def _variant(key: str, value: Any) -> Any:
    """A plain value as a variant: `entry` by its own name, 0.2 of `training.mint_weight` as mint-weight-0-2."""
    if isinstance(value, dict):
        return value
    last = key.rpartition(".")[2]
    text = value if isinstance(value, str) else f"{last}-{value}"
    return {"name": re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-"), "set": {key: value}}


def _filled(key: Any, axis: Any) -> bool:
    if not isinstance(axis, list) or not axis:
        raise ValueError(f"{str(key)[:60]} should be a list of values or of variants")
    return True


def _no_twice(values: Any, where: str) -> None:
    for value in values:
        if list(values).count(value) > 1:
            raise ValueError(f"{value} stands twice in {where}")


def _nothing_of_ours(settings: dict[str, Any]) -> None:
    for key in settings:
        if key.partition(".")[0] in _OURS:
            raise ValueError(f"{key} cannot be set here: a study names its cells and has `seeds`")
