"""A secure run that stops early: with its twin, back at the best evaluation, and with masks that are never used."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from amint_mpc.amint import audit
from amint_mpc.amint import stopping as deciding
from amint_mpc.amint.plaintext_head import PlaintextHead
from amint_mpc.amint.schedule import ScheduleCursor, ScoreSets, schedule, score_batches
from amint_mpc.amint.trainer import Trainer
from amint_mpc.bench import count
from amint_mpc.config import Experiment, load_experiment
from amint_mpc.data.order import epoch_orders
from amint_mpc.data.split import load_split
from amint_mpc.errors import ProtocolError
from amint_mpc.events import EpochEvent, StepEvent
from amint_mpc.models.head_weights import init_head, seeded_normal
from amint_mpc.mpc.correlations.checking import dealt
from amint_mpc.mpc.dense.descent import GradientDescent
from amint_mpc.mpc.dense.layers import train_plan
from amint_mpc.plaintext_run import head_stopping
from amint_mpc.roles import stopping
from amint_mpc.roles.backends import embedded
from amint_mpc.roles.heads import head_kind
from amint_mpc.roles.plans import stretches_of
from amint_mpc.transport.channel import memory_pair
from tests.device import DEVICE
from tests.mpc.local_dealer import local_supplies
from tests.roles.memory_runs import Secure, secure_run
from tests.roles.party_processes import Site

TINY = [
    "security.correlations=dealer",
    *("data.members=48", "data.external=48", "data.unseen=40", "training.batch=12", "head.learning_rate=0.03"),
    *("training.epochs=9", "security.checked_blocks=0", "training.patience=2", "disclosure.epoch_figures=true"),
]
FIGURES = [
    0.6,
    0.8,
    0.7,
    0.8,
]  # of the evaluations after joint epochs 1, 2, 3, 4: the second is best, the fourth ends it


@dataclass
class Stopped:
    experiment: Experiment
    secure: Secure
    trainer: Trainer
    twin: PlaintextHead
    last: Any  # the twin's head when it stopped, before it went back
    draws: dict[str, list[Any]]  # rows of members and of external images of each epoch, in both modes
    features: dict[str, list[Tensor]]  # of each step


def script(patch: pytest.MonkeyPatch) -> None:
    figures = iter(FIGURES)
    patch.setattr(deciding, "calibrated_accuracy", lambda _: next(figures))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    """Both modes on the same figures of each evaluation, whatever the scores were."""
    torch.set_num_threads(1)
    experiment = load_experiment("smoke", TINY)
    first = init_head(head_kind(experiment).inputs, experiment.head.hidden, seeded_normal(7))
    draws: dict[str, list[Any]] = {"secure": [], "twin": []}
    features: dict[str, list[Tensor]] = {"secure": [], "twin": []}
    with pytest.MonkeyPatch.context() as patch:

        def note(mode: str) -> None:
            script(patch)
            patch.setattr(audit, "epoch_orders", lambda agreed: drawn(mode, agreed))

        def drawn(mode: str, agreed: Any) -> Iterator[Any]:
            for order in epoch_orders(agreed):
                draws[mode].append([torch.from_numpy(rows) for rows in order])
                yield order

        def noted(head: Any, mode: str) -> Any:
            step = head.step
            head.step = lambda x, members: features[mode].append(x) or step(x, members)
            return head

        note("secure")
        secure = secure_run(
            experiment, tmp_path_factory.mktemp("runs"), first.tensors(), lambda head: noted(head, "secure")
        )
        note("twin")
        head = noted(PlaintextHead(first, experiment.head.learning_rate), "twin")
        images = load_split(experiment, None)
        trainer = Trainer(experiment, images, head, DEVICE, stopper=head_stopping(head, experiment))
        last = None
        for event in trainer.run():
            last = head.weights if isinstance(event, StepEvent) else last
    return Stopped(experiment, secure, trainer, head, last, draws, features)


def test_both_modes_draw_the_same_images_and_others_each_epoch(run: Stopped) -> None:
    assert len(run.draws["secure"]) == len(run.draws["twin"]) == 5  # one warm-up, four joint
    epochs = []
    for (members, external), (twins_members, twins_external) in zip(*run.draws.values(), strict=True):
        assert torch.equal(members, twins_members)
        assert torch.equal(external, twins_external)
        epochs += [rows.flatten().tolist() for rows in (members, external)]
    assert all(len(set(rows)) == len(rows) == 48 for rows in epochs)
    assert len(set(map(tuple, epochs))) == len(epochs), "a fresh order of each, every epoch"


def test_one_seed_makes_both_modes_repeatable(run: Stopped) -> None:
    """Up to the head's first step not a bit differs; from there on by the rounding of fixed-point numbers."""
    assert len(run.features["secure"]) == len(run.features["twin"]) == 16
    assert torch.equal(run.features["secure"][0], run.features["twin"][0])
    for mine, plain in zip(*run.features.values(), strict=True):
        assert (mine - plain).abs().mean() < 0.1  # each column's standard deviation is 1


