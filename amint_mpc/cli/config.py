"""`amint-mpc config`: which experiments there are, what one says, and whether a file is right."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import click
import yaml

from amint_mpc.cli import options
from amint_mpc.cli.terminal import echo
from amint_mpc.config import is_study, list_experiments, list_studies, load_experiment
from amint_mpc.errors import UsageError

OK = click.style("ok", fg="green") + "  "


@click.group()
def config() -> None:
    """List, show and check experiments."""


@config.command("list")
def list_command() -> None:
    """Name the experiments that come with the program, and the studies."""
    experiments, studies = list_experiments(), list_studies()
    width = max(map(len, [*experiments, *studies]))
    for name, path in experiments.items():
        echo(f"{name:{width}}  {_about(path)}")
    echo("\nStudies, for amint-mpc study --config NAME:")
    for name, path in studies.items():
        echo(f"{name:{width}}  {_about(path)}")


def _about(path: Path) -> str:
    """The first sentence of the comment that a file begins with, after the line with its command."""
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    comment = " ".join(line.lstrip("# ") for line in itertools.takewhile(lambda line: line.startswith("#"), lines))
    return re.split(r"(?<=[.]) (?=[A-Z])", comment, maxsplit=1)[0]


@config.command()
@click.argument("source", metavar="[EXPERIMENT]", required=False)
@options.overrides
def show(source: str | None, overrides: tuple[str, ...]) -> None:
    """Print every setting of an experiment, defaults included."""
    experiment = load_experiment(source, overrides)
    echo(yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False).rstrip())
    echo(f"# method {experiment.method}, digest {experiment.digest()}")


@config.command()
@click.argument("sources", metavar="[EXPERIMENT]...", nargs=-1)
@options.overrides
def check(sources: tuple[str, ...], overrides: tuple[str, ...]) -> None:
    """Say whether experiments are right, and studies; print the digest that all parties must share."""
    from amint_mpc.roles.heads import check_experiment  # loads torch

    for source in sources or ("quickstart",):
        if is_study(source):
            from amint_mpc.study.check import check as check_study
            from amint_mpc.study.plan import load_study, make_plan

            if overrides:
                raise UsageError("--set changes an experiment, not a study", "Write it under `set:` in the study file")
            study, path = load_study(source)
            plan = make_plan(study, path.parent)
            check_study(plan, None, images=False)
            echo(f"{source}  a study of {len(plan.cells)} runs", label=OK)
            continue
        experiment = load_experiment(source, overrides)
        check_experiment(experiment)
        echo(f"{source}  {experiment.method}  digest {experiment.digest()[:16]}", label=OK)
