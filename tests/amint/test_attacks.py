"""Each attack against a slow reference, image by image from the paper's formula, and on cases with a known answer."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from amint_mpc.amint.attacks import (
    ATTACKS,
    Attack,
    AttackView,
    confidence,
    difficulty,
    entropy,
    lira,
    loss,
    one_shadow,
    rmia,
)
from amint_mpc.amint.attacks import attack_view as signals
from amint_mpc.amint.attacks.shadows import halves
from amint_mpc.amint.metrics import roc_auc

IMAGES, SHADOWS, CLASSES = 40, 6, 4


def made(images: int = IMAGES, shadows: int = SHADOWS, lift: float = 2.0, seed: int = 0) -> tuple[AttackView, Tensor]:
    """A model's own training images have `lift` more on their right class; the first half are members."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (images,), generator=generator)
    right = F.one_hot(labels, CLASSES).double()
    hardness = torch.randn(images, 1, generator=generator, dtype=torch.float64) * 2
    inside = halves(images, shadows, seed)
    members = torch.arange(images) < images // 2

    def answers(trained: Tensor) -> Tensor:
        noise = torch.randn(images, CLASSES, generator=generator, dtype=torch.float64)
        return noise + right * (1 + hardness + lift * trained[:, None])

    shadow = torch.stack([answers(row) for row in inside])
    return AttackView(answers(members), labels, shadow, inside), members


def auc(scores: Tensor, members: Tensor) -> float:
    return roc_auc(scores[members].numpy(), scores[~members].numpy())


def probability(logits: Tensor, label: Tensor) -> float:
    exponents = [math.exp(float(value)) for value in logits]
    return exponents[int(label)] / sum(exponents)


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def test_signals_are_what_they_say() -> None:
    seen, _ = made()
    for row in range(IMAGES):
        p = probability(seen.logits[row], seen.labels[row])
        assert float(seen.confidence[row]) == pytest.approx(logit(p), rel=1e-9, abs=1e-9)
    expected = F.cross_entropy(seen.logits, seen.labels, reduction="none")
    torch.testing.assert_close(signals.loss(seen.confidence), expected)
    assert seen.shadow_confidence.shape == (SHADOWS, IMAGES)
    torch.testing.assert_close(
        seen.shadow_confidence[2].sigmoid(), seen.shadow_logits[2].softmax(1)[range(IMAGES), seen.labels]
    )


def test_confidence_tells_images_apart_whose_probability_rounds_to_one() -> None:
    logits = torch.tensor([[50.0, 0.0], [60.0, 0.0]], dtype=torch.float64)
    assert logits.softmax(1)[0, 0] == logits.softmax(1)[1, 0] == 1
    nothing = torch.zeros(0, 2, 2, dtype=torch.float64), torch.zeros(0, 2, dtype=torch.bool)
    seen = AttackView(logits, torch.tensor([0, 0]), *nothing)
    for score in (confidence.largest_posterior, loss.negative_loss):
        assert score(seen)[0] < score(seen)[1]


def test_thresholds_on_outputs() -> None:
    seen, _ = made()
    largest, losses, entropies = [], [], []
    for row in range(IMAGES):
        posteriors = [probability(seen.logits[row], torch.tensor(each)) for each in range(CLASSES)]
        y = int(seen.labels[row])
        largest.append(logit(max(posteriors)))
        losses.append(math.log(posteriors[y]))
        wrong = sum(p * math.log(1 - p) for each, p in enumerate(posteriors) if each != y)
        entropies.append((1 - posteriors[y]) * math.log(posteriors[y]) + wrong)
    for score, expected in (
        (confidence.largest_posterior, largest),
        (loss.negative_loss, losses),
        (entropy.negative_modified_entropy, entropies),
    ):
        torch.testing.assert_close(score(seen), torch.tensor(expected, dtype=torch.float64))