def test_both_modes_stop_at_the_same_epoch(run: Stopped) -> None:
    for summary in run.secure.summaries.values():
        assert (summary.stopped_epoch, summary.best_epoch) == (5, 3)  # the warm-up counts
        assert summary.steps == 16
    assert run.trainer.stopped == 5


def test_classifier_and_head_are_those_of_the_best_evaluation(run: Stopped) -> None:
    opened = load_file(run.secure.folders["auditor"] / "head.safetensors")
    want, last = run.twin.weights.tensors(), run.last.tensors()
    for name, value in opened.items():
        assert (value - want[name]).norm() < 0.2 * (last[name] - want[name]).norm(), name
    backbone = load_file(run.secure.folders["developer"] / "backbone.safetensors")
    for name, value in run.trainer.backbone.weights().items():
        torch.testing.assert_close(backbone[name], value, rtol=0.02, atol=0.01)
    scores = load_file(run.secure.folders["auditor"] / "scores.safetensors")
    for name, value in run.trainer.scores.items():
        assert (scores[name].logit() - value.logit()).abs().max() < 0.05, name


HEADS = {"first-head.safetensors", "head.safetensors"}


def test_the_files_of_a_stopped_run_are_complete(run: Stopped) -> None:
    own = {"developer": {"backbone.safetensors"}, "auditor": HEADS | {"scores.safetensors"}}
    everywhere = {"metrics.jsonl", "summary.json", "experiment.yaml", "versions.json", "log.txt", "tensorboard"}
    for role, folder in run.secure.folders.items():
        assert {path.name for path in folder.iterdir()} == everywhere | own[role]
        last = [event for event in run.secure.events[role] if isinstance(event, EpochEvent)][-1]
        assert (last.epoch, last.phase) == (5, "score")
    figures = {role: summary.figures for role, summary in run.secure.summaries.items()}
    assert figures["developer"]["mint_auc"] == figures["auditor"]["mint_auc"]


def test_the_dealer_deals_it_all_and_masks_between_are_never_used(run: Stopped) -> None:
    total = sum(1 for _ in dealt(stretches_of(run.experiment)))
    assert run.secure.blocks == total
    steps = [len(score_batches(item.count)) for item in schedule(run.experiment)[:20] if isinstance(item, ScoreSets)]
    used = 16 + sum(steps)
    final = schedule(run.experiment)[-1]
    assert isinstance(final, ScoreSets)
    last = len(score_batches(final.count))
    for supply in run.secure.supplies.values():
        assert supply.skipped == list(range(used, total - last))
        assert supply.taken == [*range(used), *range(total - last, total)]


def test_the_developer_hears_one_bit_an_evaluation_and_the_figures_it_was_promised(run: Stopped) -> None:
    told = [e.figures for e in run.secure.events["developer"] if isinstance(e, EpochEvent) and e.phase == "joint"]
    assert all("mint_auc" in figures and "mint_accuracy_calibrated" not in figures for figures in told)
    known = [e.figures for e in run.secure.events["auditor"] if isinstance(e, EpochEvent)]
    assert [figures.get("mint_accuracy_calibrated") for figures in known] == [*FIGURES, None]
    assert [figures["mint_auc"] for figures in told] == [figures["mint_auc"] for figures in known[:-1]]


