"""The example of a loop that is not ours: as processes, with a log that holds and that the loop follows again."""

from __future__ import annotations

import importlib.util
import re
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml
from safetensors.torch import load_file
from torch import Tensor

import amint_mpc as am
from amint_mpc.afterwards.proving import Prover
from amint_mpc.afterwards.replay import replay
from amint_mpc.amint.audit import Audit
from amint_mpc.amint.plaintext_head import HeadWrapper, PlaintextHead
from amint_mpc.config import Experiment, load_experiment
from amint_mpc.errors import DataError, EvidenceError, UsageError
from amint_mpc.evidence.verify import verify
from amint_mpc.host import in_process
from amint_mpc.host.in_process import run_in_process
from amint_mpc.models.head_weights import init_head, seeded_normal
from amint_mpc.mpc.ring import fixed_point as fp
from amint_mpc.roles.heads import head_kind
from amint_mpc.runlog.expected import ExpectedEntries
from tests.roles.party_processes import Site, wait_until

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_loop.py"
MARK = "  # audit"
SMALL = (
    "security.correlations=dealer",
    "training.epochs=2",
    "training.evaluate_every=1",
    "training.sealed_epochs=1",
    "data.members=100",
    "data.external=120",
    "data.unseen=80",
)


def own_loop() -> Any:
    """The example, as a module, on fewer images."""
    spec = importlib.util.spec_from_file_location("own_loop", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    digits = module.digits
    module.digits = lambda members=100: digits(members, 120, 80)
    return module


def small(changes: Sequence[str] = ()) -> Experiment:
    return load_experiment(EXAMPLE.with_suffix(".yaml"), [*SMALL, *changes])


def test_it_takes_at_most_10_lines() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    marked = [line for line in lines if line.endswith(MARK)]
    assert 0 < len(marked) <= 10
    plain = [line for line in lines[: lines.index("def again(run: str) -> None:")] if not line.endswith(MARK)]
    assert not [line for line in plain if re.search(r"\bam\.|\baudit\.|\bbatch\.", line) and "`" not in line]


@pytest.mark.timeout(300)
def test_it_joins_auditor_and_dealer_and_is_done_again(site: Callable[..., Site]) -> None:
    place = site(connect_timeout_s=120)
    experiment = load_experiment(EXAMPLE.with_suffix(".yaml"), [*SMALL[:3], "training.sealed_epochs=1"])
    (place.folder / "experiment.yaml").write_text(yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False))
    files = [str(place.folder / "experiment.yaml"), str(place.party("developer"))]
    loop = place.execute(str(EXAMPLE), *files, name="loop")
    auditor, dealer = place.fork("auditor"), place.fork("dealer")
    assert (loop.wait(), auditor.wait(), dealer.wait()) == (0, 0, 0)
    assert loop.err == ""
    assert "epoch 4, task loss " in loop.out
    assert "mint_auc" in loop.out
    assert load_file(place.run_folder("auditor") / "head.safetensors")["w1"].shape == (96, 32)

    mine = next(path for path in place.folder.rglob("own-loop-developer-*") if path.is_dir())
    found = verify(mine, ExpectedEntries)
    assert found.log.steps == 24 + experiment.sealed_steps
    assert [entry["epoch"] for entry in found.log.checkpoints] == [2, 3, 4]
    again = place.execute(str(EXAMPLE), "again", str(mine), name="again")
    assert again.wait() == 0, again.err
    assert "all 24 steps follow, every bit the same" in again.out


@pytest.mark.timeout(300)
def test_a_loop_that_is_killed_leaves_nobody_waiting(site: Callable[..., Site]) -> None:
    place = site(connect_timeout_s=120)
    changes = ["security.correlations=dealer", "training.epochs=2000"]
    experiment = load_experiment(EXAMPLE.with_suffix(".yaml"), changes)
    (place.folder / "experiment.yaml").write_text(yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False))
    files = [str(place.folder / "experiment.yaml"), str(place.party("developer"))]
    loop = place.execute(str(EXAMPLE), *files, name="loop")
    auditor, dealer = place.fork("auditor"), place.fork("dealer")
    wait_until(lambda: "epoch 4," in loop.out or loop.code() is not None, 100, lambda: loop.out + loop.err)
    loop.send(signal.SIGKILL)
    assert (auditor.wait(60), dealer.wait(60)) == (3, 3)


def test_the_programs_own_loop_refuses_such_an_experiment(site: Callable[..., Site]) -> None:
    child = site().fork("developer", "--set", "head.features=96", "--set", "training.evaluate_every=0")
    assert child.wait(60) == 2
    assert "training loop of your own" in child.err


