"""The estimate of a run against channels that such a run has gone over."""

import json
import os

import pytest
import torch
from click.testing import CliRunner

from amint_mpc.amint.schedule import ScoreSets, ShareFeatures, schedule, score_batches
from amint_mpc.amint.sealing import mixed_rows
from amint_mpc.bench import count
from amint_mpc.bench.estimate import estimate, load_average
from amint_mpc.bench.inprocess import parties, together
from amint_mpc.cli import main
from amint_mpc.config import ROLES, Experiment, load_experiment
from amint_mpc.errors import UsageError
from amint_mpc.roles import seeds
from amint_mpc.roles.backends import pair
from amint_mpc.roles.coin import toss
from amint_mpc.roles.handshake import handshake
from amint_mpc.roles.heads import head_kind, secure_optimizer
from amint_mpc.roles.plans import targets
from amint_mpc.transport.channel import memory_pair
from tests.mpc.pair.insecure_maker import Double

QUIET = (
    "security.correlations=dealer",
    "disclosure.final_figures=false",
    "evidence.log=false",
    "security.checked_blocks=0",
)
CONV = load_experiment(
    "smoke",
    [
        *("head.input=conv", "head.filters=1", "head.hidden=2", "model.width=1", *QUIET),
        *("data.members=8", "data.external=8", "data.unseen=8", "training.batch=4", "training.epochs=1"),
    ],
)
SMOKE = load_experiment("smoke", [*QUIET, "training.evaluate_every=1"])


