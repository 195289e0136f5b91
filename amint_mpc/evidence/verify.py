"""Whether the evidence of a run holds: offline, without a secret and without a peer.

    1. The certificates are those of the log, and the pinned ones where there are such.
    2. The log: its chain, every head that both signed, no step missing, repeated or moved, the experiment's batches.
    3. The statement is the one that the log leads to, signed by both.
    4. The files that lie in the folder are those of the log's end, as far as it names them (`evidence.covered`).

Guarantees
    The first thing that is wrong is named, with its entry and step.
    All that is read is data: bounded, typed, no pickle. Malformed input ends in an `EvidenceError` or `UsageError`.

Edge cases
    Without pinned certificates it is shown that *some* two keys signed: their fingerprints are to be compared.
    The two parties together can write any log and sign it. A head that was published before (`anchors`) limits that.
    Digests of frames, and of the classifier at the checkpoints, are what the parties said: both signed them, but
    nothing here computes them again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from amint_mpc import identity
from amint_mpc.config import PARTIES, ROLES, Experiment, Role, load_experiment
from amint_mpc.errors import EvidenceError, UsageError
from amint_mpc.evidence import signing
from amint_mpc.evidence.canonical import Value
from amint_mpc.evidence.chain import Walked, Walker
from amint_mpc.evidence.commitments import DataCommitment
from amint_mpc.evidence.covered import check_files, missing, not_covered
from amint_mpc.evidence.entries import ExpectedLog
from amint_mpc.evidence.files import CERTIFICATES, EXPERIMENT, LOG, STATEMENT, check_regular, read_bounded
from amint_mpc.evidence.log import MAX_LINE, TreeHead, version_of
from amint_mpc.evidence.statement import PAYLOAD_TYPE, compare, statement
from amint_mpc.reading import read_mapping

MAX_IMAGES = 10**8
MAX_STEPS = 10**7


@dataclass(frozen=True)
class Verified:
    """Evidence that holds.

    Args:
        log: what the log says.
        fingerprints: of the certificates whose keys signed, the dealer's too where it did.
        pinned: the roles whose certificate was compared.
        covered: files of the folder that are those of the log. uncovered: what else lies there, which nothing vouches
            for; folders end with a slash. missing: what of this party's files the log covers, and is not there.
    """

    experiment: Experiment
    log: Walked
    fingerprints: Mapping[Role, str]
    pinned: tuple[Role, ...] = ()
    covered: tuple[str, ...] = ()
    uncovered: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def verify(
    run: Path,
    plan: Callable[[Experiment, int], ExpectedLog],
    pinned: Mapping[Role, x509.Certificate] | None = None,
    anchors: tuple[TreeHead, ...] = (),
) -> Verified:
    """Check a run folder, either party's, or what was exported from one.

    Args:
        plan: what the log of an experiment must hold in a version (`amint_mpc.runlog.expected`).
        pinned: certificates that are trusted already.
        anchors: heads that were published.

    Raises:
        EvidenceError: something does not hold.
        UsageError: this is not a run with a log, or its experiment cannot be read.
    """
    if not (run / LOG).is_file():
        raise UsageError(
            f"there is no log in {run}", f"A run with a log has {LOG} in its folder; dealer's runs have none"
        )
    experiment, digest = _experiment(run / EXPERIMENT)
    version = version_of(run / LOG)
    certificates = _certificates(run / CERTIFICATES, pinned or {}, version)
    fingerprints = {role: identity.fingerprint(certificate) for role, certificate in certificates.items()}
    marks: dict[str, Value] = {role: fingerprints[role] for role in PARTIES}
    begin: dict[str, Value] = {"experiment": digest, "certificates": marks}
    found = Walker(run / LOG, version, plan(experiment, version), begin, certificates, anchors).walk()
    if "dealer" in certificates and found.begin["dealer"] is None:
        raise EvidenceError("certificates: there is a dealer's, and the log names no dealer")
    DataCommitment.model_validate(found.begin["data"]).check_sizes(experiment.data)
    if found.queried > experiment.evidence.max_queries:
        limit = experiment.evidence.max_queries
        raise EvidenceError(f"log: {found.queried} images were queried, the experiment allows {limit}")
    _check_classifier(experiment, found)
    _check_statement(run / STATEMENT, found, certificates)
    compared = tuple(role for role in fingerprints if role in (pinned or ()))
    covered = tuple(check_files(run, found.end))
    rest = not_covered(run, covered), missing(run, covered, found.end)
    return Verified(experiment, found, fingerprints, compared, covered, *rest)


def compare_logs(mine: Path, other: Path) -> None:
    """Whether two parties have the same log.

    Raises:
        EvidenceError: it names the first entry that differs.
    """
    limit = MAX_LINE + 2
    try:
        with (mine / LOG).open("rb") as first, (other / LOG).open("rb") as second:
            number = 0
            while (line := first.readline(limit)) == (there := second.readline(limit)):
                if not line:
                    return
                number += 1
    except OSError as error:
        raise UsageError(f"cannot read a log: {error.strerror}", "Give the folders of two runs") from None
    what = "they disagree" if line and there else f"{mine if there else other} ends"
    raise EvidenceError(
        f"the logs of {mine} and {other} have {number} entries in common; at entry {number} {what}",
        "Each that verifies was signed by both keys: somebody who holds both has signed two logs",
    )


def pinned_in(folder: Path, run: Path) -> dict[Role, x509.Certificate]:
    """Certificates of both parties, and of a dealer where there is one, from a folder of keys or of certificates.

    Args:
        run: whose evidence is to be checked: what lies in it cannot vouch for it.

    Raises:
        UsageError: it has neither of them, a file is not a certificate of its role, or the folder is the run's own.
    """
    if run.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise UsageError(
            f"{folder} belongs to the run: its certificates cannot vouch for themselves",
            "Name your own folder of keys, with certificates whose fingerprints you have compared",
        )
    found: dict[Role, x509.Certificate] = {}
    for role in ROLES:
        files = (folder / "trusted" / f"{role}.pem", folder / f"{role}.pem")
        file = next((file for file in files if file.is_file()), None)
        if file is not None:
            found[role] = identity.read_certificate(file, role)
    if not found.keys() & set(PARTIES):
        raise UsageError(
            f"there are no certificates in {folder}", "Name a folder of keys, as `amint-mpc keys` makes it"
        )
    return found


def _experiment(path: Path) -> tuple[Experiment, str]:
    """The agreed settings, and their digest as they were written down: later versions may know more settings."""
    check_regular(path)
    written = read_mapping(path)
    training = written.get("training")
    before = isinstance(training, dict) and "sealed_epochs" not in training  # of a time without sealed epochs
    experiment = load_experiment(path, ["training.sealed_epochs=0"] if before else [])
    text = json.dumps(written, sort_keys=True, separators=(",", ":"))
    steps = experiment.steps_per_epoch * experiment.last_epoch + experiment.sealed_steps
    if max(experiment.data.members, experiment.data.external) > MAX_IMAGES or steps > MAX_STEPS:
        raise EvidenceError(f"{EXPERIMENT} speaks of {steps} steps: more than is verified here")
    return experiment, hashlib.sha256(text.encode()).hexdigest()


def _certificates(folder: Path, pinned: Mapping[Role, x509.Certificate], version: int) -> dict[Role, x509.Certificate]:
    found: dict[Role, x509.Certificate] = {}
    for role in ROLES if version > 1 and (folder / "dealer.pem").exists() else PARTIES:
        check_regular(folder / f"{role}.pem")
        try:
            found[role] = identity.read_certificate(folder / f"{role}.pem", role)
        except UsageError as error:
            raise EvidenceError(f"certificates: {error.message}") from None
        if found[role].public_bytes(Encoding.PEM) != read_bounded(folder / f"{role}.pem", 65536):
            raise EvidenceError(f"certificates: {role}.pem is not written as this program writes it")
        marks = [identity.fingerprint(each) for each in (found[role], pinned.get(role, found[role]))]
        if marks[0] != marks[1]:
            raise EvidenceError(
                f"certificates: the {role}'s is not the one that you trust\nhere    {marks[0]}\ntrusted {marks[1]}",
                "The evidence was signed with another key",
            )
    return found


def _check_classifier(experiment: Experiment, found: Walked) -> None:
    """After an early stop the classifier is that of the best evaluation, `patience` evaluations back."""
    if found.stopped is None:
        return
    at = found.stopped
    patience = experiment.training.patience
    if not patience:
        raise EvidenceError(f"log: the checkpoint of epoch {at}: it says stop, and the experiment has no patience")
    backbones = [each["backbone"] for each in found.checkpoints]
    back = len(backbones) - 1 - patience
    if back < 1:
        raise EvidenceError(
            f"log: the checkpoint of epoch {at}: it says stop before {patience} evaluations were no better"
        )
    wrong = "checkpoint" if backbones[back] != backbones[-1] else "end"
    if not backbones[back] == backbones[-1] == found.end["backbone"]:
        raise EvidenceError(
            f"log: the {wrong} after the stop at epoch {at}: its classifier is not the best evaluation's"
        )


def _check_statement(path: Path, found: Walked, certificates: Mapping[Role, x509.Certificate]) -> None:
    raw = read_bounded(path, signing.MAX_ENVELOPE)
    payload, signatures = signing.unseal(raw, PAYLOAD_TYPE, "statement")
    compare(payload, statement(found.begin, found.end, found.finished))
    if len(signatures) != len(PARTIES):
        raise EvidenceError(
            f"statement: it has {len(signatures)} signatures, and needs the {' and the '.join(PARTIES)}'s"
        )
    for role, signature in zip(PARTIES, signatures, strict=True):
        if not signing.verify(certificates[role], PAYLOAD_TYPE, payload, signature):
            raise EvidenceError(f"statement: the signature of the {role} is not by its certificate")
    marks = [(identity.fingerprint(certificates[role]), sig) for role, sig in zip(PARTIES, signatures, strict=True)]
    if signing.seal(PAYLOAD_TYPE, payload, marks) != raw:
        raise EvidenceError("statement: a keyid is not the fingerprint of the certificate that signed")
