"""`amint-mpc audit`: membership scores of images, after a run, for the auditor alone."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from amint_mpc.cli import options, terminal
from amint_mpc.cli.failures import end_as_interrupted
from amint_mpc.cli.machine import warn_without_kernel
from amint_mpc.cli.progress import progress
from amint_mpc.cli.terminal import echo
from amint_mpc.config import Role, load_party
from amint_mpc.errors import UsageError
from amint_mpc.eventlines import json_line
from amint_mpc.printable import excerpt

if TYPE_CHECKING:
    from amint_mpc.amint.verdicts import Calibrated

_folder = click.Path(path_type=Path, file_okay=False)
SHOWN = 10


@click.command()
@click.option("--role", type=click.Choice(["developer", "auditor", "dealer"]), help="Which party this machine is.")
@click.option(
    "--run", "run", metavar="RUN", type=_folder, required=True, help="This party's folder of the finished run."
)
@click.option("--images", metavar="FOLDER", type=_folder, help="The auditor: a folder of image files.")
@click.option(
    "--canaries", type=int, default=0, help="The auditor: so many members, opened by the developer, mixed in."
)
@click.option("--open-members", type=int, default=0, help="The developer: open at most so many members as canaries.")
@click.option("--local", is_flag=True, help="The auditor holds both models: no peer, nothing private, nothing logged.")
@click.option("--backbone", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="With --local.")
@click.option("--out", metavar="FOLDER", type=_folder, help="Where the verdicts go.  [default: RUN/audits/TIME]")
@options.party
@options.data
@options.as_json
def audit(
    role: Role | None,
    run: Path,
    images: Path | None,
    canaries: int,
    open_members: int,
    local: bool,
    backbone: Path | None,
    out: Path | None,
    party_file: Path | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Ask whether images look like those that a classifier was trained on.

    All parties of the run take part at the same time. The developer sees the images; scores and
    head stay the auditor's, activations and classifier the developer's. Each query goes into the log of the run,
    signed by both, and counts against evidence.max_queries.
    """
    end_as_interrupted()
    console = terminal.console(as_json)
    if not local:
        warn_without_kernel(console)
    if local or role == "auditor":
        if images is None or (local and backbone is None):
            raise UsageError("the auditor gives --images, and with --local the --backbone, too")
        _ask(run, images, canaries, backbone if local else None, out, party_file, console, as_json)
        return
    if role is None:
        raise UsageError("give --role, or --local")

    from amint_mpc.afterwards import parties

    party = load_party(party_file, role, data)
    with progress(console) as on_progress:
        if role == "dealer":
            count = parties.dealer(run, party, console.print)
        else:
            count = parties.developer(run, party, open_members, console.print, on_progress)
    if as_json:
        echo(json_line({"role": role, "images": count}))
    else:
        console.print(f"{'dealt for' if role == 'dealer' else 'answered for'} {count} images")


