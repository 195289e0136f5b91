"""`amint-mpc attest`: the digests of the software on this machine, and whether they are those of another record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from amint_mpc.cli import options
from amint_mpc.cli.terminal import echo
from amint_mpc.errors import PeerError
from amint_mpc.eventlines import json_line

if TYPE_CHECKING:
    from amint_mpc.evidence.attestation import Attestation, Difference

DECIDING = ("code", "dependencies")


@click.command()
@click.option(
    "--check",
    "other",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Compare with a record that `attest --json` made here or elsewhere.",
)
@options.as_json
def attest(other: Path | None, as_json: bool) -> None:
    """Show the digests of this program's code and of all that it needs.

    Parties exchange them when they connect, and an experiment can hold all of them to certain ones
    (security.required_code, security.required_image). They are a machine's own word: whoever controls it can
    report any digest.

    With --check, code and versions of the dependencies must be the same, else the command ends with code 3. Other
    differences (compiler, Python, machine, image) are shown.
    """
    from amint_mpc.evidence import attestation  # loads torch

    theirs = attestation.read(other) if other else None
    ours = attestation.full()
    found = attestation.differences(ours, theirs) if theirs else []
    if as_json:
        told = {"differences": [vars(each) for each in found]} if theirs else {}
        echo(json_line({**ours.model_dump(), **told}))
    else:
        _show(ours)
        if other:
            _compare(found, other)
    wrong = [each for each in found if each.what in DECIDING]
    if wrong:
        raise PeerError(
            f"the software here is not that of {other}: " + "; ".join(f"{it.what}: {it.named}" for it in wrong),
            "Install the same version on both machines, from the same lock file. Files that differ in line endings "
            "alone were changed by git (core.autocrlf): clone again",
        )


def _show(ours: Attestation) -> None:
    lines = {
        "version": ours.version,
        "code": f"{ours.code}   {len(ours.files)} files",
        "native": ours.native or "none: no C compiler when it was installed",
        "dependencies": f"{ours.dependencies}   {len(ours.packages)} packages",
        "wheels": ours.wheels,
        "python": ours.python,
        "machine": ours.machine,
        "decoder": ours.decoder or "none",
        "image": f"{ours.image}   as the environment says" if ours.image else "none told",
    }
    for name, text in lines.items():
        echo(f"{name:14}{text}")


def _compare(found: list[Difference], other: Path) -> None:
    echo("")
    if not found:
        echo(f"All of it is as in {other}.")
    for each in found:
        echo(f"{each.what} differs: here {each.here}, there {each.there}")
        if each.named:
            echo(f"    {each.named}")
