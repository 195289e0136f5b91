"""A whole secure run over a memory channel beside the plaintext twin: same first head, classifier and images."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from amint_mpc.amint.plaintext_head import PlaintextHead
from amint_mpc.amint.trainer import Trainer
from amint_mpc.config import Experiment, Party, load_experiment
from amint_mpc.data.split import load_split
from amint_mpc.errors import ProtocolError, UsageError
from amint_mpc.events import EpochEvent, Event
from amint_mpc.models.head_weights import HeadWeights, init_head, seeded_normal
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.checking import dealt
from amint_mpc.mpc.dense.head import SecureHead
from amint_mpc.mpc.ring import fixed_point as fp
from amint_mpc.roles import auditor, developer, heads
from amint_mpc.roles.backends import Backing
from amint_mpc.roles.heads import head_kind, secure_optimizer
from amint_mpc.roles.plans import head_steps, stretches_of
from amint_mpc.roles.secure_head import SecureMintHead
from amint_mpc.runfolder import RunFolder
from amint_mpc.runlog.interface import NullRunLog
from amint_mpc.transport.channel import Channel, memory_pair
from tests.device import DEVICE
from tests.mpc.local_dealer import local_supplies

COIN = bytes(32)
TINY = [
    "security.correlations=dealer",
    "security.checked_blocks=0",
    "data.members=48",
    "data.external=48",
    "data.unseen=40",
    "training.batch=12",
    "training.epochs=4",
    "head.learning_rate=0.03",
    "disclosure.epoch_figures=true",
]


class Watched:
    """The developer's head, with a plaintext head that is fed the very same features."""

    def __init__(self, head: SecureMintHead, secure: SecureHead, twin: PlaintextHead) -> None:
        self.head, self.secure, self.twin = head, secure, twin
        self.meter, self.epoch_figures, self.finish = head.meter, head.epoch_figures, head.finish
        self.stopper, self.run_log, self.order = head.stopper, head.run_log, head.order
        self.masks, self.ahead = None, head.ahead
        self.cosines: list[float] = []
        self.seen: list[Tensor] = []
        self.closest_share = float("inf")

    def step(self, features: Tensor, members: int) -> Tensor:
        mine = self.head.step(features, members)
        # Features as the engine holds them: else a hidden value next to 0 falls now and then on the ReLU's other side.
        plain = self.twin.step((features * 2**fp.X_BITS).round() / 2**fp.X_BITS, members)
        self.cosines.append(float(F.cosine_similarity(mine.flatten(), plain.flatten(), dim=0)))
        self.seen.append(features)
        self._look_for_the_head()
        return mine

    def score(self, features: Tensor) -> Tensor | None:
        return self.head.score(features)

    def _look_for_the_head(self) -> None:
        """How near any tensor within the developer's reach comes to the first layer, per entry, over both scales."""
        w1, w2 = self.twin.weights.w1, self.twin.weights.w2
        for held in tensors_in(self.secure):
            flat = held.double().flatten()
            for secret, bits in ((w1.flatten(), fp.W1_BITS), (w2, fp.W2_BITS)):
                if len(flat) >= len(secret):
                    for scale in (1.0, 2.0**bits):
                        off = (flat[: len(secret)] / scale - secret).abs().median() / secret.abs().median()
                        self.closest_share = min(self.closest_share, float(off))


def tensors_in(root: object) -> Iterator[Tensor]:
    """Every tensor that can be reached from an object, but not through a channel: the other end is behind it here."""
    stack, known = [root], set()
    while stack:
        value = stack.pop()
        if id(value) in known or type(value).__name__ in ("FramedChannel", "LocalDealer"):
            continue
        known.add(id(value))
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, dict):
            stack += list(value.values())
        elif isinstance(value, list | tuple | set | frozenset):
            stack += list(value)
        elif hasattr(value, "__dict__"):
            stack += list(vars(value).values())


