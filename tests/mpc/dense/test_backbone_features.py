"""The secure head's step on the features of every backbone, against the plaintext head's with the same weights."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from amint_mpc.amint import PlaintextHead
from amint_mpc.config import Experiment
from amint_mpc.models import BACKBONES, build_classifier, init_head, seeded_normal
from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.ring import fixed_point as fp
from amint_mpc.roles.heads import secure_optimizer
from amint_mpc.roles.plans import targets
from tests.mpc.cases import head_party, head_plans, weight_masks
from tests.mpc.parties import run_both

MEMBERS, HIDDEN = 8, 4


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_the_secure_gradient_is_the_plaintext_heads(name: str) -> None:
    experiment = Experiment.model_validate(
        {"model": {"backbone": name, "size": "small"}, "head": {"hidden": HIDDEN}, "training": {"batch": MEMBERS}}
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        images = torch.rand(2 * MEMBERS, 1, 28, 28) * torch.rand(2 * MEMBERS, 1, 1, 1)
        features = build_classifier(experiment, (1, 28, 28), 10)(images)[1]
    # As the engine holds them: else a hidden value next to 0 falls now and then on the ReLU's other side.
    features = (features * 2**fp.X_BITS).round() / 2**fp.X_BITS
    head = init_head(features.shape[1], HIDDEN, seeded_normal(2))
    plain = PlaintextHead(head, experiment.head.learning_rate).step(features, MEMBERS)

    rate = secure_optimizer(experiment)
    party = head_party(
        head.tensors(), weight_masks(*head.w1.shape, 3), [features.double()], targets(MEMBERS), rate=rate
    )
    results = run_both(party, head_plans(2 * MEMBERS, *head.w1.shape, 1, rate=rate))
    secure = results[DEVELOPER][0][0] / MEMBERS
    assert plain.abs().max() > 0
    assert F.cosine_similarity(secure.flatten(), plain.double().flatten(), dim=0) >= 0.999
