"""Entries since version 2 of the log: the sealed phase in one, what a dealer signed, and everything wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from amint_mpc import identity
from amint_mpc.config import Role
from amint_mpc.errors import ProtocolError
from amint_mpc.evidence.entries import FILES
from amint_mpc.evidence.export import export
from amint_mpc.evidence.files import CERTIFICATES, EXPERIMENT, FILES_SALT, STATEMENT
from amint_mpc.evidence.verify import compare_logs, pinned_in
from amint_mpc.runlog import recorder
from amint_mpc.runlog.interface import RunLog
from tests.evidence.bundles import Bundle, deep, flipped
from tests.runlog.both_logs import BLOCKS, MADE, SEALED, SMALL, BothLogs

DEALERS = CERTIFICATES / "dealer.pem"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> BothLogs:
    return BothLogs(tmp_path_factory.mktemp("both"), SEALED)


@pytest.fixture
def dealt(written: BothLogs, tmp_path: Path) -> Bundle:
    """The auditor's evidence, to be changed."""
    export(written.root / "auditor", tmp_path / "copy")
    return Bundle(tmp_path / "copy", written.keys)


def test_both_write_the_same_and_it_holds(written: BothLogs) -> None:
    paths = [written.folders[role].path for role in ("developer", "auditor")]
    compare_logs(*paths)
    found = written.folders["developer"].verify()
    assert (found.log.steps, found.log.sealed) == (4 + 6, 6)
    assert found.log.dealt["blocks"] == BLOCKS
    assert list(found.fingerprints) == ["developer", "auditor", "dealer"]
    assert [entry["kind"] for entry in written.folders["auditor"].entries][-6:] == [
        *("signed", "sealed", "score", "dealt", "end", "signed"),
    ]
    salts = [(path / FILES_SALT) for path in paths]
    assert salts[0].read_bytes() != salts[1].read_bytes()
    assert [salt.stat().st_mode & 0o777 for salt in salts] == [0o600] * 2


def test_without_a_dealer_nothing_is_dealt(tmp_path: Path) -> None:
    settings = [*SMALL, "security.correlations=two-party"]
    bundle = BothLogs(tmp_path, settings, dealer=False).folders["developer"]
    found = bundle.verify()
    assert found.log.begin["dealer"] is None
    assert found.log.dealt is None
    assert found.log.made == {"links": 2, "frames": {"developer": MADE[0], "auditor": MADE[1]}, "kept": None}
    assert not (bundle.path / DEALERS).exists()


def test_a_run_with_a_dealer_names_it(tmp_path: Path) -> None:
    bundle = BothLogs(tmp_path, SMALL, dealer=False).folders["developer"]
    bundle.refused("entry 0, the beginning: it names no dealer, and the experiment has one")