@dataclass
class Run:
    experiment: Experiment
    summaries: dict[str, Any]
    events: dict[str, list[Event]]
    folders: dict[str, Path]
    watched: Watched
    first: HeadWeights


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """What developer and auditor do once they are connected, as two threads."""
    torch.set_num_threads(1)
    experiment = load_experiment("smoke", TINY)
    first = init_head(head_kind(experiment).inputs, experiment.head.hidden, seeded_normal(7))
    root = tmp_path_factory.mktemp("runs")
    folders = {role: RunFolder.create(root, experiment, role, role) for role in ("developer", "auditor")}
    channels = memory_pair()
    supplies, optimizer = local_supplies(dealt(stretches_of(experiment))), secure_optimizer(experiment)
    events: dict[str, list[Event]] = {role: [] for role in folders}
    made: list[Watched] = []

    def part_of_developer() -> Any:
        told = events["developer"].append
        images, _ = developer.prepare(experiment, party, folders["developer"], told)
        secure = SecureHead(channels[0], DEVELOPER, supplies[0], *first.w1.shape, optimizer)
        secure.share_weights(None, None)
        head = SecureMintHead(secure, channels[0], experiment, COIN)
        made.append(Watched(head, secure, PlaintextHead(first, experiment.head.learning_rate)))
        return developer.take_part(experiment, party, folders["developer"], told, images, made[0])

    def one(role: str, body: Callable[[], Any], channel: Channel) -> Any:
        try:
            with folders[role]:
                return body()
        except BaseException:
            channel.abort("failed")
            raise

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heads, "init_head", lambda *_: first)  # a head that the twin can start from, too
        party = Party(role="developer", device=DEVICE)
        bodies = {
            "developer": part_of_developer,
            "auditor": lambda: auditor.take_part(
                experiment,
                folders["auditor"],
                events["auditor"].append,
                channels[1],
                SecureHead(channels[1], AUDITOR, supplies[1], *first.w1.shape, optimizer),
                NullRunLog(channels[1]),
                COIN,
                Backing(lambda _: pytest.fail("the head is there")),
            ),
        }
        with ThreadPoolExecutor(2) as pool:
            futures = [
                pool.submit(one, role, bodies[role], channel) for role, channel in zip(bodies, channels, strict=True)
            ]
        summaries = {role: future.result() for role, future in zip(bodies, futures, strict=True)}
    for channel in channels:
        channel.close()
    paths = {role: folder.path for role, folder in folders.items()}
    return Run(experiment, summaries, events, paths, made[0], first)


def test_every_gradient_is_the_plaintext_heads(run: Run) -> None:
    assert len(run.watched.cosines) == head_steps(run.experiment) == 16
    assert min(run.watched.cosines) >= 0.999


def test_the_head_that_is_opened_is_the_one_that_the_twin_trained(run: Run) -> None:
    opened = load_file(run.folders["auditor"] / "head.safetensors")
    for name, want in run.watched.twin.weights.tensors().items():
        moved = (want - run.first.tensors()[name]).abs().max()
        assert moved > 0
        assert (opened[name] - want).abs().max() < 0.05 * moved, name


def test_final_scores_are_those_of_a_run_in_the_clear(run: Run) -> None:
    """Another training with the plaintext head: small differences of each step may add up, and do not."""
    head = PlaintextHead(run.first, run.experiment.head.learning_rate)
    trainer = Trainer(run.experiment, load_split(run.experiment, None), head, DEVICE)
    for _ in trainer.run():
        pass
    secure = load_file(run.folders["auditor"] / "scores.safetensors")
    assert secure.keys() == trainer.scores.keys()
    for name, plain in trainer.scores.items():
        mine, want = secure[name].logit(), plain.logit()
        assert want.mean() < -0.3, "the head has moved: its first logits are near 0"
        assert want.std() > 0.02, "and it tells images apart"
        assert (mine - want).abs().max() < 0.04, name
        assert F.cosine_similarity(mine - mine.mean(), want - want.mean(), dim=0) > 0.99, name


def test_the_developer_never_holds_the_head(run: Run) -> None:
    """Nothing within reach of its head looks like the weights; that the search would find them is shown beside it."""
    assert run.watched.closest_share > 0.5
    run.watched.secure.leak = run.watched.twin.weights  # type: ignore[attr-defined]
    try:
        run.watched._look_for_the_head()
    finally:
        del run.watched.secure.leak  # type: ignore[attr-defined]
    assert run.watched.closest_share < 0.01


