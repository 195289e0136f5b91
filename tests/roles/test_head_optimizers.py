"""Secure steps of each optimizer beside the plaintext twin, which is fed the same features: the agreed schedule with
its scores in between, over a memory channel."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from amint_mpc.amint.optimizers import plaintext_optimizer
from amint_mpc.amint.plaintext_head import PlaintextHead
from amint_mpc.amint.schedule import TrainStep, schedule, score_batches
from amint_mpc.config import Experiment, load_experiment
from amint_mpc.models.head_weights import HeadWeights, init_head, seeded_normal
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import Plan
from amint_mpc.mpc.correlations.checking import dealt
from amint_mpc.mpc.correlations.prg import SecretStream
from amint_mpc.mpc.correlations.supply import Supply, serve
from amint_mpc.mpc.dense.head import WEIGHT_BITS, SecureHead
from amint_mpc.mpc.ring import fixed_point as fp
from amint_mpc.roles.backends import embedded
from amint_mpc.roles.heads import Dense, secure_optimizer
from amint_mpc.roles.plans import head_steps, stretches_of, targets
from amint_mpc.transport.channel import Channel, memory_pair
from tests.mpc.local_dealer import local_supplies

FEATURES = 24
COMMON = [
    "security.correlations=dealer",
    *("data.members=256", "data.external=256", "data.unseen=8", "training.batch=64", "training.epochs=9"),
    *("training.evaluate_every=4", "head.hidden=64", "security.checked_blocks=0"),
]
SETTINGS = {
    "sgd": ["head.learning_rate=0.1"],
    "momentum": ["head.optimizer=momentum", "head.momentum=0.9", "head.learning_rate=0.01"],
    "novograd": ["head.optimizer=novograd", "head.learning_rate=0.05"],
}


@dataclass
class Run:
    """Gradients of both in each step, and the weights of both after it."""

    experiment: Experiment
    rounds: int = 0
    secure: list[Tensor] = field(default_factory=list)
    plain: list[Tensor] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    shares: tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]] = field(default_factory=lambda: ([], []))
    twins: list[HeadWeights] = field(default_factory=list)

    def weights(self, step: int) -> dict[str, Tensor]:
        """Of the secure head after a step, w1 with b1 below it: the sum of the shares."""
        mine, theirs = (shares[step] for shares in self.shares)
        return {name: fp.decode(mine[name] + theirs[name], WEIGHT_BITS[name]) for name in mine}


def batches(members: int) -> Iterator[Tensor]:
    """Features whose members differ from the others in the mean, as the engine holds them: to eight bits."""
    generator = torch.Generator().manual_seed(3)
    apart = torch.randn(FEATURES, generator=generator) * 0.6
    while True:
        x = torch.randn(2 * members, FEATURES, generator=generator)
        x[:members] += apart
        yield (x.clamp(-8, 8) * 2**fp.X_BITS).round() / 2**fp.X_BITS


def supplies_of(dealer: str, plans: list[Plan], channels: tuple[Channel, Channel]) -> tuple[Supply, Supply]:
    """Where developer and auditor take their masks from."""
    if dealer == "in place":
        return local_supplies(plans)
    if dealer == "embedded":
        auditors = embedded.auditors_supply(channels[AUDITOR])
        return embedded.developers_supply(channels[DEVELOPER]), auditors
    to_developer, from_dealer = memory_pair("dealer", "developer")

    def streams() -> tuple[SecretStream, SecretStream]:
        return SecretStream(bytes(range(32)), "dealt"), SecretStream(bytes(range(1, 33)), "dealt")

    def deal() -> None:
        serve(to_developer, streams(), plans)
        to_developer.close()

    threading.Thread(target=deal, daemon=True).start()
    return Supply(streams()[DEVELOPER], DEVELOPER, from_dealer), Supply(streams()[AUDITOR], AUDITOR)


def both(settings: list[str], dealer: str = "in place") -> Run:
    """The whole schedule of a run, without a classifier.

    Args:
        dealer: "in place"; "over a link", as a dealer of its own; "embedded" at the auditor.
    """
    experiment = load_experiment("smoke", COMMON + settings)
    run, members = Run(experiment), experiment.training.batch
    first = init_head(FEATURES, experiment.head.hidden, seeded_normal(7))
    twin = PlaintextHead(first, plaintext_optimizer(experiment.head))
    channels, optimizer, sizes = memory_pair(), secure_optimizer(experiment), (FEATURES, experiment.head.hidden)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("amint_mpc.roles.plans.head_kind", lambda _: Dense(*sizes))
        needed = list(dealt(stretches_of(experiment)))
    supplies = supplies_of(dealer, needed, channels)

    def party(index: int, channel: Channel) -> None:
        head, x = SecureHead(channel, index, supplies[index], *sizes, optimizer), batches(members)
        random = torch.Generator().manual_seed(5)
        masks = {name: torch.randint(-(2**62), 2**62, s, generator=random) for name, s in head.shapes.items()}
        head.share_weights(*((first.tensors(), masks) if index == AUDITOR else (None, None)))
        for item in schedule(experiment):
            if isinstance(item, TrainStep):
                features = next(x)
                before = channel.stats.rounds
                brought = features.double() if index == DEVELOPER else None
                gradient = head.train_step(brought, targets(members))
                run.shares[index].append({name: getattr(head._module, name).share.clone() for name in WEIGHT_BITS})
                if gradient is not None:
                    run.rounds += channel.stats.rounds - before
                    run.secure.append(gradient / members)
                    run.plain.append(twin.step(features, members).double())
                    run.losses.append(twin.loss)
                    run.twins.append(twin.weights)
            else:
                for rows in score_batches(item.count):
                    head.logits(torch.zeros(rows, FEATURES) if index == DEVELOPER else None, rows)

    def guarded(index: int) -> None:
        try:
            party(index, channels[index])
        except BaseException:
            channels[index].abort("failed")
            raise

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(guarded, index) for index in (DEVELOPER, AUDITOR)]:
            future.result()
    for channel in channels:
        channel.close()
    return run


@pytest.fixture(scope="module", params=list(SETTINGS))
def run(request: pytest.FixtureRequest) -> Run:
    torch.set_num_threads(1)
    return both(SETTINGS[request.param])


def test_every_gradient_is_the_twins(run: Run) -> None:
    assert len(run.secure) == len(run.plain) == head_steps(run.experiment) == 36
    pairs = zip(run.secure, run.plain, strict=True)
    cosines = [float(F.cosine_similarity(a.flatten(), b.flatten(), dim=0)) for a, b in pairs]
    assert min(cosines) >= 0.998, cosines
    assert run.losses[-1] < 0.7 * run.losses[0]  # it learns: the gradients are not those of the first head


def test_the_weights_move_with_the_twins(run: Run) -> None:
    for step in range(0, len(run.twins), 3):
        secure, twin = run.weights(step), run.twins[step].tensors()
        secure |= {"w1": secure["w1"][:-1], "b1": secure["w1"][-1]}
        for name, want in twin.items():
            moved = (want - run.twins[0].tensors()[name]).abs().max()
            assert (secure[name] - want).abs().max() <= 0.03 * moved + 2.0**-9, (step, name)


def test_rounds_of_a_step(run: Run) -> None:
    """The step after a scoring waits for the auditor's part of it, which is one more."""
    assert 360 <= run.rounds <= 364


@pytest.mark.parametrize("dealer", ["over a link", "embedded"])
@pytest.mark.parametrize("optimizer", ["momentum", "novograd"])
def test_every_dealer_remembers_the_masks_of_the_step_before(optimizer: str, dealer: str) -> None:
    """A dealer that forgot them would move the weights by random numbers. Scores of other masks come in between."""
    settings = ["data.members=40", "data.external=40", "training.batch=8", "training.epochs=2", "head.hidden=8"]
    run = both([*SETTINGS[optimizer], *settings, "training.evaluate_every=1"], dealer)
    last, want = run.weights(-1), run.twins[-1].tensors()
    assert len(run.twins) == 10
    moved = float((want["w1"] - run.twins[0].tensors()["w1"]).abs().max())
    assert float((last["w1"][:-1] - want["w1"]).abs().max()) < 0.1 * moved
