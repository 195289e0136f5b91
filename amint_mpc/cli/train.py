"""`amint-mpc train`: the same training without any cryptography, for development and comparison."""

from __future__ import annotations

from pathlib import Path

import click

from amint_mpc.cli import options, result, terminal
from amint_mpc.cli.failures import end_as_interrupted
from amint_mpc.cli.screen import Screen
from amint_mpc.config import Party, load_experiment
from amint_mpc.events import Event


@click.command()
@options.config
@options.overrides
@options.data
@options.runs
@options.name
@options.as_json
def train(
    source: str | None,
    overrides: tuple[str, ...],
    data: Path | None,
    runs: Path | None,
    name: str | None,
    as_json: bool,
) -> None:
    """Train the same in the clear, in one process.

    This plaintext twin shows what a secure run of the same experiment should reach. Nothing is hidden from anybody.
    """
    experiment = load_experiment(source, overrides)
    party = Party(role="developer", data=options.images_folder(data))

    from amint_mpc import plaintext_run
    from amint_mpc.roles.heads import check_experiment
    from amint_mpc.runfolder import RunFolder

    check_experiment(experiment)
    end_as_interrupted()
    console = terminal.console(as_json)
    with (
        RunFolder.create(runs or Path("runs"), experiment, "twin", name) as folder,
        Screen(console, ["twin"]) as screen,
    ):

        def on_event(event: Event) -> None:
            folder.record(event)
            screen.show("twin", event)

        summary = plaintext_run.run(experiment, party, folder, on_event)
    result.show(console, summary, folder.path, as_json)
