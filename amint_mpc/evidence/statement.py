"""What both parties say together of a finished run: an in-toto Statement v1 in a DSSE envelope, signed by both.

It says nothing that the log does not: experiment, commitment to the images, classifier, commitment to the head,
software of both, and the head of the log. Whoever has the log can make it again and compare.

Sources: in-toto attestation framework, Statement v1; DSSE protocol v1.0.2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from amint_mpc.errors import EvidenceError
from amint_mpc.evidence.canonical import Value, encode
from amint_mpc.evidence.log import TreeHead
from amint_mpc.printable import excerpt

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:amint-mpc:run:"
PREDICATE_VERSION = 3
"""The same number as that of the log's entries: a statement about a log of version 1 is of version 1, too."""
TENSORS = "amintMpcTensors1"
"""The digest algorithm of named tensors (`canonical.tensors_digest`): no file's SHA-256, so it is not called sha256."""
COMMITMENT = "amintMpcHeadCommitment1"


def statement(begin: Mapping[str, Any], end: Mapping[str, Any], head: TreeHead) -> bytes:
    """The payload, canonical JSON.

    Args:
        begin, end: those entries of the log (`amint_mpc.evidence.entries`), as plain records.
        head: of the log with everything up to the countersigned end.
    """
    subject: list[Value] = [
        {"digest": {TENSORS: end["backbone"]}, "name": "backbone"},
        {"digest": {COMMITMENT: end["head"]}, "name": "head"},
    ]
    predicate: dict[str, Value] = {key: value for key, value in begin.items() if key != "version"}
    predicate |= {"backbone": end["backbone"], "head": end["head"], "figures": end["figures"]}
    if "files" in end:
        predicate["files"] = end["files"]
    predicate["log"] = {"root": head.root, "size": head.size}
    return encode(
        {
            "_type": STATEMENT_TYPE,
            "predicate": predicate,
            "predicateType": f"{PREDICATE}{begin['version']}",
            "subject": subject,
        }
    )


def compare(payload: bytes, expected: bytes) -> None:
    """Whether a statement is the one that the log leads to.

    Raises:
        EvidenceError: it is not; names the first line that differs, or that it is of a newer version.
    """
    if payload == expected:
        return
    try:
        found = dict(_flat(json.loads(payload)))
    except (ValueError, RecursionError):
        raise EvidenceError("statement: it is no JSON") from None
    kind = str(found.get("predicateType"))
    version = kind.removeprefix(PREDICATE)
    if kind.startswith(PREDICATE) and version.isdecimal() and int(version[:9]) > PREDICATE_VERSION:
        raise EvidenceError(
            f"statement: it is of version {version[:9]}, this program reads {PREDICATE_VERSION}",
            "Verify it with a newer version of amint-mpc",
        )
    ours = dict(_flat(json.loads(expected)))
    wrong = next((key for key in sorted({*found, *ours}) if found.get(key) != ours.get(key)), "its form")
    raise EvidenceError(
        f"statement: {excerpt(wrong)} is not what the log says", "It is of another run, or one of the two was changed"
    )


def _flat(value: object, key: str = "") -> list[tuple[str, object]]:
    items: list[tuple[str, object]]
    if isinstance(value, dict):
        items = [(str(name), item) for name, item in value.items()]
    elif isinstance(value, list):
        items = [(str(number), item) for number, item in enumerate(value)]
    else:
        return [(key, value)]
    return [pair for name, item in items for pair in _flat(item, f"{key}.{name}" if key else name)] or [(key, None)]
