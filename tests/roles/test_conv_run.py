"""A run with the convolutional head: three processes, CrypTen's generic layers, everything where it belongs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from amint_mpc.config import PARTIES, load_experiment
from amint_mpc.evidence.verify import verify
from amint_mpc.host.in_process import run_in_process
from amint_mpc.models import load_conv_head
from amint_mpc.mpc.rlwe.native import library
from amint_mpc.roles.heads import head_kind
from amint_mpc.runlog.expected import ExpectedEntries
from tests.roles.party_processes import Site

MakeSite = Callable[..., Site]
SMALL = [
    "security.correlations=dealer",
    *("head.input=conv", "head.filters=2", "head.hidden=4", "model.width=2", "training.warmup_epochs=0"),
    *("data.members=64", "data.external=32", "data.unseen=12", "training.batch=32", "training.epochs=3"),
    *("training.patience=1", "training.learning_rate=1e-6"),
]


@pytest.mark.timeout(300)
def test_three_processes_train_and_open_a_convolutional_head(site: MakeSite) -> None:
    place = site(*SMALL, connect_timeout_s=120)
    children = [place.fork(role) for role in ("dealer", "auditor", "developer")]
    assert [child.wait(200) for child in children] == [0, 0, 0]
    summaries = {
        role: json.loads((place.run_folder(role) / "summary.json").read_text()) for role in ("auditor", "developer")
    }
    # With so few images the second evaluation is often the end, so a stop is met here, too.
    assert summaries["auditor"]["steps"] == summaries["developer"]["steps"] in (4, 6)
    assert summaries["auditor"]["rounds_per_step"] > 50
    assert summaries["auditor"]["figures"]["mint_auc"] == summaries["developer"]["figures"]["mint_auc"]
    head = load_conv_head(place.run_folder("auditor") / "head.safetensors")
    assert head.features == head_kind(load_experiment("smoke", SMALL)).inputs
    assert len(head.values["first.bias"]) == 2
    assert not (place.run_folder("developer") / "head.safetensors").exists()


@pytest.mark.timeout(300)
@pytest.mark.skipif(library() is None, reason="the functions in C were not built")
def test_two_parties_alone_train_a_convolutional_head(tmp_path: Path) -> None:
    """On masks that they make themselves."""
    settings = ["security.correlations=two-party", "training.sealed_epochs=0", *SMALL[1:]]
    run = run_in_process(load_experiment("smoke", settings), tmp_path / "run", device="cpu")
    for role in PARTIES:
        assert verify(run.folders[role], ExpectedEntries).log.made is not None
    assert load_conv_head(run.folders["auditor"] / "head.safetensors").values["first.bias"].shape == (2,)


def test_an_own_loop_has_no_maps_that_we_know() -> None:
    with pytest.raises(Exception, match=r"leave head\.features out"):
        load_experiment("smoke", ["head.input=conv", "head.features=96", "training.evaluate_every=0"])
