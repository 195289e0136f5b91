"""`amint-mpc replay`: steps of a run, done again by the developer."""

from __future__ import annotations

import re
from pathlib import Path

import click

from amint_mpc.cli import options, terminal
from amint_mpc.cli.failures import end_as_interrupted
from amint_mpc.cli.progress import progress
from amint_mpc.cli.terminal import echo
from amint_mpc.errors import EvidenceError, UsageError
from amint_mpc.eventlines import json_line


@click.command()
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.option("--steps", metavar="A..B", help="Joint steps, counted from 0.  [default: all]")
@options.data
@click.option(
    "--device", default="cpu", show_default=True, help="Of the classifier; the run's own gives the same bits."
)
@options.as_json
def replay(run: Path, steps: str | None, data: Path | None, device: str, as_json: bool) -> None:
    """The developer: do steps of RUN again, and show that the next checkpoints of its log follow.

    Needs a run with evidence.replay, its images and no peer. Steps are done from the checkpoint before the first to
    the one after the last. Ends with code 6 at the first checkpoint that does not follow.
    """
    from amint_mpc.afterwards.replay import TOLERANCE, last_step
    from amint_mpc.afterwards.replay import replay as again

    end_as_interrupted()
    first, last = _range(steps) if steps else (0, last_step(run))
    console = terminal.console(as_json)
    try:
        with progress(console) as on_progress:
            found = again(run, options.images_folder(data), first, last, device, on_progress)
    except EvidenceError as error:
        if as_json:
            echo(json_line({"follows": False, "error": error.message, "hint": error.hint}))
        raise
    if as_json:
        record = {"steps": [found.first, found.last], "checkpoints": found.checkpoints, "exact": found.exact}
        record |= {"difference": found.difference, "frames_matched": found.frames_matched, "assumes": found.assumes}
        echo(json_line({"follows": True, **record}))
        return
    console.print(
        f"steps {found.first} to {found.last} follow: {found.checkpoints} checkpoints, "
        + ("every bit the same" if found.exact else f"within {found.difference:.2g} of the largest value of a tensor")
    )
    if found.frames_matched:
        console.print("The gradients come out of the frames that both parties signed.")
        if found.assumes is None:
            console.print("The sealed steps, the last scoring and the head's opening follow, too.")
    if found.assumes is not None:
        console.print(f"What this leaves to be believed: {found.assumes}.")
    if not found.exact:
        console.print(f"Another machine or device rounds otherwise; {TOLERANCE:g} is allowed.")


def _range(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,9})(?:\.\.([0-9]{1,9}))?", text.strip())
    if match is None:
        raise UsageError(f"{text[:40]!r} does not name steps", "Give them as --steps 10..20")
    return int(match[1]), int(match[2] or match[1])
