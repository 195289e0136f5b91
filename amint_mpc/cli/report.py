"""`amint-mpc report`: one page about a run or a study, to read and to pass on."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click

from amint_mpc.cli import options
from amint_mpc.cli.terminal import echo
from amint_mpc.eventlines import json_line


@click.command()
@click.argument("folder", metavar="RUN_OR_STUDY", type=click.Path(path_type=Path))
@click.option(
    "--out", metavar="FILE", type=click.Path(path_type=Path), help="Where to.  [default: report.html in the folder]"
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.option(
    "--comparison",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A comparison.json of the same experiment.  [default: the one in or beside the folder]",
)
@click.option(
    "--beside",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A run in the clear to compare with: the twin, or the classifier alone.  [default: those beside the folder]",
)
@click.option("--open", "opened", is_flag=True, help="Show the page in a browser.")
@options.as_json
def report(
    folder: Path,
    out: Path | None,
    force: bool,
    comparison: Path | None,
    beside: tuple[Path, ...],
    opened: bool,
    as_json: bool,
) -> None:
    """Write one HTML page about a finished run or a study.

    A party's run folder is told from that party's side; a demo's folder, with all parties in it, as a whole. The page
    is complete in itself: it needs no network, and can be printed or sent.
    """
    from amint_mpc.api import reporting

    page = reporting.report(folder, out, force=force, comparison=comparison, beside=beside)
    echo(json_line({"page": str(page)}) if as_json else f"page: {page}")
    if opened:
        webbrowser.open(page.absolute().as_uri())