def test_a_dealer_where_nobody_deals_is_refused(dealt: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nobody deals in this experiment"):
        BothLogs(tmp_path, [*SMALL, "security.correlations=two-party"])


def test_what_the_dealer_did_not_sign_is_not_written_down(tmp_path: Path) -> None:
    def wrong(log: RunLog, role: Role, signature: bytes) -> None:
        log.dealt(BLOCKS + 1, "c" * 64, 0, signature)

    with pytest.raises(ProtocolError, match="the dealer's signature under what it dealt is not its own"):
        BothLogs(tmp_path, SMALL, dealt=wrong)


@pytest.mark.parametrize("told", [None, [], {}, {"x": "0" * 64}, "all", 10**30])
def test_what_a_peer_says_of_its_files_is_data(told: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "FilesOfBoth", _Swapped(told))
    with pytest.raises(ProtocolError, match=r"what the (developer|auditor) says of its files is malformed"):
        BothLogs(tmp_path, SMALL)


class _Swapped:
    """`FilesOfBoth`, given something else than what came."""

    def __init__(self, told: Any) -> None:
        self._told, self._model = told, recorder.FilesOfBoth

    def model_validate(self, value: dict[str, Any]) -> Any:
        return self._model.model_validate(dict.fromkeys(value, self._told))


# ---- kind, which of them, field, how, and what must be said with both keys
CHANGED: dict[str, tuple[str, str, Callable[[Any], Any], str]] = {
    "no dealer": ("begin", "dealer", lambda _: None, "it names no dealer, and the experiment has one"),
    "another session": ("begin", "dealer.session", flipped, "the signature of the dealer is not by its certificate"),
    "another seed": ("begin", "dealer.seeds.auditor", flipped, "the signature of the dealer is not by its certificate"),
    "another dealer": ("begin", "dealer.certificate", lambda x: flipped(x, 9), "certificate of its dealer is not the"),
    "a long session": ("begin", "dealer.session", lambda x: x + "00", "the beginning: dealer.session is not as"),
    "a key more": ("begin", "dealer", lambda x: {**x, "more": 1}, "the beginning: dealer.more is not as"),
    "fewer blocks": ("dealt", "blocks", lambda x: x - 1, "what the dealer has dealt: the signature of the dealer is"),
    "another chain": ("dealt", "chain", flipped, "what the dealer has dealt: the signature of the dealer is not"),
    "no signature": ("dealt", "signature", lambda _: "", "what the dealer has dealt: signature is not as"),
    "its signature": ("dealt", "signature", flipped, "what the dealer has dealt: the signature of the dealer is not"),
    "more checked": ("dealt", "checked", lambda _: BLOCKS + 1, "more blocks were checked than dealt"),
    "below nothing": ("dealt", "checked", lambda _: -1, "what the dealer has dealt: checked is not as"),
    "a sealed step less": ("sealed", "steps", lambda x: x - 1, "the sealed phase .*: its steps is not the one"),
    "another first": ("sealed", "first", lambda x: x + 1, "the sealed phase .*: its first is not the one of this run"),
    "another last epoch": ("sealed", "epoch", lambda x: x + 1, "the sealed phase .*: its epoch is not the one"),
    "no frames": ("sealed", "frames", lambda _: None, "the sealed phase .*: frames is not as such an entry has it"),
    "a step in its place": ("sealed", "kind", lambda _: "step", "a step: .* is not as such an entry has it"),
    "no files": ("end", "files", lambda _: None, "the end: files is not as"),
    "a file less": ("end", "files.auditor", lambda x: {"summary.json": x["summary.json"]}, "the end: files is not as"),
    "a file more": ("end", "files.developer", lambda x: {**x, "x": "0" * 64}, "the end: files.developer.* is not as"),
    "no digest": ("end", "files.developer", lambda x: dict.fromkeys(x, 7), "the end: files.developer.* is not as"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_changed_value_is_found_though_both_have_signed_it(name: str, dealt: Bundle) -> None:
    kind, field, change, said = CHANGED[name]
    dealt.edit(dealt.at(kind), lambda entry: deep(entry, field, change))
    dealt.resign("developer", "auditor")
    dealt.refused(said)


def test_a_file_digest_that_one_changes_is_found_by_the_signatures(dealt: Bundle) -> None:
    dealt.edit(dealt.at("end"), lambda entry: entry["files"]["auditor"].update({FILES["auditor"][0]: "0" * 64}))
    dealt.rechain()
    dealt.refused("the signed head of the end: what was signed is not the log before it")


@pytest.mark.parametrize(("kind", "said"), [("dealt", "should be what the dealer has dealt"), ("sealed", "should be")])
def test_a_missing_entry(kind: str, said: str, dealt: Bundle) -> None:
    at = dealt.at(kind)
    dealt.lines = dealt.lines[:at] + dealt.lines[at + 1 :]
    dealt.resign("developer", "auditor")
    dealt.refused(f"entry {at}, {said}")


def test_certificates_of_a_dealer(dealt: Bundle, written: BothLogs, tmp_path: Path) -> None:
    good = (dealt.path / DEALERS).read_bytes()
    identity.create_for_one_machine({"dealer": tmp_path / "other"})
    (dealt.path / DEALERS).write_bytes((tmp_path / "other" / "dealer.pem").read_bytes())
    dealt.refused("the beginning: the certificate of its dealer is not the one in the folder")
    (dealt.path / DEALERS).write_bytes(b"no certificate")
    dealt.refused("certificates: .*dealer.pem is not a certificate")
    (dealt.path / DEALERS).unlink()
    dealt.refused("the beginning: it names a dealer, and its certificate is missing")
    (dealt.path / DEALERS).write_bytes(good)
    for role in ("developer", "auditor"):
        found = dealt.verify(pinned=pinned_in(written.keys / role, dealt.path))
        assert "dealer" in found.pinned
    wrong = {"dealer": identity.read_certificate(tmp_path / "other" / "dealer.pem", "dealer")}
    dealt.refused("certificates: the dealer's is not the one that you trust", pinned=wrong)


def test_a_dealers_certificate_that_the_log_does_not_name(tmp_path: Path) -> None:
    both = BothLogs(tmp_path, [*SMALL, "security.correlations=two-party"], dealer=False)
    bundle = both.folders["auditor"]
    (bundle.path / DEALERS).write_bytes((both.keys / "dealer" / "dealer.pem").read_bytes())
    bundle.refused("certificates: there is a dealer's, and the log names no dealer")


def test_an_experiment_without_a_dealer_has_none_in_its_log(dealt: Bundle) -> None:
    dealt.file(EXPERIMENT, lambda raw: raw.replace(b"correlations: dealer", b"correlations: two-party"))
    dealt.refused("entry 0, the beginning: its dealer is not the one of this run")


# ---- queries after the end

QUERY: dict[str, Any] = {
    **{"kind": "query", "session": "1" * 64, "images": 3, "digest": "2" * 64, "canaries": [23, 0]},
    "decoders": {"developer": "Pillow 1, libjpeg 2", "auditor": None},
}
SIGNED: dict[str, Any] = {"kind": "signed", "size": 0, "root": "", "signatures": {}}
ANSWER: dict[str, Any] = {"kind": "answer", "frames": {"developer": "3" * 64, "auditor": "4" * 64}}


def after(bundle: Bundle, *more: dict[str, Any]) -> None:
    bundle.entries = [*bundle.entries, *({"index": 0, "previous": "", **entry} for entry in more)]
    statement = (bundle.path / STATEMENT).read_bytes()
    bundle.resign("developer", "auditor")
    (bundle.path / STATEMENT).write_bytes(statement)  # queries come after it


GOOD = {
    "answered": ((QUERY, SIGNED, ANSWER, SIGNED), (1, 3, 1)),
    "broken off": ((QUERY, SIGNED), (1, 3, 0)),
    "broken off, then answered": ((QUERY, SIGNED, QUERY, SIGNED, ANSWER, SIGNED), (2, 6, 1)),
}


@pytest.mark.parametrize("name", GOOD)
def test_queries_that_hold(name: str, dealt: Bundle) -> None:
    more, counts = GOOD[name]
    after(dealt, *more)
    found = dealt.verify().log
    assert (found.queries, found.queried, found.answered) == counts


BAD: dict[str, tuple[tuple[dict[str, Any], ...], str]] = {
    "an answer to nothing": ((ANSWER, SIGNED), "an answer follows no signed query"),
    "an answer before the signatures": ((QUERY, ANSWER, SIGNED), "an answer follows no signed query"),
    "two answers": ((QUERY, SIGNED, ANSWER, SIGNED, ANSWER, SIGNED), "an answer follows no signed query"),
    "an unsigned answer": ((QUERY, SIGNED, ANSWER), "at its end are not signed"),
    "an unsigned query before another": ((QUERY, QUERY, SIGNED), "a query follows an entry that is not signed"),
    "a canary twice": (({**QUERY, "canaries": [1, 1]}, SIGNED), "is not as such an entry has it"),
    "nothing but canaries": (({**QUERY, "canaries": [1, 2, 3]}, SIGNED), "is not as such an entry has it"),
    "a canary that is no member": (({**QUERY, "canaries": [24]}, SIGNED), "its canaries are not numbers of members"),
    "a canary below": (({**QUERY, "canaries": [-1]}, SIGNED), "a query: canaries.0 is not as"),
    "many canaries": (({**QUERY, "images": 10**6, "canaries": [*range(10_001)]}, SIGNED), "a query: canaries is not"),
    "no decoders": (({**QUERY, "decoders": None}, SIGNED), "a query: decoders is not as"),
    "a decoder with a line break": (
        ({**QUERY, "decoders": {"developer": "a\nb", "auditor": None}}, SIGNED),
        "a query: decoders.developer is not as",
    ),
    "a query of version 1": (
        ({key: value for key, value in QUERY.items() if key not in ("canaries", "decoders")}, SIGNED),
        "a query: canaries is not as",
    ),
    "a step": (({"kind": "step"}, SIGNED), "step stands after the end"),
    "too many": (({**QUERY, "images": 10**6}, SIGNED), "1000000 images were queried, the experiment allows"),
}


@pytest.mark.parametrize("name", BAD)
def test_queries_that_do_not_hold(name: str, dealt: Bundle) -> None:
    more, said = BAD[name]
    after(dealt, *more)
    dealt.refused(said)
