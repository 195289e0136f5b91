"""A long secure run over a memory channel: its gradient against float64 on the same weights, step after step."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from amint_mpc.amint.trainer import Trainer
from amint_mpc.config import load_experiment
from amint_mpc.data.split import load_split
from amint_mpc.events import StepEvent
from amint_mpc.models.head_weights import init_head, seeded_normal
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.checking import dealt
from amint_mpc.mpc.dense.head import WEIGHT_BITS, SecureHead
from amint_mpc.mpc.ring import fixed_point as fp
from amint_mpc.roles.heads import head_kind, secure_optimizer
from amint_mpc.roles.plans import stretches_of, targets
from amint_mpc.roles.secure_head import SecureMintHead
from amint_mpc.transport.channel import memory_pair
from tests.device import DEVICE
from tests.mpc.local_dealer import local_supplies

LOOKED_AT = (1, 10, 100, 1000)


JOINT_ALONE = ["training.sealed_epochs=0", "security.checked_blocks=0"]


class Watched(SecureHead):
    """Keeps its shares of the weights before some steps."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.count = 0
        self.before: dict[int, dict[str, Tensor]] = {}

    def train_step(self, *args: Any) -> Tensor | None:
        self.count += 1
        if self.count in LOOKED_AT:
            self.before[self.count] = {name: getattr(self._module, name).share.clone() for name in WEIGHT_BITS}
        return super().train_step(*args)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_gradient_is_right_at_steps_1_10_100_and_1000() -> None:
    """The quickstart, training its classifier for 1,012 joint steps; one thread for each party."""
    torch.set_num_threads(1)
    experiment = load_experiment(
        "quickstart",
        ["training.epochs=44", "training.evaluate_every=0", "training.sealed_epochs=0", "security.checked_blocks=0"],
    )
    inputs, hidden = head_kind(experiment).inputs, experiment.head.hidden
    channels, supplies = memory_pair(), local_supplies(dealt(stretches_of(experiment)))
    optimizer = secure_optimizer(experiment)
    heads = [Watched(channels[p], p, supplies[p], inputs, hidden, optimizer) for p in (DEVELOPER, AUDITOR)]
    seen: dict[int, tuple[Tensor, Tensor]] = {}

    class Kept(SecureMintHead):
        def step(self, features: Tensor, members: int) -> Tensor:
            gradient = super().step(features, members)
            if heads[DEVELOPER].count in LOOKED_AT:
                seen[heads[DEVELOPER].count] = features.clone(), gradient
            return gradient

    def developer() -> None:
        heads[DEVELOPER].share_weights(None, None)
        head = Kept(heads[DEVELOPER], channels[DEVELOPER], experiment)
        events = Trainer(experiment, load_split(experiment, None), head, DEVICE).run()
        for event in events:
            if isinstance(event, StepEvent) and heads[DEVELOPER].count == max(LOOKED_AT):
                break
        channels[DEVELOPER].close()

    def auditor() -> None:
        weights = init_head(inputs, hidden, seeded_normal(7)).tensors()
        masks = {name: torch.randint(-(2**62), 2**62, shape) for name, shape in heads[AUDITOR].shapes.items()}
        heads[AUDITOR].share_weights(weights, masks)
        labels = targets(experiment.training.batch)
        for _ in range(max(LOOKED_AT)):
            heads[AUDITOR].train_step(None, labels)
        channels[AUDITOR].close()

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(developer), pool.submit(auditor)]:
            future.result()

    cosines: dict[int, float] = {}
    for step in LOOKED_AT:
        features, gradient = seen[step]
        weights = {
            name: fp.decode(heads[DEVELOPER].before[step][name] + heads[AUDITOR].before[step][name], bits)
            for name, bits in WEIGHT_BITS.items()
        }
        x = fp.decode(fp.encode(features, fp.X_BITS), fp.X_BITS).requires_grad_()  # as the engine holds them
        y = torch.cat([x, torch.ones(len(x), 1)], 1) @ weights["w1"]
        z = y.relu() @ weights["w2"] + weights["b2"]
        members = experiment.training.batch
        loss = F.softplus(-z[:members]).mean() + F.softplus(z[members:]).mean()
        (wanted,) = torch.autograd.grad(loss, x)
        cosines[step] = float(F.cosine_similarity(wanted.flatten(), gradient.double().flatten(), dim=0))
    print(f"gradient cosine by step: {cosines}")
    assert all(value >= 0.999 for value in cosines.values()), cosines