def test_the_estimate_is_of_a_run_that_does_not_stop() -> None:
    quiet = ["disclosure.epoch_figures=false", "disclosure.final_figures=false"]
    plain, patient = (load_experiment("smoke", [*TINY, *quiet, f"training.patience={n}"]) for n in (0, 2))
    tapes = count.record(plain)
    without, with_bits = count.whole_run(plain, tapes), count.whole_run(patient, tapes)
    bits = 8  # evaluations that are not final
    # a bit may travel beside messages that are under way anyway
    assert without.rounds <= with_bits.rounds <= without.rounds + 2 * bits
    assert (with_bits.developer, with_bits.dealer) == (without.developer, without.dealer)
    mine, _ = memory_pair()
    mine.send(stopping.TAG, 0, torch.ones(1, dtype=torch.uint8))
    assert with_bits.auditor == without.auditor + bits * mine.stats.bytes_sent
    mine.abort("failed")


def test_a_step_that_was_passed_over_cannot_be_taken() -> None:
    plans = [{}, {}, {}]
    supplies = local_supplies(plans)
    for supply in supplies:
        supply.take(0, {})
        supply.skip(1, {})
        for wrong in (0, 1, 3):
            with pytest.raises(ProtocolError, match="was asked for"):
                supply.take(wrong, {})
            with pytest.raises(ProtocolError, match="was asked for"):
                supply.skip(wrong, {})
        supply.take(2, {})


def test_neither_stop_nor_go_on_is_refused() -> None:
    experiment = load_experiment("smoke", TINY)
    mine, theirs = memory_pair()
    theirs.send(stopping.TAG, 0, torch.full((1,), 2, dtype=torch.uint8))

    class Head:
        done = 0
        snapshot = staticmethod(dict)
        restore = staticmethod(lambda _: None)

    with pytest.raises(ProtocolError, match="neither stop nor go on"):
        stopping.developers(Head(), mine, experiment, print).evaluated({}, ScheduleCursor(experiment))  # type: ignore[arg-type]
    for end in (mine, theirs):
        end.abort("failed")


def test_a_trial_without_a_dealer_passes_over_steps_too() -> None:
    mine, theirs = memory_pair()
    auditors, developers = embedded.auditors_supply(theirs), embedded.developers_supply(mine)
    plan = train_plan(4, 3, 2, GradientDescent(2, 8))
    for supply in (auditors, developers):
        for step in range(4):
            supply.skip(step, plan) if step in (1, 2) else supply.take(step, plan)
    for end in (mine, theirs):
        end.close()


@pytest.mark.timeout(300)
def test_processes_that_stop_early_all_end_well(site: Callable[..., Site]) -> None:
    """Strictly better at eleven evaluations in a row: that does not happen at so small a learning rate."""
    place = site(
        "training.epochs=12",
        "training.warmup_epochs=0",
        "training.patience=1",
        "training.learning_rate=1e-6",
        "security.checked_blocks=0",
    )
    children = {role: place.fork(role) for role in ("dealer", "auditor", "developer")}
    assert {role: child.wait() for role, child in children.items()} == dict.fromkeys(children, 0)
    summaries = {role: json.loads((place.run_folder(role) / "summary.json").read_text()) for role in children}
    stopped = summaries["auditor"]["stopped_epoch"]
    assert summaries["developer"]["stopped_epoch"] == stopped < 12
    assert summaries["developer"]["steps"] == summaries["auditor"]["steps"] == 4 * stopped
    assert summaries["dealer"]["blocks"] == 12 * 4 + 11 * 1 + 1
    assert "training ends here" in (place.run_folder("auditor") / "log.txt").read_text()
    assert "passing over" in (place.run_folder("developer") / "log.txt").read_text()
