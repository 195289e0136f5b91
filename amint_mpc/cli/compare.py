"""`amint-mpc compare`: active MINT beside passive MINT and attacks from outside, and how the audit stands changes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table
from rich.text import Text

from amint_mpc.cli import options, terminal
from amint_mpc.cli.failures import end_as_interrupted
from amint_mpc.cli.screen import Screen
from amint_mpc.cli.terminal import echo
from amint_mpc.config import Party, load_experiment
from amint_mpc.errors import UsageError
from amint_mpc.eventlines import json_line
from amint_mpc.events import Event, Notice
from amint_mpc.results import CALIBRATED, Figure

if TYPE_CHECKING:
    from amint_mpc.pages.comparison import Comparison, Detector

LEGEND = (
    "joint: the classifier trained with the head. plain: the same classifier on its task alone.\n"
    "AUC, calibrated accuracy, and members found at 1 % false alarms, on the report halves; below: 95 % intervals.\n"
    "joint - plain: above 0, the joint training makes members easier to find."
)
CHANGES_LEGEND = (
    "Head and threshold as they were. An image changes: changed members against untouched unseen images;\n"
    "alike: against unseen images that were changed alike. The classifier changes: no image does."
)


@click.command()
@options.config
@options.overrides
@click.option("--shadows", type=int, default=4, show_default=True, help="Shadow models of the attacks: an even number.")
@click.option(
    "--run",
    "finished",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Run folder of a finished `amint-mpc train`: saves training the joint classifier. It knows its experiment.",
)
@options.data
@options.runs
@options.name
@options.as_json
def compare(
    source: str | None,
    overrides: tuple[str, ...],
    shadows: int,
    finished: Path | None,
    data: Path | None,
    runs: Path | None,
    name: str | None,
    as_json: bool,
) -> None:
    """Compare the head with passive MINT and with attacks from outside.

    Trains the classifier with its head and without, and shadow models for the attacks; all in plaintext, for in a
    secure run nobody holds both classifier and head. Ends with two tables and comparison.json.
    """
    if finished is not None and source is None:
        if not (finished / "experiment.yaml").is_file():
            raise UsageError(f"{finished} is not a run folder", "Name the run folder of a finished amint-mpc train")
        source = str(finished / "experiment.yaml")
    experiment = load_experiment(source, overrides)
    party = Party(role="developer", data=options.images_folder(data))

    from amint_mpc.roles.heads import check_experiment  # loads torch
    from amint_mpc.runfolder import RunFolder
    from amint_mpc.study import compare as study

    check_experiment(experiment)
    study.check(experiment, party, shadows, finished)
    end_as_interrupted()
    console = terminal.console(as_json)
    with (
        RunFolder.create(runs or Path("runs"), experiment, "comparison", name) as folder,
        Screen(console, study.workers(shadows)) as screen,
    ):

        def on_progress(who: str, event: Event) -> None:
            if isinstance(event, Notice):
                folder.record(Notice(f"{who}: {event.text}"))
            screen.show(who, event)

        found = study.compare(experiment, party, folder, shadows, finished, on_progress)
    if as_json:
        echo(json_line({**found.as_json(), "folder": str(folder.path)}))
        return
    console.print()
    console.print(detectors_table(found))
    console.print(LEGEND, style="dim", soft_wrap=True)
    console.print()
    console.print(robustness_table(found))
    console.print(CHANGES_LEGEND, style="dim", soft_wrap=True)
    console.print()
    task = ", ".join(f"{on} {each['task_accuracy']}" for on, each in found.classifiers.items())
    console.print(f"task accuracy  {task}", soft_wrap=True)
    console.print(f"files: {folder.path}", soft_wrap=True, markup=False)


def detectors_table(found: Comparison) -> Table:
    """A row for each detector: its figures on the joint classifier (or where it works), on the plain one, the gap."""
    grid = _grid(
        "\nwho finds members?", "AUC\njoint", "AUC\nplain", "joint\n- plain", "accuracy\njoint", "at 1 %\njoint"
    )
    differences = {row.name: row.difference for row in found.price}
    for row in found.rows:
        first, plain = row.first, row.on.get("plain", {})
        grid.add_row(
            Text(first.title).append(f"\n{_where(first)}", style="dim"),
            _cell(first.figures["mint_auc"]),
            _cell(plain.get("mint_auc")),
            _cell(differences.get(first.name), sign=True),
            _cell(first.figures[CALIBRATED]),
            _cell(first.figures["tpr_at_1pct_fpr"]),
        )
    return grid


def robustness_table(found: Comparison) -> Table:
    """A row for each change of the images or of the classifier."""
    grid = _grid("\nwhat changed", "members\nfound", "false\npositives", "\nAUC", "alike:\nf. pos.", "alike:\nAUC")
    for row in found.robustness:
        names = ("members_found", "false_positives", "mint_auc", "false_positives_changed", "mint_auc_changed")
        grid.add_row(row.title, *(_cell(row.figures.get(name)) for name in names))
    return grid


def _where(row: Detector) -> str:
    return f"{row.needs}, untrained classifier" if row.on == "untrained" else row.needs


def _grid(*titles: str) -> Table:
    grid = Table(box=None, padding=(0, 1, 0, 0), header_style="bold", pad_edge=False)
    for number, title in enumerate(titles):
        grid.add_column(title, justify="right" if number else "left", no_wrap=True, vertical="top")
    return grid


def _cell(figure: Figure | None, *, sign: bool = False) -> Text:
    if figure is None:
        return Text("-", style="dim")
    plus, between = ("+", ",") if sign else ("", "-")
    text = Text(f"{figure.value:{plus}.3f}")
    if figure.interval is not None:
        low, high = (f"{end:{plus}.3f}".replace("0.", ".", 1) for end in figure.interval)  # eighty columns wide
        text.append(f"\n{low}{between}{high}", style="dim")
    return text