@pytest.fixture(autouse=True)
def _double(monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks of two parties are made by a double that costs next to nothing."""
    monkeypatch.setattr(pair, "PairMaker", Double)


def walked(experiment: Experiment) -> tuple[int, int, int, int]:
    """Rounds, and bytes of developer, auditor and dealer, of a run over memory channels."""
    agreed, session = memory_pair(), seeds.new_session(seeds.both_seeds())

    def agree(own: int) -> None:
        handshake(agreed[own], ROLES[own], ROLES[1 - own], experiment)
        toss(agreed[own], ROLES[own])
        seeds.check_same_session(agreed[own], session)

    together([lambda: agree(0), lambda: agree(1)], lambda: None)
    inputs, labels = head_kind(experiment).inputs, targets(experiment.training.batch)
    with parties(head_kind(experiment), secure_optimizer(experiment)) as three:
        for item in schedule(experiment):
            if isinstance(item, ShareFeatures):
                three.restart()
                rows = torch.zeros(item.rows, inputs, dtype=torch.float64)
                three.share_features(rows)
            elif isinstance(item, ScoreSets):
                for count in score_batches(item.count):
                    three.score(torch.zeros(count, inputs, dtype=torch.float64))
            elif item.sealed:
                mixed = mixed_rows(experiment, item.number)
                three.train_on_shared(mixed, targets(mixed.batch), secure_optimizer(experiment, mixed))
            else:
                three.train(torch.zeros(len(labels), inputs, dtype=torch.float64), labels)
        three.together(three.developer.open_weights, three.auditor.open_weights)
        ends = three.to_auditor.stats, three.to_developer.stats
        dealt = three.from_dealer.stats.bytes_sent
    for end in agreed:
        end.close()
    first = 4 if experiment.head.input == "conv" else 5
    # hello, three rounds of a coin and session came first, on a link of their own here: the auditor, who shares a head,
    # is five rounds from the start then, the developer, who opens CrypTen's session before, four
    return (
        first + max(stats.rounds for stats in ends),
        agreed[0].stats.bytes_sent + ends[0].bytes_sent,
        agreed[1].stats.bytes_sent + ends[1].bytes_sent,
        dealt,
    )


def with_optimizer(name: str) -> Experiment:
    return SMOKE.model_copy(update={"head": SMOKE.head.model_copy(update={"optimizer": name})})


OPTIMIZERS = {name: with_optimizer(name) for name in ("sgd", "momentum", "novograd")}


SEALED = load_experiment("smoke", [*QUIET, "training.sealed_epochs=2"])
SEALED_CONV = CONV.model_copy(update={"training": CONV.training.model_copy(update={"sealed_epochs": 1})})


@pytest.mark.parametrize(
    "experiment", [*OPTIMIZERS.values(), CONV, SEALED, SEALED_CONV], ids=[*OPTIMIZERS, "conv", "sealed", "sealed conv"]
)
def test_rounds_and_bytes_are_those_of_the_channels(experiment: Experiment) -> None:
    traffic = count.whole_run(experiment, count.record(experiment))
    assert (traffic.rounds, traffic.developer, traffic.auditor, traffic.dealer) == walked(experiment)


def test_an_optimizer_costs_the_two_parties_no_more_than_the_output_layer() -> None:
    steps = {name: count.training_step(count.record(each)) for name, each in OPTIMIZERS.items()}
    assert {name: step.rounds for name, step in steps.items()} == {"sgd": 10, "momentum": 10, "novograd": 10}
    for name in ("momentum", "novograd"):
        for party in ("developer", "auditor"):
            more = getattr(steps[name], party) - getattr(steps["sgd"], party)
            assert 0 < more < 3 * 8 * SMOKE.head.hidden + 1200, (name, party)  # the rest: frame headers, norms


def test_the_estimate_adds_its_parts_up() -> None:
    near, far = estimate(SMOKE, repeats=1), estimate(SMOKE, rtt_ms=50, repeats=1)
    steps = SMOKE.training.epochs * SMOKE.steps_per_epoch
    assert near["steps"] == steps
    assert near["rounds"] == far["rounds"] > 10 * steps
    assert near["step"]["rounds"] == 10
    assert near["seconds"] == sum(near["seconds_by_part"].values())
    assert near["seconds_by_part"]["round_trips"] == 0
    assert far["seconds_by_part"]["round_trips"] == far["rounds"] * 0.025
    assert near["mb_dealer"] > near["step"]["mb_dealer"] * steps
    assert near["leaves_out"]


def test_the_estimate_shows_both_ways_of_making_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    found = estimate(SMOKE, rtt_ms=100, mbit=0.5, repeats=1)
    dealt, made = found["ways"]["dealer"], found["ways"]["two-party"]
    assert dealt["masks_mb"] == {"dealer": found["mb_dealer"]}
    assert dealt["masks_seconds"] == pytest.approx(found["mb_dealer"] * 8 / 0.5)
    assert set(made["masks_mb"]) == {"developer", "auditor"}
    plans = found["steps"] + found["score_batches"]
    one = made["step"]["masks_mb"]["developer"]
    assert 32e-6 < one < 200e-6  # a seed and the next step's number, with their frames
    assert made["masks_mb"]["developer"] == pytest.approx(plans * one, rel=0.2)  # and what two links begin with
    assert made["step"]["masks_ms"] > (50 + 1e3 * one * 8 / 0.5) / 2  # two threads
    assert made["masks_seconds"] > made["masks_mb"]["developer"] * 8 / 0.5
    for way in (dealt, made):
        assert way["seconds"] == max(way["masks_seconds"], found["seconds"])
    assert found["seconds_by_part"]["sending"] == pytest.approx(found["mb_sent_developer"] * 8 / 0.5)


def test_where_all_cores_make_masks_the_run_waits_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    found = estimate(SMOKE, repeats=1)
    made = found["ways"]["two-party"]
    assert made["seconds"] == found["seconds"] + made["masks_seconds"]
    assert found["ways"]["dealer"]["seconds"] == found["seconds"]


@pytest.mark.parametrize("agreed", ["lan", "wan"])
def test_the_estimate_shows_both_kinds_of_links(agreed: str) -> None:
    found = estimate(load_experiment("smoke", [f"security.link={agreed}"]), repeats=1)
    assert found["links"].keys() == {"lan", "wan"}
    assert found["ways"]["two-party"] == found["links"][agreed]
    # the double knows no links: both ways take the same, and chance decides
    assert found["wan_below_mbit"] in (None, pytest.approx(1e5))
    text = CliRunner().invoke(main, ["estimate", "--config", "smoke", "--set", f"security.link={agreed}"]).output
    assert f"masks: two-party, link: {agreed} (agreed)" in text
    assert "wan is quicker " in text


def test_what_needs_a_dealer_has_one_way() -> None:
    found = estimate(OPTIMIZERS["novograd"], repeats=1)
    assert list(found["ways"]) == ["dealer"]
    assert found["links"] is found["wan_below_mbit"] is None


@pytest.mark.parametrize("mbit", [0, -1])
def test_a_link_carries_something(mbit: float) -> None:
    with pytest.raises(UsageError, match="more than 0 Mbit/s"):
        estimate(SMOKE, mbit=mbit)


@pytest.mark.parametrize(("load", "busy"), [(0.5, False), (2.0, False), (7.25, True), (None, False)])
def test_an_estimate_says_when_the_machine_was_busy(
    load: float | None, busy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amint_mpc.bench.estimate.load_average", lambda: load)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    command = ["estimate", "--config", "smoke"]
    text = CliRunner().invoke(main, command).output
    assert "as measured on this machine at this moment" in text
    assert ("busy: load average 7.2 on 2 cores" in text) == busy
    told = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
    assert (told["load_average"], told["cores"]) == (load, 2)


def test_a_system_without_load_averages(monkeypatch: pytest.MonkeyPatch) -> None:
    found = load_average()
    assert found is None or found >= 0
    monkeypatch.delattr(os, "getloadavg")
    assert load_average() is None
