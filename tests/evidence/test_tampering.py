"""Ways to tamper with the evidence of a run: each is refused, with a message that names the place."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from amint_mpc import identity
from amint_mpc.errors import EvidenceError, UsageError
from amint_mpc.evidence.files import CERTIFICATES, EXPERIMENT, LOG, SALT, STATEMENT
from amint_mpc.evidence.log import TreeHead
from amint_mpc.evidence.verify import compare_logs, pinned_in
from amint_mpc.reading import read_mapping
from tests.evidence.bundles import Bundle, deep, flip, flipped

HEX = "0" * 64


CHANGED = {  # kind, which of them, field, how, and what must be said
    "the session": ("begin", 0, "session", flipped, "entry 1 does not follow entry 0"),
    "the experiment's digest": ("begin", 0, "experiment", flipped, "entry 0, the beginning: its experiment"),
    "a certificate": ("begin", 0, "certificates.auditor", lambda x: flipped(x, 9), "entry 0, the beginning: its cert"),
    "the software": ("begin", 0, "software.developer.code", flipped, "entry 1 does not follow entry 0"),
    "the images": ("begin", 0, "data.members.root", flipped, "entry 1 does not follow entry 0"),
    "no commitment to them": ("begin", 0, "data", lambda _: None, "entry 0, the beginning: data is not as"),
    "how many there are": ("begin", 0, "data.unseen.size", lambda x: x + 1, "entry 1 does not follow entry 0"),
    "security given up": ("begin", 0, "insecure", lambda _: "INSECURE", "entry 0, the beginning: its insecure"),
    "the first classifier": ("checkpoint", 0, "backbone", flipped, "entry 2 does not follow entry 1"),
    "a checkpoint's epoch": ("checkpoint", 1, "epoch", lambda x: x + 1, "the checkpoint of epoch 2: its epoch"),
    "opened figures": ("checkpoint", 1, "figures.mint_auc", lambda _: "0.99", "does not follow entry 6, or"),
    "a stop": ("checkpoint", 1, "stop", lambda _: True, "does not follow entry 6, or one of the two"),
    "what was signed": ("signed", 1, "root", flipped, "the signed head after the checkpoint of epoch 2: what was"),
    "how much was signed": ("signed", 1, "size", lambda x: x - 1, "what was signed is not the log before it"),
    "the developer's signature": (
        "signed",
        1,
        "signatures.developer",
        flipped,
        "the signature of the developer is not",
    ),
    "the auditor's signature": ("signed", 1, "signatures.auditor", flipped, "the signature of the auditor is not"),
    "a batch": ("step", 2, "batch", flipped, r"entry 8, step 2 \(epoch 3\): its batch is not the one of this run"),
    "the developer's frames": ("step", 2, "frames.developer", flipped, "entry 9 does not follow entry 8, or one"),
    "the auditor's frames": ("step", 2, "frames.auditor", flipped, "entry 9 does not follow entry 8, or one"),
    "a step's number": ("step", 2, "step", lambda x: 1, r"should be step 2 \(epoch 3\), and is step 1 \(epoch 3\)"),
    "a step's epoch": ("step", 2, "epoch", lambda x: 2, r"step 2 \(epoch 3\): its epoch is not"),
    "whether a scoring is final": ("score", 1, "final", lambda _: True, r"the scoring \(epoch 3\): its final is not"),
    "a scoring's frames": ("score", 1, "frames.auditor", flipped, "does not follow entry 10, or"),
    "the last classifier": ("end", 0, "backbone", flipped, "does not follow entry 17, or one of the two"),
    "the head's commitment": ("end", 0, "head", flipped, "does not follow entry 17, or one of the two"),
    "final figures": ("end", 0, "figures.mint_auc.value", lambda _: "1.0", "does not follow entry 17"),
    "the opening's frames": ("end", 0, "frames.developer", flipped, "does not follow entry 17"),
    "the last signed head": ("signed", -1, "root", flipped, "entry 18, the signed head of the end: what was signed"),
    "the last signature": ("signed", -1, "signatures.auditor", flipped, "the signature of the auditor is not"),
    "an index": ("step", 2, "index", lambda x: x + 1, "entry 8 is missing: entry 9 stands in its place"),
    "a link": ("step", 2, "previous", flipped, "entry 8 does not follow entry 7, or one of the two was changed"),
    "a kind": ("step", 2, "kind", lambda _: "score", "entry 8, a score: (step|batch|final)"),
    "an unknown kind": ("step", 2, "kind", lambda _: "query!", "entry 8, it is of the unknown kind"),
    "a digest of another length": ("step", 2, "batch", lambda x: x + "0", r"step 2 \(epoch 3\): batch is not as"),
    "a number as text": ("step", 2, "step", str, r"entry 8, step 2 \(epoch 3\): step is not as such an entry has it"),
    "a huge number": ("step", 2, "step", lambda _: 10**30, "entry 8, step 2"),
    "the version": ("begin", 0, "version", lambda _: 4, "it is of version 4, this program reads 3"),
    "an old version": ("begin", 0, "version", lambda _: 0, "entry 0, the beginning: version is not"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_changed_value(name: str, bundle: Bundle) -> None:
    kind, which, field, change, said = CHANGED[name]
    bundle.edit(bundle.at(kind, which), lambda entry: deep(entry, field, change))
    bundle.refused(said)


def test_a_changed_value_whose_chain_was_mended(bundle: Bundle) -> None:
    """Whatever the chain alone can hide is found by the next head that both signed."""
    hidden = [name for name, case in CHANGED.items() if "does not follow" in case[-1] and name != "a link"]
    assert len(hidden) >= 10
    original = bundle.lines
    for name in hidden:
        kind, which, field, change, _ = CHANGED[name]
        bundle.lines = original
        bundle.edit(bundle.at(kind, which), lambda entry, f=field, c=change: deep(entry, f, c))
        bundle.rechain()
        bundle.refused(r"what was signed is not the log before it|statement: ")


# ---- whole entries

STRUCTURE: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "a missing step": (lambda x: x[:8] + x[9:], "entry 8 is missing: entry 9 stands in its place"),
    "a repeated step": (lambda x: x[:9] + x[8:], "entry 9 is missing: entry 8 stands there, once more"),
    "a swapped order": (lambda x: [*x[:8], x[9], x[8], *x[10:]], "entry 8 is missing: entry 9 stands in its place"),
    "a missing beginning": (lambda x: x[1:], "entry 0 is missing: entry 1 stands in its place"),
    "cut after a step": (lambda x: x[:9], r"it ends after 9 entries, where step 3 \(epoch 3\) should follow"),
    "cut after a signed head": (lambda x: x[:8], r"it ends after 8 entries, where step 2 \(epoch 3\) should follow"),
    "cut before the last signature": (lambda x: x[:-1], "where the signed head of the end should follow"),
    "empty": (lambda x: [], "it ends after 0 entries, where the beginning should follow"),
    "a line more": (lambda x: [*x, x[8]], "entry 19 is missing: entry 8 stands there, once more or out of order"),
    "an empty line": (lambda x: [*x[:8], b"", *x[8:]], "entry 8 was changed: it is not canonical JSON"),
    "spaces": (lambda x: [*x[:8], x[8].replace(b":", b": "), *x[9:]], "entry 8 was changed: it is not canonical"),
    "another order of keys": (
        lambda x: [
            *x[:8],
            json.dumps(dict(reversed(json.loads(x[8]).items())), separators=(",", ":")).encode(),
            *x[9:],
        ],
        "entry 8 was changed: it is not canonical",
    ),
    "a key twice": (lambda x: [*x[:8], b'{"a":1,' + x[8][1:], *x[9:]], "entry 8, step 2 .*: a is not as"),
    "a repeated key": (lambda x: [*x[:8], b'{"batch":"0",' + x[8][1:], *x[9:]], "entry 8 was changed: it is not can"),
    "no UTF-8": (lambda x: [*x[:8], x[8][:-1] + b"\xff}", *x[9:]], "entry 8 was changed"),
    "a float": (lambda x: [*x[:8], x[8].replace(b'"step":2', b'"step":2.0'), *x[9:]], "entry 8 was changed"),
    "a list": (lambda x: [*x[:8], b"[]", *x[9:]], "entry 8 was changed"),
    "deep nesting": (lambda x: [*x[:8], b"[" * 100_000, *x[9:]], "entry 8 was changed"),
    "a long line": (lambda x: [*x[:8], b'{"a":"' + b"0" * 300_000 + b'"}', *x[9:]], "entry 8 is longer than"),
    "no index": (lambda x: [*x[:8], b'{"kind":"step"}', *x[9:]], "entry 8 has no index"),
}


@pytest.mark.parametrize("name", STRUCTURE)
def test_entries_that_are_missing_repeated_or_malformed(name: str, bundle: Bundle) -> None:
    change, said = STRUCTURE[name]
    bundle.lines = change(bundle.lines)
    bundle.refused(said)


def test_a_last_line_that_is_cut_off(bundle: Bundle) -> None:
    bundle.file(LOG, lambda raw: raw[:-9])
    bundle.refused("entry 18 is cut off")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x[:8] + x[9:], r"entry 8, should be step 2 \(epoch 3\), and is step 3 \(epoch 3\)"),
        (lambda x: x[:9] + x[8:], r"entry 9, should be step 3 \(epoch 3\), and is step 2 \(epoch 3\)"),
        (lambda x: [*x[:8], x[9], x[8], *x[10:]], r"entry 8, should be step 2 \(epoch 3\), and is step 3"),
        (lambda x: x[:6] + x[8:], r"entry 6, should be the checkpoint of epoch 2, and is step 2 \(epoch 3\)"),
        (lambda x: x[:5] + x[6:], r"entry 5, should be the scoring \(epoch 2\), and is a checkpoint \(epoch 2\)"),
        (lambda x: x[:7] + x[8:], "entry 7, should be the signed head after the checkpoint of epoch 2, and is step 2"),
        (lambda x: [*x, x[8]], r"entry 19, step 2 \(epoch 3\) stands after the end"),
        (lambda x: [*x, x[-1]], "entry 19, a signed head stands after the end"),
    ],
    ids=["missing", "repeated", "swapped", "no checkpoint", "no scoring", "unsigned", "a step more", "signed twice"],
)
def test_the_same_with_a_chain_that_was_mended_and_both_keys(change: Callable, said: str, bundle: Bundle) -> None:
    """Not even the two together can sign a log that does not fit the experiment."""
    bundle.lines = change(bundle.lines)
    bundle.rechain()
    bundle.refused(said)
    bundle.resign("developer", "auditor")
    bundle.refused(said)


# ---- signatures and keys


@pytest.mark.parametrize(("own", "other"), [("developer", "auditor"), ("auditor", "developer")])
def test_one_party_alone_cannot_write_another_log(own: str, other: str, bundle: Bundle) -> None:
    bundle.edit(bundle.at("checkpoint", 1), lambda entry: deep(entry, "backbone", flipped))
    bundle.resign(own)  # type: ignore[arg-type]
    error = bundle.refused(f"entry 7, the signed head .* the signature of the {other} is not by its certificate")
    assert "a changed byte since entry 3" in error.hint


def test_both_parties_together_can_and_a_published_head_tells(bundle: Bundle) -> None:
    """What the log does not prove; docs/evidence.md says so."""
    published = bundle.verify().log.head
    bundle.edit(bundle.at("step", 2), lambda entry: deep(entry, "frames.auditor", flipped))
    bundle.resign("developer", "auditor")
    bundle.verify()
    bundle.refused("entry 18, .* not the one whose head was published", anchors=(published,))


def test_swapped_signatures(bundle: Bundle) -> None:
    def swap(entry: dict) -> None:
        made = entry["signatures"]
        made["developer"], made["auditor"] = made["auditor"], made["developer"]

    bundle.edit(bundle.at("signed", 1), swap)
    error = bundle.refused("entry 7, .* the signature of the developer is not by its certificate")
    assert error.hint == "It is the auditor's"


def test_a_signature_of_another_head(bundle: Bundle) -> None:
    earlier = bundle.entries[bundle.at("signed", 0)]["signatures"]
    bundle.edit(bundle.at("signed", 1), lambda entry: entry.update(signatures=earlier))
    bundle.refused("entry 7, .* the signature of the developer is not")


def strangers(tmp_path: Path) -> Path:
    identity.create_for_one_machine({role: tmp_path / "strangers" / role for role in ("developer", "auditor")})
    return tmp_path / "strangers"


def test_a_wrong_key(bundle: Bundle, tmp_path: Path) -> None:
    bundle.resign("auditor", keys=strangers(tmp_path))
    bundle.refused("entry 2, .* the signature of the auditor is not by its certificate")


def test_strangers_who_replace_everything_are_told_by_the_pinned_certificates(bundle: Bundle, tmp_path: Path) -> None:
    keys = strangers(tmp_path)
    marks = {}
    for role in ("developer", "auditor"):
        pem = keys / role / f"{role}.pem"
        (bundle.path / CERTIFICATES / f"{role}.pem").write_bytes(pem.read_bytes())
        marks[role] = identity.fingerprint(identity.read_certificate(pem, role))
    bundle.refused("entry 0, the beginning: its certificates")
    bundle.edit(0, lambda entry: entry.update(certificates=marks))
    bundle.resign("developer", "auditor", keys=keys)
    bundle.envelope(lambda x: [sig.update(keyid=marks[role]) for sig, role in zip(x["signatures"], marks, strict=True)])
    assert bundle.verify().pinned == ()
    for role in ("developer", "auditor"):
        bundle.refused(
            r"certificates: the \w+'s is not the one that you trust", pinned=pinned_in(bundle.keys / role, bundle.path)
        )


# ---- what lies beside


def test_other_certificates(bundle: Bundle, tmp_path: Path) -> None:
    developer, auditor = (bundle.path / CERTIFICATES / f"{role}.pem" for role in ("developer", "auditor"))
    good = developer.read_bytes()
    developer.write_bytes(auditor.read_bytes())
    bundle.refused("certificates: .*developer.pem was not made for the role developer")
    developer.write_bytes((strangers(tmp_path) / "developer" / "developer.pem").read_bytes())
    bundle.refused("entry 0, the beginning: its certificates")
    developer.write_bytes(good + b"\n")
    bundle.refused("certificates: developer.pem is not written as this program writes it")
    developer.write_bytes(b"no certificate")
    bundle.refused("certificates: .*developer.pem is not a certificate")
    developer.unlink()
    bundle.refused("certificates: .*developer.pem is not a certificate")


@pytest.mark.parametrize("change", [(b"seed: 1", b"seed: 2"), (b"epochs: 3", b"epochs: 4"), (b"smoke", b"other")])
def test_another_experiment(change: tuple[bytes, bytes], bundle: Bundle) -> None:
    bundle.file(EXPERIMENT, lambda raw: raw.replace(*change))
    bundle.refused("entry 0, the beginning: its experiment is not the one of this run")


def test_an_experiment_too_large_to_be_walked_through(bundle: Bundle) -> None:
    bundle.file(EXPERIMENT, lambda raw: raw.replace(b"members: 48", b"members: 99999999999"))
    bundle.refused("experiment.yaml speaks of")


def test_other_weights(folders: dict[str, Bundle], tmp_path: Path) -> None:
    for role, name, said in (
        ("developer", "backbone.safetensors", "backbone.safetensors is not the classifier of the log's end"),
        ("auditor", "head.safetensors", "head.safetensors with head.salt is not the head that was committed to"),
    ):
        bundle = folders[role].copy(tmp_path / role)
        good = (bundle.path / name).read_bytes()
        bundle.file(name, lambda raw: flip(raw, len(raw) - 5))
        bundle.refused(said)
        (bundle.path / name).write_bytes(good[:-5])
        bundle.refused(f"{name} holds no tensors")
        (bundle.path / name).write_bytes(b"")
        bundle.refused(f"{name} holds no tensors")


def test_another_salt(bundle: Bundle) -> None:
    (bundle.path / SALT).chmod(0o600)
    for text, said in (
        (HEX, "is not the head that was committed to"),
        ("x" * 64, "is not a salt"),
        (HEX[1:], "is not a salt"),
    ):
        (bundle.path / SALT).write_text(text)
        bundle.refused(said)
    (bundle.path / SALT).unlink()
    bundle.refused("cannot read .*head.salt")


def test_two_logs_that_disagree(bundle: Bundle, folders: dict[str, Bundle]) -> None:
    """Both verify, each alone: the two keys were used to sign two logs."""
    compare_logs(bundle.path, folders["developer"].path)
    bundle.edit(bundle.at("step", 2), lambda entry: deep(entry, "frames.auditor", flipped))
    bundle.resign("developer", "auditor")
    bundle.verify()
    with pytest.raises(EvidenceError, match="have 8 entries in common; at entry 8 they disagree"):
        compare_logs(bundle.path, folders["developer"].path)
    bundle.lines = folders["developer"].lines[:5]
    with pytest.raises(EvidenceError, match=r"have 5 entries in common; at entry 5 .*auditor ends"):
        compare_logs(bundle.path, folders["developer"].path)


def test_a_published_head(bundle: Bundle) -> None:
    head = bundle.verify().log.head
    early = TreeHead(3, head.root)
    assert bundle.verify(anchors=(head,))
    bundle.refused(
        "entry 2, the signed head .*: the log up to here is not the one whose head was published", anchors=(early,)
    )
    bundle.refused("ends after 19 entries, and a head of 99 entries was published", anchors=(TreeHead(99, head.root),))


def test_no_run_at_all(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no log in"):
        Bundle(tmp_path, tmp_path).verify()
    with pytest.raises(UsageError, match="there are no certificates in"):
        pinned_in(tmp_path, tmp_path / "run")


def test_every_changed_bit_of_a_certificate_is_met_with_our_own_error(bundle: Bundle, tmp_path: Path) -> None:
    good = (bundle.path / CERTIFICATES / "auditor.pem").read_bytes()
    file = tmp_path / "auditor.pem"
    refused = 0
    for at in range(len(good)):
        for bit in (1, 2, 4, 16, 32):
            file.write_bytes(good[:at] + bytes([good[at] ^ bit]) + good[at + 1 :])
            try:
                identity.fingerprint(identity.read_certificate(file, "auditor"))
            except UsageError:
                refused += 1
    assert refused > len(good)


def test_a_changed_byte_anywhere(bundle: Bundle) -> None:
    """Each of about 600 places, one bit each; nothing but our own errors may come out of it."""
    files = [LOG, STATEMENT, EXPERIMENT, *(CERTIFICATES / f"{role}.pem" for role in ("developer", "auditor"))]
    tried = 0
    for name in files:
        path = bundle.path / name
        good = path.read_bytes()
        agreed = read_mapping(path) if name == EXPERIMENT else None
        step = 41 if len(good) > 2000 else 13
        for at in range(int.from_bytes(os.urandom(1), "big") % step, len(good), step):
            path.write_bytes(flip(good, at))
            tried += 1
            try:
                bundle.verify()
            except (EvidenceError, UsageError):
                continue
            assert agreed is not None, (name, at)
            assert read_mapping(path) == agreed, (name, at)
        path.write_bytes(good)
    assert tried > 300
    bundle.verify()
