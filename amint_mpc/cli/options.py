"""Options that several commands share, with the environment variables that stand for them."""

from __future__ import annotations

from pathlib import Path

import click

from amint_mpc.config import ROLES, load_party

role = click.option("--role", type=click.Choice(ROLES), required=True, help="Which party this machine is.")

config = click.option(
    "--config",
    "-c",
    "source",
    metavar="EXPERIMENT",
    envvar="AMINT_MPC_CONFIG",
    help="A YAML file, or a name from `amint-mpc config list`.  [default: quickstart]",
)

overrides = click.option(
    "--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Change one setting: --set training.epochs=10."
)

party = click.option(
    "--party",
    "party_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    envvar="AMINT_MPC_PARTY",
    help="This machine's addresses and paths.  [default: parties/ROLE/party.yaml, or ./party.yaml of that role]",
)

data = click.option(
    "--data",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="AMINT_MPC_DATA",
    help="Where image files lie, for data sets that come with no package.  "
    "[default: `data` of the developer's party file]",
)


def images_folder(given: Path | None, party_file: Path | None = None) -> Path | None:
    """Where image files lie: as `--data` says, else as the developer's party file does; None: neither does.

    Every command that reads images asks here.
    """
    return given or load_party(party_file, "developer").data


runs = click.option(
    "--runs",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="AMINT_MPC_RUNS",
    help="Where run folders go.  [default: as the party file says, or runs/]",
)

name = click.option("--name", help="Name of the run folder.  [default: experiment, role and time]")

as_json = click.option("--json", "as_json", is_flag=True, help="Result as one JSON object on the last line of stdout.")
