"""`amint-mpc evidence`: proofs about the committed images, and the head of a log for publication."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from amint_mpc.cli import options
from amint_mpc.cli.anchor import anchor
from amint_mpc.cli.terminal import echo
from amint_mpc.errors import EvidenceError, UsageError
from amint_mpc.eventlines import json_line

if TYPE_CHECKING:
    from amint_mpc.evidence.proofs import ProofFile

_folder = click.Path(path_type=Path, file_okay=False)
_file = click.Path(path_type=Path, dir_okay=False)
_image = click.option("--image", metavar="FILE", type=_file, help="An image file.")
_run = click.option("--run", "run", metavar="RUN", type=_folder, required=True, help="The folder of the run.")


@click.group()
def evidence() -> None:
    """Prove what was committed to before the first step, and check such proofs."""


evidence.add_command(anchor)


@evidence.command()
@_run
@options.data
@click.option(
    "--images",
    "name",
    type=click.Choice(["members", "external", "unseen"]),
    default="members",
    show_default=True,
    help="The set that the proof is about.",
)
@_image
@click.option("--position", type=int, help="Instead of an image file: the image with this number in the set.")
@click.option("--step", type=int, help="Instead: all images of this joint step.")
@click.option("--out", metavar="FILE", type=_file, required=True, help="Where the proof goes.")
@click.option("--picture", metavar="FILE.png", type=_file, help="With --position: write the image there, losslessly.")
@options.as_json
def prove(
    run: Path,
    data: Path | None,
    name: Any,
    image: Path | None,
    position: int | None,
    step: int | None,
    out: Path,
    picture: Path | None,
    as_json: bool,
) -> None:
    """The developer: prove that an image is in a set, that it is not, or which images a step had.

    A proof that an image is in a set shows its label. A proof that it is not opens the salt of the index: whoever has
    it can try guesses at other images against the few hashes of such proofs (docs/evidence.md).
    """
    from amint_mpc.afterwards.proving import Prover, save

    if sum(each is not None for each in (image, position, step)) != 1:
        raise UsageError("give one of --image, --position and --step")
    if picture is not None and position is None:
        raise UsageError("--picture goes with --position")
    prover = Prover.load(run, options.images_folder(data))
    if image is not None:
        proof = prover.image(name, image)
    elif position is not None:
        proof = prover.position(name, position)
        if picture is not None:
            prover.picture(name, position, picture)
    else:
        assert step is not None
        proof = prover.step(step)
    save(proof, out)
    if as_json:
        echo(json_line({"proof": str(out), "claim": proof.proof.claim}))
        return
    echo(f"{_claim(proof)}\nproof: {out}")


@evidence.command()
@click.argument("proof", type=_file)
@_run
@_image
@click.option("--trust", metavar="FOLDER", type=_folder, help="As in `amint-mpc verify`.")
@options.as_json
def check(proof: Path, run: Path, image: Path | None, trust: Path | None, as_json: bool) -> None:
    """Anyone: check a PROOF against the evidence in RUN, and the image where it is about one.

    RUN is a folder of either party, or what `amint-mpc verify --export` made; all of its evidence is verified first.
    Ends with code 6 where something does not hold.
    """
    from amint_mpc.afterwards.proving import check_file

    try:
        found, verified = check_file(proof, run, image, trust)
    except EvidenceError as error:
        if as_json:
            echo(json_line({"holds": False, "error": error.message, "hint": error.hint}))
        raise
    if as_json:
        record = {"claim": found.proof.claim, "fingerprints": dict(verified.fingerprints)}
        echo(json_line({"holds": True, **record, "compared_with_trusted": list(verified.pinned)}))
        return
    lines = ["the proof holds", _claim(found)]
    lines += [f"{role:11} {mark}" for role, mark in verified.fingerprints.items()]
    echo("\n".join(lines))


def _claim(file: ProofFile) -> str:
    proof = file.proof
    if proof.claim == "included":
        label = f", with label {proof.leaf.label}" if proof.leaf.label >= 0 else ""
        what = {"members": "trained on with labels", "external": "shaped the classifier without labels"}
        used = what.get(proof.images, "in no training step")
        return f"this image is number {proof.leaf.position} of the {proof.images}{label} (by the commitment: {used})"
    if proof.claim == "absent":
        return (
            f"these exact pixels are none of the {proof.images} that the developer committed to; "
            "of an image that differs in one pixel this says nothing"
        )
    return f"step {proof.step} had these {len(proof.members)} members and {len(proof.external)} external images"
