"""Ways to tamper with the statement of a run: each is refused, with a message that names the place."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from amint_mpc.evidence.files import STATEMENT
from tests.evidence.bundles import Bundle, deep, flipped


def payload(change: Callable[[dict], object]) -> Callable[[dict], None]:
    def edit(envelope: dict) -> None:
        content = json.loads(base64.b64decode(envelope["payload"]))
        change(content)
        raw = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
        envelope["payload"] = base64.b64encode(raw).decode()

    return edit


def signature(number: int, text: str = "sig") -> Callable[[dict], None]:
    return lambda envelope: deep(envelope["signatures"][number], text, flipped)


ENVELOPES: dict[str, tuple[Callable[[dict], object], str]] = {
    "another classifier": (payload(lambda x: deep(x, "predicate.backbone", flipped)), "predicate.backbone is not what"),
    "another head": (payload(lambda x: deep(x, "predicate.head", flipped)), "statement: predicate.head is not what"),
    "other images": (payload(lambda x: x["predicate"].update(data={"members": "0"})), "statement: predicate.data"),
    "another experiment": (payload(lambda x: deep(x, "predicate.experiment", flipped)), "predicate.experiment"),
    "other figures": (
        payload(lambda x: deep(x, "predicate.figures.mint_auc.value", flipped)),
        "figures.mint_auc.value",
    ),
    "other software": (payload(lambda x: deep(x, "predicate.software.auditor.code", flipped)), "software.auditor.code"),
    "another log": (payload(lambda x: deep(x, "predicate.log.root", flipped)), "statement: predicate.log.root is not"),
    "another subject": (payload(lambda x: deep(x["subject"][0], "name", str.upper)), "statement: subject.0.name"),
    "a line more": (payload(lambda x: x["predicate"].update(good=True)), "statement: predicate.good is not what"),
    "security given up": (payload(lambda x: x["predicate"].update(insecure="x")), "statement: predicate.insecure"),
    "another type": (payload(lambda x: x.update(_type="x")), "statement: _type is not what the log says"),
    "a newer version": (payload(lambda x: x.update(predicateType="urn:amint-mpc:run:4")), "it is of version 4"),
    "no JSON": (lambda x: x.update(payload=base64.b64encode(b"{").decode()), "statement: it is no JSON"),
    "the developer's signature": (signature(0), "statement: the signature of the developer is not by its certificate"),
    "the auditor's signature": (signature(1), "statement: the signature of the auditor is not by its certificate"),
    "swapped signatures": (lambda x: x["signatures"].reverse(), "statement: the signature of the developer is not"),
    "one signature": (lambda x: x["signatures"].pop(), "statement: it has 1 signatures, and needs"),
    "three signatures": (lambda x: x["signatures"].append(x["signatures"][0]), "statement: it has 3 signatures"),
    "no signature": (lambda x: x["signatures"].clear(), "statement is no DSSE envelope"),
    "a keyid": (signature(0, "keyid"), "statement: a keyid is not the fingerprint"),
    "a payload type": (lambda x: x.update(payloadType="text/plain"), "statement holds another type of payload"),
    "a key more": (lambda x: x.update(more=1), "statement is no DSSE envelope"),
    "no base64": (lambda x: x.update(payload="*"), "statement is no DSSE envelope"),
}


@pytest.mark.parametrize("name", ENVELOPES)
def test_a_changed_statement(name: str, bundle: Bundle) -> None:
    change, said = ENVELOPES[name]
    bundle.envelope(change)
    bundle.refused(said)


def test_the_statement_of_another_run(bundle: Bundle, folders: dict[str, Bundle], tmp_path: Path) -> None:
    """Signed by the same two, and good beside its own log."""
    other = folders["auditor"].copy(tmp_path / "other")
    other.edit(0, lambda entry: deep(entry, "session", flipped))
    other.resign("developer", "auditor")
    other.verify()
    (bundle.path / STATEMENT).write_bytes((other.path / STATEMENT).read_bytes())
    error = bundle.refused("statement: predicate.log.root is not what the log says")
    assert "of another run" in error.hint


def test_a_statement_that_is_missing_or_too_long(bundle: Bundle) -> None:
    bundle.file(STATEMENT, lambda raw: raw + b" " * 2_000_000)
    bundle.refused("statement.json is longer than")
    (bundle.path / STATEMENT).unlink()
    bundle.refused("cannot read .*statement.json")
