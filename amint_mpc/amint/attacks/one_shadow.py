"""One shadow model: learn from a model of one's own what the answers on its members look like.

Source: Salem et al., "ML-Leaks" (NDSS 2019, arXiv 1806.01246), adversary 1: a network with one hidden layer of 64
units, from the three largest posteriors in falling order to membership, trained on the answers of one shadow model.
The posteriors go in as logarithms, for most are close to 0 or 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amint_mpc.amint.attacks.attack_view import AttackView

LARGEST = 3
STEPS = 300


def learned(seen: AttackView) -> Tensor:
    """Scores [n]: logits of the attack network. Deterministic: it is drawn from a seed of its own."""
    known = _largest(seen.shadow_logits[0])
    mean, scale = known.mean(0), known.std(0) + 1e-6
    membership = seen.shadow_inside[0].double()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(known.shape[1], 64), nn.ReLU(), nn.Linear(64, 1)).double()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(STEPS):
        optimizer.zero_grad()
        value = F.binary_cross_entropy_with_logits(network((known - mean) / scale).squeeze(1), membership)
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        scores: Tensor = network((_largest(seen.logits) - mean) / scale).squeeze(1)
    return scores


def _largest(logits: Tensor) -> Tensor:
    """Logarithms of the largest posteriors, falling, [n, 3] (or as many as there are classes)."""
    return logits.log_softmax(1).topk(min(LARGEST, logits.shape[1]), 1).values
