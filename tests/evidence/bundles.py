"""The evidence of a run as something to tamper with: as a passer-by, or as a party that has its own key."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from amint_mpc import identity
from amint_mpc.config import Role, load_experiment
from amint_mpc.errors import EvidenceError
from amint_mpc.evidence import signing
from amint_mpc.evidence.canonical import encode
from amint_mpc.evidence.entries import HEAD_TYPE, signed_payload
from amint_mpc.evidence.files import FILES_SALT, LOG, STATEMENT
from amint_mpc.evidence.log import TreeHead
from amint_mpc.evidence.merkle import EMPTY, GrowingRoot, leaf_hash
from amint_mpc.evidence.statement import PAYLOAD_TYPE, statement
from amint_mpc.evidence.verify import verify
from amint_mpc.models.head_weights import init_head, seeded_normal
from amint_mpc.roles.heads import head_kind
from amint_mpc.runlog.expected import ExpectedEntries
from tests.roles.memory_runs import Secure, secure_run

TINY = [
    "security.correlations=dealer",
    *("data.members=48", "data.external=48", "data.unseen=40", "training.batch=24", "model.width=2", "head.hidden=2"),
    *("training.epochs=3", "training.evaluate_every=1", "disclosure.epoch_figures=true"),
]

Record = dict[str, Any]


def logged_run(root: Path) -> Secure:
    """A small secure run in `root`, in this process; the keys of both stay in root/keys."""
    experiment = load_experiment("smoke", TINY)
    first = init_head(head_kind(experiment).inputs, experiment.head.hidden, seeded_normal(1)).tensors()
    return secure_run(experiment, root, first, logged=True)


class Bundle:
    """A copy of a run folder.

    Args:
        keys: folders of the keys of both, for those cases in which a key is misused.
    """

    def __init__(self, path: Path, keys: Path) -> None:
        self.path, self.keys = path, keys

    def copy(self, to: Path) -> Bundle:
        shutil.copytree(self.path, to)
        return Bundle(to, self.keys)

    def verify(self, **more: Any) -> Any:
        return verify(self.path, ExpectedEntries, **more)

    def refused(self, match: str, **more: Any) -> EvidenceError:
        """It must not verify, and say why."""
        with pytest.raises(EvidenceError, match=match) as caught:
            self.verify(**more)
        return caught.value

    def file(self, name: str | Path, change: Callable[[bytes], bytes]) -> None:
        path = self.path / name
        path.write_bytes(change(path.read_bytes()))

    # ---- the log

    @property
    def lines(self) -> list[bytes]:
        return (self.path / LOG).read_bytes().splitlines()

    @lines.setter
    def lines(self, lines: list[bytes]) -> None:
        (self.path / LOG).write_bytes(b"".join(line + b"\n" for line in lines))

    @property
    def entries(self) -> list[Record]:
        return [json.loads(line) for line in self.lines]

    @entries.setter
    def entries(self, entries: list[Record]) -> None:
        self.lines = [encode(entry) for entry in entries]

    def at(self, kind: str, which: int = 0) -> int:
        """Index of an entry by its kind; -1: the last one."""
        return [index for index, entry in enumerate(self.entries) if entry["kind"] == kind][which]

    def edit(self, index: int, change: Callable[[Record], Any]) -> None:
        """Change one entry and leave all others as they are."""
        entries = self.entries
        change(entries[index])
        self.entries = entries

    def rechain(self) -> None:
        """Index and link of every entry made to fit, as anybody can."""
        previous, lines = EMPTY, []
        for index, entry in enumerate(self.entries):
            lines.append(encode({**entry, "index": index, "previous": previous.hex()}))
            previous = leaf_hash(lines[-1])
        self.lines = lines

    def resign(self, *roles: Role, keys: Path | None = None) -> None:
        """Chain, heads and statement made to fit, with the signatures of those whose keys are misused."""
        owners = {role: identity.load((keys or self.keys) / role, role) for role in roles}
        tree, previous, lines = GrowingRoot(), EMPTY, []
        entries = self.entries
        for index, entry in enumerate(entries):
            if entry["kind"] == "signed":
                head = TreeHead(tree.size, tree.root().hex())
                made = {role: signing.sign(own, HEAD_TYPE, signed_payload(head)).hex() for role, own in owners.items()}
                entry |= {"size": head.size, "root": head.root, "signatures": entry["signatures"] | made}
            line = encode({**entry, "index": index, "previous": previous.hex()})
            previous = leaf_hash(line)
            tree.append(previous)
            lines.append(line)
        self.lines = lines
        if entries[0]["kind"] != "begin" or all(entry["kind"] != "end" for entry in entries):
            return
        plain = {entry["kind"]: self.plain(entry) for entry in entries}
        payload = statement(plain["begin"], plain["end"], TreeHead(tree.size, tree.root().hex()))
        self.seal(payload, {role: signing.sign(own, PAYLOAD_TYPE, payload) for role, own in owners.items()})

    def of_version_1(self) -> None:
        """As a run of that time would have been written and signed."""

        def without(entry: Record, key: str) -> None:
            del entry[key]

        self.edit(0, lambda entry: without(entry, "dealer"))
        self.edit(0, lambda entry: entry.update(version=1))
        self.edit(self.at("end"), lambda entry: without(entry, "files"))
        self.entries = [entry for entry in self.entries if entry["kind"] != "dealt"]
        (self.path / FILES_SALT).unlink()
        self.resign("developer", "auditor")

    @staticmethod
    def plain(entry: Record) -> Record:
        return {key: value for key, value in entry.items() if key not in ("index", "kind", "previous")}

    # ---- the statement

    def envelope(self, change: Callable[[Record], Any]) -> None:
        """Change the envelope, and write it as it is written."""
        envelope = json.loads((self.path / STATEMENT).read_bytes())
        change(envelope)
        (self.path / STATEMENT).write_bytes(encode(envelope) + b"\n")

    def seal(self, payload: bytes, signatures: dict[Role, bytes]) -> None:
        """Another payload, with the old signatures where there are no new ones."""

        def change(envelope: Record) -> None:
            envelope["payload"] = base64.b64encode(payload).decode()
            for number, role in enumerate(("developer", "auditor")):
                if role in signatures:
                    envelope["signatures"][number]["sig"] = base64.b64encode(signatures[role]).decode()

        self.envelope(change)


def flipped(text: str, at: int = 0) -> str:
    """Hex or base64 with one digit changed."""
    return text[:at] + ("1" if text[at] != "1" else "2") + text[at + 1 :]


def flip(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


def deep(entry: dict, path: str, change: Callable) -> None:
    *above, last = path.split(".")
    for key in above:
        entry = entry[key]
    entry[last] = change(entry[last])


# ---- one value changed, and nothing else: the chain breaks at the next entry, or a signature at this one