def test_the_auditor_keeps_no_features(run: Run) -> None:
    folder = run.folders["auditor"]
    stored = {path.name: load_file(path) for path in folder.glob("*.safetensors")}
    assert set(stored) == {"first-head.safetensors", "head.safetensors", "scores.safetensors"}
    assert all(scores.dim() == 1 for scores in stored["scores.safetensors"].values())
    features = torch.cat(run.watched.seen).flatten()
    numbers = {round(float(value), 5) for tensors in stored.values() for t in tensors.values() for value in t.flatten()}
    shared = sum(round(float(value), 5) in numbers for value in features[:5000])
    assert shared / 5000 < 0.01
    assert {path.name for path in folder.iterdir()} - set(stored) == {
        *("metrics.jsonl", "log.txt", "experiment.yaml", "versions.json", "summary.json", "tensorboard")
    }
    assert (folder / "metrics.jsonl").stat().st_size < 500 * len(run.events["auditor"])


def test_epoch_figures_are_told_when_it_is_agreed(run: Run) -> None:
    told = {
        role: {e.epoch: e.figures["mint_auc"] for e in events if isinstance(e, EpochEvent) and "mint_auc" in e.figures}
        for role, events in run.events.items()
    }
    last = max(told["auditor"])
    assert told["developer"] == {epoch: value for epoch, value in told["auditor"].items() if epoch != last}
    assert len(told["developer"]) == 3
    figures = {role: summary.figures for role, summary in run.summaries.items()}
    assert figures["developer"] == {**figures["auditor"], "task_accuracy": figures["developer"]["task_accuracy"]}


def test_what_was_counted_of_the_images_stays_with_the_developer(run: Run) -> None:
    assert run.summaries["developer"].duplicates == {}
    assert "duplicates" in run.summaries["developer"].as_json()
    assert sum(run.summaries["developer"].class_counts["members"]) == run.experiment.data.members
    assert not {"duplicates", "class_counts"} & set(run.summaries["auditor"].as_json())


def test_both_count_the_same_rounds(run: Run) -> None:
    assert {summary.rounds_per_step for summary in run.summaries.values()} == {10}
    assert {summary.steps for summary in run.summaries.values()} == {16}


def test_a_loop_that_does_not_keep_to_the_experiment_is_told_so() -> None:
    experiment = load_experiment("smoke", TINY)
    channel, other = memory_pair()
    secure = SecureHead(channel, DEVELOPER, local_supplies([])[DEVELOPER], 96, 8, secure_optimizer(experiment))
    head = SecureMintHead(secure, channel, experiment, COIN)
    assert head.steps == 16
    for rows, members in ((24, 11), (23, 12), (20, 10)):
        with pytest.raises(UsageError, match="12 members and as many external"):
            head.step(torch.zeros(rows, 96), members)
    head.meter.steps = 16
    with pytest.raises(UsageError, match="all 16 steps"):
        head.step(torch.zeros(24, 96), 12)
    channel.close()
    other.close()


def test_a_value_out_of_range_ends_the_step() -> None:
    experiment = load_experiment("smoke", TINY)
    channels, supplies = memory_pair(), local_supplies(dealt(stretches_of(experiment)))
    secure = SecureHead(channels[0], DEVELOPER, supplies[0], 96, 8, secure_optimizer(experiment))
    giver = threading.Thread(
        target=channels[1].send,
        args=("head", 0, *(torch.zeros(shape, dtype=torch.int64) for shape in secure.shapes.values())),
    )
    giver.start()
    secure.share_weights(None, None)
    giver.join()
    for wrong in (8.01, float("nan")):
        secure = SecureMintHead(secure, channels[0], experiment, COIN) if isinstance(secure, SecureHead) else secure
        with pytest.raises(ProtocolError, match="outside"):
            secure.step(torch.full((24, 96), wrong), 12)
    for channel in channels:
        channel.close()
