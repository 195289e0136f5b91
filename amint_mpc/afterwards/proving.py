"""Proofs from files and into files: the developer's folder and images on one side, anybody's evidence on the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from amint_mpc.config import Experiment
from amint_mpc.data.pictures import read_picture
from amint_mpc.data.registry import dataset
from amint_mpc.data.split import SplitImages, load_split
from amint_mpc.errors import DataError, EvidenceError, UsageError
from amint_mpc.evidence.canonical import pixels_digest
from amint_mpc.evidence.commitments import SECRET_BYTES, Commitments, DataCommitment, SetName
from amint_mpc.evidence.files import SECRET, read_bounded, read_secret, write_new
from amint_mpc.evidence.proofs import (
    MAX_FILE,
    Absent,
    Included,
    ProofFile,
    Reopened,
    check,
    check_step,
    decode_file,
    encode_file,
    prove,
    reopen,
)
from amint_mpc.evidence.verify import Verified, pinned_in, verify
from amint_mpc.runlog.expected import ExpectedEntries, joint_positions


@dataclass(frozen=True)
class Prover:
    """A developer's finished run with its images and all that opens the commitment to them."""

    run: Path
    found: Verified
    images: SplitImages
    commitments: Commitments

    @property
    def experiment(self) -> Experiment:
        return self.found.experiment

    @classmethod
    def load(cls, run: Path, data: Path | None) -> Prover:
        """Args: run: the developer's folder. data: where image files lie.

        Raises:
            EvidenceError: the run's evidence does not hold.
            DataError: the images are not those of the run.
            UsageError: this is not a developer's folder of a run with a log.
        """
        found = verify(run, ExpectedEntries)
        return cls.of(run, found, load_split(found.experiment, data))

    @classmethod
    def of(cls, run: Path, found: Verified, images: SplitImages) -> Prover:
        """The same, of images that are here. Args: found: the evidence, which holds."""
        if not (run / SECRET).is_file():
            raise UsageError(
                f"{run} has no {SECRET}, which opens the commitment to the images", "It lies in the developer's folder"
            )
        wrong = f"{run / SECRET} is not the secret of a commitment"
        commitments = Commitments(images, read_secret(run / SECRET, SECRET_BYTES, wrong))
        if commitments.public() != _committed(found):
            raise DataError(
                "these are not the images that the run committed to", "Another data set, version or decoder of files"
            )
        return cls(run, found, images, commitments)

    def image(self, name: SetName, file: Path) -> ProofFile:
        """That the image in a file is in a set, or that it is not."""
        return self._about(prove(self.commitments, name, image_digest(self.experiment, file)))

    def position(self, name: SetName, position: int) -> ProofFile:
        """That the image with this number is in a set."""
        images = self.commitments.sets[name]
        _bounded(position, len(images.pixels), f"image {position} among the {name}")
        return self._about(prove(self.commitments, name, images.pixels[position]))

    def step(self, step: int) -> ProofFile:
        """Which images a joint step had."""
        return self._about(reopen(self.commitments, step, *positions(self.found, step)))

    def picture(self, name: SetName, position: int, file: Path) -> None:
        """Write an image as PNG, pixel for pixel."""
        if file.suffix.lower() != ".png":
            raise UsageError(f"{file.name}: a picture is written as .png", "Other formats may change pixels")
        pixels: torch.Tensor = getattr(self.images, name)[position]
        shown = pixels[0] if len(pixels) == 1 else pixels.permute(1, 2, 0)
        Image.fromarray(shown.contiguous().numpy()).save(file)

    def _about(self, proof: Included | Absent | Reopened) -> ProofFile:
        begin = self.found.log.begin
        return ProofFile(experiment=begin["experiment"], session=begin["session"], proof=proof)


def save(proof: ProofFile, file: Path) -> None:
    """Write it down; a file that exists is left alone."""
    write_new(file, encode_file(proof))


def check_file(file: Path, run: Path, image: Path | None, trust: Path | None) -> tuple[ProofFile, Verified]:
    """Check a proof against the evidence of a run, which is verified first.

    Args:
        image: the image that the proof is about. trust: a folder of keys with the certificates of both.

    Raises:
        EvidenceError: something does not hold.
        UsageError: the proof is about an image and none is given, or the other way round.
    """
    proof = decode_file(read_bounded(file, MAX_FILE))
    found = verify(run, ExpectedEntries, pinned_in(trust, run) if trust else None)
    for key in ("experiment", "session"):
        if getattr(proof, key) != found.log.begin[key]:
            raise EvidenceError(f"proof: it is about another {'run' if key == 'session' else key} than {run}")
    committed, claim = _committed(found), proof.proof
    if isinstance(claim, Reopened):
        if image is not None:
            raise UsageError("this proof is about a step, not about one image", "Leave out --image")
        check_step(claim, committed, *positions(found, claim.step))
    else:
        if image is None:
            raise UsageError("this proof is about an image", "Give it with --image")
        check(claim, committed, image_digest(found.experiment, image))
    return proof, found


def positions(found: Verified, step: int) -> tuple[list[int], list[int]]:
    """Which members and external images a step has.

    Raises:
        UsageError: the log has no entry of such a step: steps of the sealed phase have one together.
    """
    experiment = found.experiment
    _bounded(step, found.log.steps - found.log.sealed, f"step {step}")
    return next(batch for number, batch in enumerate(joint_positions(experiment)) if number == step)


def image_digest(experiment: Experiment, file: Path) -> bytes:
    """Of the pixels that the experiment would train on if it were given this file: in its colours and size.

    Raises:
        DataError: as `read_image`.
    """
    return bytes.fromhex(pixels_digest(read_image(experiment, file)))


def read_image(experiment: Experiment, file: Path) -> torch.Tensor:
    """uint8 [C, H, W], as the experiment's data set has its images.

    Raises:
        DataError: it cannot be read, or has another size where images of this data set are not scaled.
    """
    kind = dataset(experiment.data)
    return torch.from_numpy(read_picture(file, kind.shape, scale=kind.scaled).copy())


def _bounded(number: int, count: int, what: str) -> None:
    if not 0 <= number < count:
        raise UsageError(f"there is no {what}: the run has {count}, numbered from 0")


def _committed(found: Verified) -> DataCommitment:
    return DataCommitment.model_validate(found.log.begin["data"])