def test_largest_posterior_needs_no_label() -> None:
    seen, _ = made()
    other = AttackView(seen.logits, (seen.labels + 1) % CLASSES, seen.shadow_logits, seen.shadow_inside)
    assert torch.equal(confidence.largest_posterior(seen), confidence.largest_posterior(other))


def test_difficulty_calibration() -> None:
    seen, _ = made()
    for row in range(IMAGES):
        own = -math.log(probability(seen.logits[row], seen.labels[row]))
        outside = [
            -math.log(probability(seen.shadow_logits[k, row], seen.labels[row]))
            for k in range(SHADOWS)
            if not seen.shadow_inside[k, row]
        ]
        assert float(difficulty.calibrated_loss(seen)[row]) == pytest.approx(sum(outside) / len(outside) - own)


def reference_lira(seen: AttackView) -> tuple[list[float], list[float]]:
    confidences = [
        [logit(probability(seen.shadow_logits[k, row], seen.labels[row])) for row in range(IMAGES)]
        for k in range(SHADOWS)
    ]
    means: dict[bool, list[float]] = {True: [], False: []}
    deviation: dict[bool, float] = {}
    for inside in (True, False):
        squares, degrees = 0.0, 0
        for row in range(IMAGES):
            values = [confidences[k][row] for k in range(SHADOWS) if bool(seen.shadow_inside[k, row]) == inside]
            means[inside].append(sum(values) / len(values))
            squares += sum((value - means[inside][-1]) ** 2 for value in values)
            degrees += len(values) - 1
        deviation[inside] = math.sqrt(squares / degrees)
    online, offline = [], []
    for row in range(IMAGES):
        x = logit(probability(seen.logits[row], seen.labels[row]))
        member, stranger = (NormalDist(means[inside][row], deviation[inside]) for inside in (True, False))
        online.append(math.log(member.pdf(x)) - math.log(stranger.pdf(x)))
        offline.append(math.log(stranger.cdf(x)))
    return online, offline


def test_lira() -> None:
    seen, _ = made()
    online, offline = reference_lira(seen)
    torch.testing.assert_close(lira.online(seen), torch.tensor(online, dtype=torch.float64))
    torch.testing.assert_close(lira.offline(seen), torch.tensor(offline, dtype=torch.float64))


def test_lira_offline_stays_finite_and_ordered_far_out() -> None:
    seen, _ = made(lift=0.0)
    right = F.one_hot(seen.labels, CLASSES).double()
    order = torch.linspace(-300, 20, IMAGES, dtype=torch.float64)
    same = torch.zeros_like(seen.shadow_logits) + seen.shadow_logits.mean(1, keepdim=True)
    far = AttackView(right * order[:, None], seen.labels, same, seen.shadow_inside)
    scores = lira.offline(far)
    assert bool(scores.isfinite().all())


def reference_rmia(seen: AttackView, usual: list[float], gamma: float) -> list[float]:
    ratios = [probability(seen.logits[row], seen.labels[row]) / usual[row] for row in range(IMAGES)]
    return [sum(ratios[x] >= gamma * ratios[z] for z in range(IMAGES) if z != x) / (IMAGES - 1) for x in range(IMAGES)]


def shadow_means(seen: AttackView, row: int) -> tuple[float, float]:
    """Mean probability of the right class by the models trained on the image, and by the others."""
    found: dict[bool, list[float]] = {True: [], False: []}
    for k in range(SHADOWS):
        found[bool(seen.shadow_inside[k, row])].append(probability(seen.shadow_logits[k, row], seen.labels[row]))
    return sum(found[True]) / len(found[True]), sum(found[False]) / len(found[False])


