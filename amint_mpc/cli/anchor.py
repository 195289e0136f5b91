"""`amint-mpc evidence anchor`: the head of a log, to be published."""

from __future__ import annotations

from pathlib import Path

import click

from amint_mpc.cli import options
from amint_mpc.cli.terminal import echo
from amint_mpc.eventlines import json_line


@click.command()
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@options.as_json
def anchor(run: Path, as_json: bool) -> None:
    """Print the log head of RUN for publication, after the evidence has been checked.

    Developer and auditor together could write and sign another log later. Whoever has a published head can tell:
    `amint-mpc verify RUN --anchor SIZE:ROOT`. Publish it where neither of the two can change it, and where it is
    dated: a newspaper, a public log, a time-stamping service.
    """
    from amint_mpc.evidence.verify import verify
    from amint_mpc.runlog.expected import ExpectedEntries

    log = verify(run, ExpectedEntries).log
    if as_json:
        echo(json_line({"size": log.head.size, "root": log.head.root, "experiment": log.begin["experiment"]}))
        return
    echo(f"{log.head.size}:{log.head.root}")
