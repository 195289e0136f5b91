"""`amint-mpc config`: which experiments there are, what one says, and whether a file is right."""

from __future__ import annotations

import click
import yaml

from amint_mpc.cli import options
from amint_mpc.config import list_experiments, load_experiment


@click.group()
def config() -> None:
    """List, show and check experiments."""


@config.command("list")
def list_command() -> None:
    """Name the experiments that come with the program."""
    for name, path in list_experiments().items():
        lines = path.read_text(encoding="utf-8").splitlines()
        click.echo(f"{name:16} {lines[1].lstrip('# ')}")


@config.command()
@click.argument("source", metavar="[EXPERIMENT]", required=False)
@options.overrides
def show(source: str | None, overrides: tuple[str, ...]) -> None:
    """Print every setting of an experiment, defaults included."""
    experiment = load_experiment(source, overrides)
    click.echo(yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False), nl=False)
    click.echo(f"# method {experiment.method}, digest {experiment.digest()}")


@config.command()
@click.argument("sources", metavar="[EXPERIMENT]...", nargs=-1)
@options.overrides
def check(sources: tuple[str, ...], overrides: tuple[str, ...]) -> None:
    """Say whether experiments are right; print the digest that all parties must share."""
    from amint_mpc.roles.readiness import check_experiment  # loads torch

    for source in sources or ("quickstart",):
        experiment = load_experiment(source, overrides)
        check_experiment(experiment)
        click.echo(f"{click.style('ok', fg='green')}  {source}  {experiment.method}  digest {experiment.digest()[:16]}")