def test_rmia() -> None:
    seen, _ = made()
    means = [shadow_means(seen, row) for row in range(IMAGES)]
    online = reference_rmia(seen, [(inside + outside) / 2 for inside, outside in means], rmia.GAMMA)
    torch.testing.assert_close(rmia.online(seen), torch.tensor(online, dtype=torch.float64))
    a = rmia.best_a(seen.shadow_confidence.sigmoid(), ~seen.shadow_inside)
    usual = [((1 + a) * outside + (1 - a)) / 2 for _, outside in means]
    offline = reference_rmia(seen, usual, rmia.GAMMA)
    torch.testing.assert_close(rmia.offline(seen), torch.tensor(offline, dtype=torch.float64))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_rmia_for_any_gamma(gamma: float) -> None:
    seen, _ = made()
    ratio = torch.tensor(
        [probability(seen.logits[row], seen.labels[row]) for row in range(IMAGES)], dtype=torch.float64
    )
    expected = reference_rmia(seen, [1.0] * IMAGES, gamma)
    torch.testing.assert_close(rmia.relative(ratio, gamma), torch.tensor(expected, dtype=torch.float64))


def test_rmia_finds_a_from_its_own_models_alone() -> None:
    """Model 0 is attacked with the rest, image by image: no a of the grid does better than the one that is found."""
    seen, _ = made(shadows=4)
    own, members = [probability(seen.shadow_logits[0, row], seen.labels[row]) for row in range(IMAGES)], []
    reference = []
    for row in range(IMAGES):
        members.append(bool(seen.shadow_inside[0, row]))
        others = [k for k in range(1, 4) if not seen.shadow_inside[k, row]]
        answers = [probability(seen.shadow_logits[k, row], seen.labels[row]) for k in others]
        reference.append(sum(answers) / len(answers))

    def found_by(a: float) -> float:
        ratios = [p / (((1 + a) * q + (1 - a)) / 2) for p, q in zip(own, reference, strict=True)]
        return auc(torch.tensor(ratios, dtype=torch.float64), torch.tensor(members))

    chosen = rmia.best_a(seen.shadow_confidence.sigmoid(), ~seen.shadow_inside)
    every = [found_by(a) for a in rmia.GRID]
    assert found_by(chosen) == max(every) > min(every)


def test_one_shadow_learns_from_its_shadow_alone() -> None:
    seen, members = made(images=400, lift=4.0)
    again = one_shadow.learned(seen)
    assert auc(again, members) > 0.75
    assert torch.equal(again, one_shadow.learned(seen))
    others = seen.shadow_logits.clone()
    others[1:] = 0
    assert torch.equal(again, one_shadow.learned(AttackView(seen.logits, seen.labels * 0, others, seen.shadow_inside)))


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_every_attack_finds_members_that_are_marked_and_none_that_are_not(attack: Attack) -> None:
    seen, members = made(images=600, lift=3.0)
    scores = attack.score(seen)
    assert scores.shape == (600,)
    assert bool(scores.isfinite().all())
    assert auc(scores, members) > 0.65
    seen, members = made(images=600, lift=0.0)
    assert 0.42 < auc(attack.score(seen), members) < 0.58  # three standard deviations of 300 against 300


def test_what_an_image_is_compared_with_helps_against_its_hardness() -> None:
    seen, members = made(images=600, lift=1.5)
    plain = auc(loss.negative_loss(seen), members)
    for score in (difficulty.calibrated_loss, lira.offline, lira.online, rmia.online):
        assert auc(score(seen), members) > plain


def test_offline_attacks_never_ask_a_model_that_was_trained_on_the_image() -> None:
    seen, _ = made()
    hidden = torch.where(
        seen.shadow_inside[..., None], 7 * torch.randn(CLASSES, dtype=torch.float64), seen.shadow_logits
    )
    other = AttackView(seen.logits, seen.labels, hidden, seen.shadow_inside)
    for score in (difficulty.calibrated_loss, lira.offline):
        torch.testing.assert_close(score(seen), score(other))
    outside = ~seen.shadow_inside
    a = rmia.best_a(seen.shadow_confidence.sigmoid(), outside)
    assert a in rmia.GRID  # what a is may depend on model 0's own members: they are the attacker's


def test_names_are_unique_and_sources_named() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)
    assert all("arXiv" in attack.citation for attack in ATTACKS)