def _ask(
    run: Path,
    images: Path,
    canaries: int,
    backbone: Path | None,
    out: Path | None,
    party_file: Path | None,
    console: Console,
    as_json: bool,
) -> None:
    from amint_mpc.afterwards import decoders as decoding
    from amint_mpc.afterwards import parties
    from amint_mpc.amint.verdicts import NOTE, Calibrated, verdicts
    from amint_mpc.api import auditing
    from amint_mpc.config import load_experiment
    from amint_mpc.evidence.canonical import pixels_digest
    from amint_mpc.evidence.files import EXPERIMENT
    from amint_mpc.evidence.software_digests import decoder

    if canaries < 0 or (canaries and backbone is not None):
        raise UsageError("canaries are 0 or more, and there are none with --local")
    folder = out or run / "audits" / time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    if folder.exists():
        raise UsageError(f"{folder} exists already", "Give --out a new folder")
    calibrated = Calibrated.of(parties.scores(load_experiment(run / EXPERIMENT), run))
    start = time.perf_counter()
    with progress(console) as on_progress:
        files, pixels, others = parties.read_images(load_experiment(run / EXPERIMENT), images, on_progress)
        if others:
            console.print(f"left out in {images}: {others}; its own files alone are asked about", soft_wrap=True)
        cost: dict[str, Any] = {}
        if backbone is not None:
            asked_here = auditing.audit(run, pixels, backbone=backbone)
            if asked_here.evidence is None:
                raise UsageError(f"there is no log in {run}", "Name a run that kept one: nothing else can be verified")
            scores, found = asked_here.scores, asked_here.evidence
            now: dict[Role, str | None] = {"auditor": decoder()}
            external: list[bool | None] = [None] * len(files)
        else:
            party = load_party(party_file, "auditor")
            asked, found = parties.auditor(run, party, pixels, canaries, console.print, on_progress)
            scores, external, now = asked.scores, list(asked.external), dict(asked.decoders)
            cost = {"canaries": canaries, "rounds": asked.rounds}
            cost |= {"mb_sent": asked.bytes_sent / 1e6, "mb_received": asked.bytes_received / 1e6}
    decoders = decoding.decoders(found, now)
    rows = [
        {
            "file": file.name,
            "pixels": pixels_digest(image),
            "score": verdict.score,
            "verdict": _word(verdict.member_like, shown),
            "p": verdict.p,
            "q": verdict.q,
            "external": shown,
        }
        for file, image, verdict, shown in zip(files, pixels, verdicts(scores, calibrated), external, strict=True)
    ]
    summary = {
        "experiment": found.log.begin["experiment"],
        "local": backbone is not None,
        "images": len(rows),
        "left_out": others,
        "member_like": sum(row["verdict"] == "member-like" for row in rows),
        "external": sum(row["external"] is True for row in rows),
        "threshold": calibrated.threshold,
        "false_positive_rate": calibrated.false_positives,
        "true_positive_rate": calibrated.found,
        "unseen_calibration_images": len(calibrated.unseen),
        "decoders": decoders,
        "decoders_differ": decoding.note(decoders),
        **cost,
        "seconds": time.perf_counter() - start,
        "note": NOTE,
    }
    _save(folder, rows, summary)
    if as_json:
        echo(json_line({**summary, "folder": str(folder)}))
        return
    console.print(_table(rows))
    console.print(_sentences(summary, calibrated), soft_wrap=True)
    console.print(f"files: {folder}", soft_wrap=True, markup=False)


def _word(member_like: bool, external: bool | None) -> str:
    if external:
        return "external: it shaped the classifier"
    return "member-like" if member_like else "not member-like"


def _save(folder: Path, rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
    folder.mkdir(parents=True)
    with (folder / "verdicts.csv").open("x", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "file": _plain(row["file"])} for row in rows)
    (folder / "audit.json").write_text(json_line({**summary, "verdicts": rows}) + "\n", encoding="utf-8")


def _plain(name: str) -> str:
    """A file's name, so that no spreadsheet takes it for a formula."""
    name = excerpt(name, 4096)
    return f"'{name}" if name.startswith(("=", "+", "-", "@")) else name


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for number, title in enumerate(("file", "score", "p", "q", "verdict")):
        table.add_column(title, justify="left" if number in (0, 4) else "right", overflow="fold")
    first = sorted(rows, key=lambda row: row["p"])[:SHOWN]
    for row in first:
        table.add_row(
            excerpt(row["file"], 200), f"{row['score']:.4f}", f"{row['p']:.4f}", f"{row['q']:.4f}", row["verdict"]
        )
    if len(rows) > len(first):
        table.add_row(f"and {len(rows) - len(first)} more", "", "", "", "")
    return table


def _sentences(summary: dict[str, Any], calibrated: Calibrated) -> str:
    lines = [
        f"\n{summary['member_like']} of {summary['images']} images are member-like: their score is at least "
        f"{calibrated.threshold:.4f}. In the run {calibrated.false_positives:.1%} of the unseen report images "
        f"were above it (the false-positive rate), and {calibrated.found:.1%} of the members.",
    ]
    if summary["external"]:
        lines.append(f"{summary['external']} are in the external set that the developer committed to.")
    lines.append(
        f"p: against {len(calibrated.unseen)} unseen calibration images, so at least 1/{len(calibrated.unseen) + 1}; "
        "q: adjusted for the number of images (Benjamini-Hochberg)."
    )
    lines.append(summary["note"])
    if summary["decoders_differ"]:
        lines.append(summary["decoders_differ"])
    if not summary["local"]:
        what = f"{summary['rounds']} rounds, {summary['mb_sent']:.2f} MB sent and {summary['mb_received']:.2f} received"
        lines.append(f"{summary['seconds']:.1f} s, {what}, {summary['canaries']} canaries as they should be")
    return "\n".join(lines)
