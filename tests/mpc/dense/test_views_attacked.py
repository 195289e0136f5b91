"""What an attacker would do with a whole run: the developer looks for the head, the auditor for the features. Without
the dealer both find nothing; with the dealer's seeds both find everything. And what is opened to one party is nowhere
at the other."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import expand
from amint_mpc.mpc.correlations.prg import SEED_BYTES, SecretStream, derive_key
from amint_mpc.mpc.dense.descent import GradientDescent
from amint_mpc.mpc.ring import fixed_point as fp
from tests.mpc.cases import RANGES, head_party, head_plans, random_head
from tests.mpc.views import Given, Replay, View, record

ROWS, INPUTS, HIDDEN, STEPS, SEED = 16, 60, 32, 4, 11
RATE = GradientDescent(3, 7)
TARGETS = torch.tensor([1.0] * (ROWS // 2) + [0.0] * (ROWS // 2))
PLANS = head_plans(ROWS, INPUTS, HIDDEN, STEPS, [ROWS], RATE)


def features() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(ROWS, INPUTS, generator=generator).clamp(-8, 8) for _ in range(STEPS)]


@pytest.fixture(scope="module")
def run() -> tuple[tuple[Any, Any], list[View]]:
    weights, masks = random_head(INPUTS, HIDDEN, 1)
    x = features()
    return record(head_party(weights, masks, x, TARGETS, scored=[x[0]], opened=True, rate=RATE), PLANS, SEED)


def predictors(view: View, results: Any, entries: int) -> Tensor:
    """All of a view that has one number for each entry sought, raw and combined in pairs: [entries, many]."""
    tensors = [t for t in view.incoming if t.numel() == entries]
    tensors += [t for material in view.material for parts in material.values() for t in parts.values()]
    tensors += [shares["w1"] for shares in results[3]]
    raw = [t.reshape(-1).long() for t in tensors if t.numel() == entries]
    pairs = [a + s * b for i, a in enumerate(raw) for b in raw[:i] for s in (1, -1)]
    columns = torch.stack([*raw, *pairs], dim=1).double() / 2.0**63
    return columns[:, columns.std(dim=0) > 0]


def explained_variance(columns: Tensor, sought: Tensor) -> tuple[float, float]:
    """Share of the variance of what is sought that a regression explains on entries it was not fitted to, and the
    largest correlation with a single column in units of what chance gives."""
    half = len(sought) // 2
    design = np.column_stack([np.ones(len(sought)), columns.numpy()])
    target = sought.numpy()
    fitted = np.linalg.lstsq(design[:half], target[:half], rcond=None)[0]
    rest = target[half:] - design[half:] @ fitted
    correlations = np.corrcoef(np.column_stack([columns.numpy(), target]), rowvar=False)[-1, :-1]
    return 1 - float(rest.var() / target[half:].var()), float(np.abs(correlations).max() * len(sought) ** 0.5)


def test_developers_view_of_a_run_does_not_give_the_head(run: Any) -> None:
    results, views = run
    opened = results[AUDITOR][2]
    sought = torch.cat([opened["w1"], opened["b1"][None]]).reshape(-1)
    columns = predictors(views[DEVELOPER], results[DEVELOPER], len(sought))
    assert columns.shape[1] > 100
    explains, largest = explained_variance(columns, sought)
    assert explains < 0.02
    assert largest < 5
    # the attack works where there is something to find: one more column, a noisy copy
    noisy = sought + 3 * sought.std() * torch.randn(len(sought), generator=torch.Generator().manual_seed(1))
    assert explained_variance(torch.cat([columns, noisy[:, None]], dim=1), sought)[1] > 8


def test_auditors_view_of_a_run_does_not_give_the_features(run: Any) -> None:
    results, views = run
    sought = torch.cat([features()[-1], torch.ones(ROWS, 1)], dim=1).double()
    view = views[AUDITOR]
    columns = predictors(view, results[AUDITOR], sought.numel())
    masked = [t for t in view.incoming if t.shape == sought.shape]
    assert len(masked) == STEPS + 1
    assert columns.shape[1] >= len(masked)
    explains, largest = explained_variance(columns, sought.reshape(-1))
    assert explains < 0.02
    assert largest < 5


def seeds_of_the_dealer(step: int) -> list[dict[str, dict[str, Tensor]]]:
    """What the dealer knows: all that both parties draw in a step (seeds as `local_supplies` makes them)."""
    secrets = [derive_key(SEED.to_bytes(SEED_BYTES, "big"), name) for name in ("developer", "auditor")]
    return [expand(PLANS[step], SecretStream(secret, "dealer"), i, step) for i, secret in enumerate(secrets)]


def test_with_the_dealers_seeds_the_developer_has_the_head(run: Any) -> None:
    results, views = run
    for step in (0, STEPS - 1):
        developer, auditor = seeds_of_the_dealer(step)
        (c1,) = [m.tensors[-1] for m in views[DEVELOPER].received if (m.tag, m.step) == ("round-0", step)]
        own = results[DEVELOPER][3][step]["w1"]
        found = c1 + auditor["linear"]["r"] + own
        assert torch.equal(found, own + results[AUDITOR][3][step]["w1"])
        assert torch.equal(developer["linear"]["r"], views[DEVELOPER].material[step]["linear"]["r"])


def test_with_the_dealers_seeds_the_auditor_has_the_features(run: Any) -> None:
    _, views = run
    for step, x in enumerate(features()):
        developer, _ = seeds_of_the_dealer(step)
        (frame,) = [m for m in views[AUDITOR].received if (m.tag, m.step) == ("round-0", step)]
        found = frame.tensors[-1] + developer["linear"]["a"]
        assert torch.equal(found[:, :-1], fp.encode(x, fp.X_BITS))


# ------------------------------------------------------------------------------------------------ the other's outputs


def everything_at(index: int, views: list[View]) -> list[Tensor]:
    """All integer and float tensors of one party at the end of a run that it replays alone in this process, with all
    the objects of every step kept alive."""
    weights, masks = random_head(INPUTS, HIDDEN, 1)
    x = features()
    if index == AUDITOR:
        x = [torch.zeros(0)] * STEPS + [torch.zeros(ROWS, 0)]  # it has none; `train_step` gets None
    else:
        weights = {name: torch.zeros_like(value) for name, value in weights.items()}  # it has none
    party = head_party(weights, masks, x[:STEPS], TARGETS, scored=[x[-1] if index else x[0]], opened=True, rate=RATE)
    before = {id(t): t for t in _tensors()}  # held, so that no new tensor gets the id of one that was freed
    kept: list[Tensor] = []

    class Holding(Given):
        def take(self, step: int, plan: Any) -> Any:
            kept.extend(t for t in _tensors() if id(t) not in before)
            return super().take(step, plan)

    channel = Replay(views[index].received)
    result = party(index, channel, Holding(views[index].material))
    kept.extend(t for t in _tensors() if id(t) not in before)
    assert result is not None
    return kept


def _tensors() -> list[Tensor]:
    return [o for o in gc.get_objects() if issubclass(type(o), Tensor)]


def holds(tensors: list[Tensor], value: Tensor, bits: tuple[int, ...]) -> bool:
    """Whether one of the tensors is `value`, as floats or in fixed point with one of `bits`, to 1 %."""
    size = float(value.abs().max())
    for tensor in tensors:
        if tensor.numel() == value.numel():
            found = tensor.reshape(-1).double()
            for scale in (0, *bits):
                if float((found / 2.0**scale - value.reshape(-1)).abs().max()) < 0.01 * size:
                    return True
    return False


@pytest.mark.parametrize("index", [DEVELOPER, AUDITOR])
def test_what_is_opened_to_one_party_is_nowhere_at_the_other(run: Any, index: int) -> None:
    results, views = run
    tensors = everything_at(index, views)
    gradient, logits = results[DEVELOPER][0][-1], results[AUDITOR][1][0]
    weights = torch.cat([results[AUDITOR][2]["w1"], results[AUDITOR][2]["b1"][None]])
    assert len(tensors) > 100
    assert holds(tensors, gradient, (24, 56)) == (index == DEVELOPER)
    assert holds(tensors, logits, (20, 52)) == (index == AUDITOR)
    assert holds(tensors, weights[:-1], (30,)) == (index == AUDITOR)


def test_frames_of_an_opening_go_one_way(run: Any) -> None:
    """dX and the update: the auditor gets nothing; logits and weights: the developer gets no frame."""
    _, views = run
    for step in range(STEPS):
        assert not [m for m in views[AUDITOR].received if (m.tag, m.step) == ("round-9", step)]
        (at_developer,) = [m for m in views[DEVELOPER].received if (m.tag, m.step) == ("round-9", step)]
        assert [(t.dtype, tuple(t.shape)) for t in at_developer.tensors] == [
            (torch.int32, (ROWS, INPUTS)),
            (torch.int64, (ROWS, HIDDEN)),
        ]
    of_score = [[(m.tag, len(m.tensors)) for m in view.received if m.step == STEPS] for view in views]
    assert of_score[DEVELOPER][-2:] == [
        ("round-3", RANGES + 1),
        ("round-4", 1),
    ]  # sums that are 0 and packed signs; A - M
    assert of_score[AUDITOR][-1] == ("round-5", 1)
    assert [m.tag for m in views[DEVELOPER].received if not m.tag.startswith("round")] == ["head"]
    assert [m.tag for m in views[AUDITOR].received if not m.tag.startswith("round")] == ["range", "open"]
