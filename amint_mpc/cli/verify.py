"""`amint-mpc verify`: whether the evidence of a run holds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from amint_mpc.cli import options
from amint_mpc.cli.terminal import echo
from amint_mpc.errors import EvidenceError, UsageError
from amint_mpc.eventlines import json_line
from amint_mpc.printable import excerpt

if TYPE_CHECKING:
    from amint_mpc.evidence.chain import Walked
    from amint_mpc.evidence.log import TreeHead
    from amint_mpc.evidence.verify import Verified

SHOWN = 8
_HEAD = re.compile(r"([0-9]{1,9}):([0-9a-f]{64})")
_folder = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("run", type=_folder)
@click.option(
    "--trust",
    metavar="FOLDER",
    type=_folder,
    help="A folder of keys: the certificates in the evidence must be those that are trusted there.",
)
@click.option("--other", metavar="RUN", type=_folder, help="The other party's folder: both logs must be the same.")
@click.option(
    "--anchor",
    "anchors",
    metavar="SIZE:ROOT",
    multiple=True,
    help="A head that was published: the log must have had it.",
)
@click.option("--export", metavar="FOLDER", type=_folder, help="Put what others need to verify it in this new folder.")
@options.as_json
def verify(
    run: Path, trust: Path | None, other: Path | None, anchors: tuple[str, ...], export: Path | None, as_json: bool
) -> None:
    """Check the log and the statement in RUN: a run folder of developer or auditor, or an exported one.

    Needs no key, no peer and no network. Ends with code 6 at the first thing that is wrong.
    """
    from amint_mpc.evidence import verify as evidence
    from amint_mpc.evidence.export import export as put
    from amint_mpc.runlog.expected import ExpectedEntries

    heads = tuple(map(_head, anchors))
    pinned = evidence.pinned_in(trust, run) if trust else None
    try:
        if other:
            evidence.compare_logs(run, other)
        found = evidence.verify(run, ExpectedEntries, pinned, heads)
    except EvidenceError as error:
        if as_json:
            echo(json_line({"holds": False, "error": error.message, "hint": error.hint}))
        raise
    if export:
        put(run, export)
    echo(json_line(_record(found)) if as_json else _text(found))
    if export and not as_json:
        echo(f"exported to {export}")


def _head(text: str) -> TreeHead:
    from amint_mpc.evidence.log import TreeHead

    match = _HEAD.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{text[:80]!r} is not the head of a log", "It is SIZE:ROOT, as amint-mpc evidence anchor prints it"
        )
    return TreeHead(int(match[1]), match[2])


def _record(found: Verified) -> dict[str, Any]:
    log = found.log
    return {
        "holds": True,
        "experiment": log.begin["experiment"],
        "insecure": log.begin["insecure"],
        "size": log.head.size,
        "root": log.head.root,
        "steps": log.steps,
        "stopped_epoch": log.stopped,
        "signed_heads": log.signed,
        "backbone": log.end["backbone"],
        "head": log.end["head"],
        "images": log.begin["data"],
        "queries": log.queries,
        "queried_images": log.queried,
        "answered_queries": log.answered,
        "dealt": log.dealt,
        "made": log.made,
        "fingerprints": dict(found.fingerprints),
        "compared_with_trusted": list(found.pinned),
        "covered": list(found.covered),
        "missing": list(found.missing),
        "not_covered": list(found.uncovered),
    }


def _few(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(excerpt(name, 80) for name in names[:SHOWN]) + more


def _steps(log: Walked) -> str:
    return f"{log.steps - log.sealed} joint and {log.sealed} sealed" if log.sealed else str(log.steps)


def _counts(data: dict[str, Any]) -> list[str]:
    return [f"{data[name]['size']} {name}" for name in ("members", "external", "unseen")]


def _text(found: Verified) -> str:
    log, experiment = found.log, found.experiment
    early = f", stopped early after epoch {log.stopped}" if log.stopped else ""
    lines = [
        "the evidence holds",
        f"experiment  {experiment.name}, {log.begin['experiment']}",
        f"log         {log.head.size} entries, root {log.head.root}",
        f"steps       {_steps(log)}, none missing, repeated or moved{early}",
        f"signed      {log.signed} heads and the statement, by developer and auditor",
        f"images      {', '.join(_counts(log.begin['data']))}, committed to before the first step",
        f"covered     {', '.join(found.covered)}: as the log has them",
    ]
    if found.missing:
        lines.append(f"missing     {', '.join(found.missing)}: covered by the log, and not in this folder")
    if found.uncovered:
        lines.append(f"not covered {_few(found.uncovered)}: nothing says whether they were changed")
    if log.queries:
        lines.append(f"queries     {log.queries}, of {log.queried} images in all; {log.answered} with a logged answer")
    if log.made is not None:
        lines.append("masks       made by the two parties; the log binds all that they sent each other for it")
    if log.dealt is not None:
        lines.append(f"dealt       {log.dealt['blocks']} blocks, signed by the dealer; {log.dealt['checked']} checked")
    for role, mark in found.fingerprints.items():
        lines.append(f"{role:11} {mark}{'   (trusted)' if role in found.pinned else ''}")
    if missing := [role for role in found.fingerprints if role not in found.pinned]:
        lines.append(
            f"Compare with what `amint-mpc keys show` prints at the {' and the '.join(missing)}, or give --trust."
        )
    if log.begin["insecure"]:
        lines.append(str(log.begin["insecure"]))
    return "\n".join(lines)
