"""Which files of a run folder the evidence covers: a change of one is found, and all others are named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save

from amint_mpc.cli import main
from amint_mpc.evidence.canonical import record_digest
from amint_mpc.evidence.files import FILES_SALT
from tests.evidence.bundles import Bundle, flip

AUDITORS = ("experiment.yaml", "head.safetensors", "scores.safetensors", "first-head.safetensors", "summary.json")
ALWAYS_LEFT = ("log.txt", "metrics.jsonl", "tensorboard/", "versions.json")


def test_what_is_covered_and_what_is_not(folders: dict[str, Bundle]) -> None:
    found = folders["auditor"].verify()
    assert (found.covered, found.uncovered) == (AUDITORS, ("evidence/coin", *ALWAYS_LEFT))
    found = folders["developer"].verify()
    assert found.covered == ("experiment.yaml", "backbone.safetensors", "summary.json")
    assert found.uncovered == ("evidence/coin", "evidence/commitment.key", *ALWAYS_LEFT)


def test_an_old_run_covers_classifier_and_head_alone(bundle: Bundle) -> None:
    bundle.of_version_1()
    found = bundle.verify()
    assert found.covered == AUDITORS[:2]
    assert set(AUDITORS[2:]) < set(found.uncovered)


def test_verify_prints_both(bundle: Bundle) -> None:
    (bundle.path / "a\x1b[2Jb").write_text("x")
    (bundle.path / os.fsdecode(b"caf\xe9.txt")).write_text("x")
    (bundle.path / "evidence" / "more").mkdir()
    found = CliRunner().invoke(main, ["verify", str(bundle.path)])
    assert found.exit_code == 0
    assert f"covered     {', '.join(AUDITORS)}: as the log has them" in found.output
    assert "not covered a\\x1b[2Jb, caf\\udce9.txt, evidence/coin, evidence/more/, log.txt, " in found.output
    told = json.loads(CliRunner().invoke(main, ["verify", str(bundle.path), "--json"]).output)
    assert tuple(told["covered"]) == AUDITORS
    assert {*ALWAYS_LEFT, "evidence/more/", "a\x1b[2Jb"} < set(told["not_covered"])


@pytest.mark.parametrize("name", ["scores.safetensors", "first-head.safetensors"])
def test_a_changed_file_of_tensors_is_named(name: str, bundle: Bundle) -> None:
    good = (bundle.path / name).read_bytes()
    bundle.file(name, lambda raw: flip(raw, len(raw) - 5))
    bundle.refused(f"^{name} with evidence/files.salt is not the one of the log's end")
    (bundle.path / name).write_bytes(good[:-5])
    bundle.refused(f"{name} holds no tensors")
    (bundle.path / name).write_bytes(good)
    tensors = load_file(bundle.path / name)
    tensors[min(tensors)] = torch.full_like(tensors[min(tensors)], torch.nan)
    (bundle.path / name).write_bytes(save(tensors))
    bundle.refused(f"^{name} with evidence/files.salt is not the one")


SUMMARIES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "the threshold": (lambda x: x.update(threshold=0.123), "summary.json with evidence/files.salt is not the one"),
    "a figure": (lambda x: x["figures"]["mint_auc"].update(value=0.99), "summary.json with .* is not the one"),
    "a mark": (lambda x: x.pop("in_process"), "summary.json with .* is not the one"),
    "a number as text": (lambda x: x.update(threshold=str(x["threshold"])), "summary.json with .* is not the one"),
    "the other role": (lambda x: x.update(role="developer"), "summary.json with .* is not the one"),
    "no role": (lambda x: x.pop("role"), "summary.json is not the summary of developer or auditor"),
    "a strange role": (lambda x: x.update(role=["auditor"]), "summary.json is not the summary of"),
    "a number that is none": (lambda x: x.update(threshold=float("nan")), "summary.json is not the summary of"),
    "a key more": (lambda x: x.update(more=None), "summary.json with .* is not the one"),
}


@pytest.mark.parametrize("name", SUMMARIES)
def test_a_changed_summary_is_named(name: str, bundle: Bundle) -> None:
    change, said = SUMMARIES[name]
    record = json.loads((bundle.path / "summary.json").read_bytes())
    change(record)
    (bundle.path / "summary.json").write_text(json.dumps(record))
    bundle.refused(said)


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"\xff", b"[" * 10**5, b" " * (2**20 + 1), b'{"role":"\\ud800"}'])
def test_a_malformed_summary(raw: bytes, bundle: Bundle) -> None:
    (bundle.path / "summary.json").write_bytes(raw)
    bundle.refused("summary.json is (not the summary of|longer than)")


def test_the_layout_of_a_summary_does_not_count(bundle: Bundle) -> None:
    record = json.loads((bundle.path / "summary.json").read_bytes())
    (bundle.path / "summary.json").write_text(json.dumps(dict(reversed(record.items())), indent=2))
    bundle.verify()


def test_another_salt_of_the_files(bundle: Bundle, folders: dict[str, Bundle]) -> None:
    for text, said in ((b"0" * 64, "scores.safetensors with .* is not the one"), (b"x", "files.salt is not a salt")):
        (bundle.path / FILES_SALT).chmod(0o600)
        (bundle.path / FILES_SALT).write_bytes(text)
        bundle.refused(said)
    (bundle.path / FILES_SALT).write_bytes((folders["developer"].path / FILES_SALT).read_bytes())
    bundle.refused("scores.safetensors with .* is not the one")
    (bundle.path / FILES_SALT).unlink()
    bundle.refused("cannot read .*files.salt")


def test_a_run_of_either_party_tells_nothing_of_the_other_ones_files(folders: dict[str, Bundle]) -> None:
    """The same digest under two salts: who has one log and one salt cannot compare guesses with the other's."""
    end = folders["auditor"].entries[folders["auditor"].at("end")]["files"]
    digests = [*end["developer"].values(), *end["auditor"].values()]
    assert len(set(digests)) == 4
    for bundle in folders.values():
        record = json.loads((bundle.path / "summary.json").read_bytes())
        assert record_digest(record) not in digests
    assert not (Path(folders["auditor"].path) / "evidence" / "files.salt.part").exists()


def test_numbers_and_texts_are_told_apart() -> None:
    values: list[Any] = [0.5, "0.5", {"number": 0.5}, [0.5], 1, 1.0, True, "1", None]
    assert len({record_digest({"a": value}) for value in values}) == len(values)
    for wrong in (float("nan"), float("inf"), b"x", torch.ones(1)):
        with pytest.raises((TypeError, ValueError)):
            record_digest({"a": wrong})


def test_what_is_covered_and_gone_is_named(bundle: Bundle) -> None:
    assert bundle.verify().missing == ()
    for name in ("scores.safetensors", "summary.json"):
        (bundle.path / name).unlink()
    assert bundle.verify().missing == ("scores.safetensors", "summary.json")
    found = CliRunner().invoke(main, ["verify", str(bundle.path)])
    assert "missing     scores.safetensors, summary.json: covered by the log, and not in this folder" in found.output
