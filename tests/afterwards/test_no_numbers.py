"""Files that hold no numbers, and decoders that differ: neither passes in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file, save_file

import amint_mpc as am
from amint_mpc.afterwards import checkpoints, decoders, parties
from amint_mpc.cli import main
from amint_mpc.errors import DataError, EvidenceError
from amint_mpc.evidence import software_digests
from tests.afterwards.pair import Pair, mixed

NAN = float("nan")


def spoiled(path: Path, name: str) -> None:
    tensors = load_file(path)
    tensors[name].view(-1)[0] = NAN
    save_file(tensors, path)


@pytest.mark.parametrize("old", [False, True])
def test_nan_in_the_auditors_scores_passes_no_canary(old: bool, pair: Pair) -> None:
    """In a run of version 1 the log does not cover the scores: they are checked where they are read."""
    run = pair.folders["auditor"]
    if old:
        run.of_version_1()
    spoiled(run.path / "scores.safetensors", "members_report")
    if not old:
        run.refused("scores.safetensors with evidence/files.salt is not the one of the log's end")
    with pytest.raises(DataError, match="does not hold the scores of a run"):
        parties.scores(pair.prover.experiment, run.path)
    with pytest.raises((DataError, EvidenceError)):
        am.audit(run.path, mixed(pair.images), backbone=pair.folders["developer"].path)


def test_a_head_of_no_numbers_is_refused(pair: Pair) -> None:
    run = pair.folders["auditor"].path
    spoiled(run / "head.safetensors", "w1")
    with pytest.raises(DataError, match="is not a head of this experiment"):
        parties.head_of(pair.prover.experiment, run)


def test_a_classifier_of_no_numbers_does_not_pass_for_the_replayed_one() -> None:
    point = checkpoints.Point(1, 1, "", "", last=True, frames=True)
    good = {"backbone.a": torch.ones(2), "backbone.b": torch.ones(2)}
    kept = {**good, "backbone.b": torch.tensor([1.0, NAN])}
    for order in (good, dict(reversed(good.items()))):
        for one, other in ((order, kept), (kept, order)):
            with pytest.raises(EvidenceError, match="the end does not follow: the classifier"):
                checkpoints.difference(point, one, other)
    with pytest.raises(EvidenceError, match="does not follow: the classifier: of another kind"):
        checkpoints.difference(point, good, {**good, "backbone.b": torch.ones(3)})


def test_a_page_is_not_made_of_files_that_were_changed(pair: Pair, tmp_path: Path) -> None:
    run = pair.folders["auditor"].path
    assert am.report(run, tmp_path / "good.html").is_file()
    record = json.loads((run / "summary.json").read_bytes())
    record["figures"]["mint_auc"] = {"value": 0.999, "low": 0.99, "high": 1.0}
    (run / "summary.json").write_text(json.dumps(record))
    with pytest.raises(EvidenceError, match=r"summary.json with .* is not the one of the log's end"):
        am.report(run, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


# ---- what image files are read with


def test_the_decoder_is_part_of_what_a_party_says_that_it_runs(pair: Pair) -> None:
    name = software_digests.decoder()
    assert name.startswith("Pillow ")
    assert "libjpeg" in name
    assert software_digests.Software.model_validate(software_digests.attest()).decoder == name
    for role in ("developer", "auditor"):
        assert pair.folders["auditor"].entries[0]["software"][role]["decoder"] == name
    found = pair.ask(mixed(pair.images))
    assert found.decoders == {"developer": name, "auditor": name}


def test_names_of_a_decoder_that_no_log_takes_are_made_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software_digests.features, "version", lambda _: "9\x1b[2J" + "9" * 99)
    monkeypatch.setattr(software_digests.features, "version_feature", lambda _: None)
    record = software_digests.attest() | {"decoder": software_digests.decoder()}
    software_digests.Software.model_validate(record)


def test_decoders_that_differ_are_named_with_what_it_means(pair: Pair) -> None:
    run = pair.folders["auditor"].verify()
    here = software_digests.decoder()
    same = decoders.decoders(run, {"developer": here, "auditor": here})
    assert decoders.note(same) == ""
    assert decoders.note(decoders.decoders(run, {"developer": None, "auditor": here})) == ""
    told = decoders.note(decoders.decoders(run, {"developer": here, "auditor": "Pillow 1, libjpeg 2"}))
    assert f"{here} by the developer in the run; " in told
    assert "Pillow 1, libjpeg 2 by the auditor now" in told
    assert "a one-pixel difference makes another image" in told


def test_an_audit_prints_both_decoders_where_they_differ(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "images").mkdir()
    Image.new("L", (28, 28)).save(tmp_path / "images" / "one.png")
    backbone = pair.folders["developer"].path / "backbone.safetensors"
    run = ["audit", "--local", "--run", str(pair.folders["auditor"].path), "--backbone", str(backbone)]

    def audit(out: str, *more: str) -> Any:
        found = CliRunner().invoke(
            main, [*run, "--images", str(tmp_path / "images"), "--out", str(tmp_path / out), *more]
        )
        assert found.exit_code == 0, found.output
        return found

    assert "one-pixel difference" not in audit("a").output
    monkeypatch.setattr(software_digests, "decoder", lambda: "Pillow 1, libjpeg 2")
    shown = " ".join(audit("b").output.split())
    assert "Pillow 1, libjpeg 2 by the auditor now. Another decoder can make other pixels" in shown
    told = json.loads(audit("c", "--json").stdout)
    assert told["decoders"]["the auditor now"] == "Pillow 1, libjpeg 2"
    assert "one-pixel difference" in told["decoders_differ"]