class Beside(HeadWrapper):
    """The secure head, with a plaintext head that is fed the very same features."""

    def __init__(self, head: Any, twin: PlaintextHead) -> None:
        super().__init__(head)
        self._twin = twin
        self.cosines: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._head, name)

    def step(self, features: Tensor, members: int) -> Tensor:
        mine = super().step(features, members)
        plain = self._twin.step((features * 2**fp.X_BITS).round() / 2**fp.X_BITS, members)
        self.cosines.append(float(F.cosine_similarity(mine.flatten(), plain.flatten(), dim=0)))
        return mine


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Beside]:
    """The example's loop in one process."""
    torch.set_num_threads(1)
    experiment, beside = small(), list[Beside]()
    first = init_head(96, experiment.head.hidden, seeded_normal(7))
    received = in_process.receive_head

    def watched(*args: Any) -> Any:
        beside.append(Beside(received(*args), PlaintextHead(first, experiment.head.learning_rate)))
        return beside[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(in_process, "receive_head", watched)
        patch.setattr(type(head_kind(experiment)), "first_weights", lambda *_: first.tensors())
        home = tmp_path_factory.mktemp("own") / "run"
        run_in_process(experiment, home, loop=own_loop().train)
    return home, beside[0]


def test_every_gradient_is_the_plaintext_heads(run: tuple[Path, Beside]) -> None:
    assert len(run[1].cosines) == 4
    assert min(run[1].cosines) >= 0.999


def test_the_twin_trains_the_same_loop(tmp_path: Path) -> None:
    twin = am.train(small(), tmp_path / "twin", loop=own_loop().train)
    assert {"mint_auc", "task_accuracy"} <= set(twin.figures)
    assert sorted(len(scores) for scores in twin.scores.values()) == [40, 40, 50, 50, 120]


def test_both_logs_hold_and_the_loop_follows(run: tuple[Path, Beside]) -> None:
    assert am.verify(run[0]).found.log.steps == 4 + small().sealed_steps
    with am.replaying(run[0] / "developer") as audit:
        own_loop().train(audit)
    assert audit.replayed.exact
    assert audit.replayed.frames_matched
    assert audit.replayed.assumes is None
    assert audit.replayed.checkpoints == 3


def test_without_a_log_it_trains_as_well(tmp_path: Path) -> None:
    quick = small(["evidence.log=false", "evidence.replay=false", "training.epochs=1", "training.warmup_epochs=0"])
    run = run_in_process(quick, tmp_path / "run", loop=own_loop().train)
    assert {"mint_auc", "task_accuracy"} <= set(run.figures)
    assert not (tmp_path / "run" / "developer" / "evidence").exists()


def test_the_experiments_own_images(tmp_path: Path) -> None:
    """A loop without sets of its own: then single images can be proven by the command line, too."""

    def train(audit: Audit) -> None:
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 3, stride=2),
            torch.nn.ReLU(),
            torch.nn.Conv2d(4, 6, 3, stride=2),
            torch.nn.ReLU(),
            torch.nn.Flatten(),
            torch.nn.Linear(6 * 6 * 6, 10),
        )
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        audit.tap(model, "1", "3")
        loader = audit.loader()
        for _ in range(audit.epochs):
            for batch in loader:
                loss = F.cross_entropy(model(batch.images)[batch.members], batch.labels) + audit.loss()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        audit.finish()

    changes = ["security.correlations=dealer", "head.features=20", "evidence.replay=true", "training.evaluate_every=0"]
    run_in_process(load_experiment("smoke", changes), tmp_path / "run", loop=train)
    mine = tmp_path / "run" / "developer"
    with am.replaying(mine) as audit:
        train(audit)
    assert audit.replayed.exact
    assert Prover.load(mine, None).position("members", 3).proof.images == "members"


def differently(change: Callable[[Any], None]) -> Callable[[Audit], None]:
    """The example's loop with a change to its module."""
    module = own_loop()
    change(module)
    found: Callable[[Audit], None] = module.train
    return found


def other_rate(module: Any) -> None:
    adam = torch.optim.Adam
    module.torch = type("Torch", (), {**vars(torch), "optim": type("Optim", (), {**vars(torch.optim)})})
    module.torch.optim.Adam = lambda parameters, lr: adam(parameters, lr * 1.5)


def other_images(module: Any) -> None:
    digits = module.digits
    module.digits = lambda: [*digits()[:1], *digits(101)[1:]]


def test_another_loop_does_not_follow(run: tuple[Path, Beside]) -> None:
    def again(loop: Callable[[Audit], None]) -> None:
        with am.replaying(run[0] / "developer") as audit:
            loop(audit)

    with pytest.raises(EvidenceError, match="the checkpoint of epoch 2 does not follow"):
        again(differently(other_rate))
    with pytest.raises(DataError, match="not the images that the run committed to"):
        again(differently(other_images))
    with pytest.raises(UsageError, match=r"without audit.finish"):
        again(lambda audit: None)


def test_what_builds_the_model_again_is_refused(run: tuple[Path, Beside]) -> None:
    with pytest.raises(UsageError, match="a training loop of its own") as error:
        replay(run[0] / "developer", None, 0, 1)
    assert "amint_mpc.replaying" in error.value.hint
    with pytest.raises(UsageError, match="a training loop of its own"):
        am.audit(run[0], torch.zeros(2, 1, 8, 8, dtype=torch.uint8))


def test_joining_is_the_developers() -> None:
    with pytest.raises(UsageError, match="the auditor has no training loop"), am.join(small(), "auditor"):
        pass


@pytest.mark.parametrize("steps", [0, 3, 9])
def test_a_loop_that_ends_early_ends_the_others(steps: int, tmp_path: Path) -> None:
    module = own_loop()

    class Enough(Exception):
        pass

    def train(audit: Audit) -> None:
        model = module.Net()
        audit.tap(model, "first", "second")
        loader, left = audit.loader(*module.digits()), steps
        for _ in range(audit.epochs):
            for batch in loader:
                if not left:
                    return
                (model(batch.images).sum() + audit.loss()).backward()
                left -= 1

    with pytest.raises(UsageError, match=r"without audit.finish"):
        run_in_process(small(), tmp_path / "run", loop=train)
