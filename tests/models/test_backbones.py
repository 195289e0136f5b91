"""The mini ResNet's taps, and what features are."""

from __future__ import annotations

import torch

from amint_mpc.config import Experiment
from amint_mpc.limits import FEATURE_LIMIT
from amint_mpc.models import Features, build_classifier, feature_count


def experiment(taps: str = "middle", kind: str = "pooled", **model: object) -> Experiment:
    return Experiment.model_validate({"model": {"taps": taps, "width": 4, **model}, "head": {"input": kind}})


def test_quickstart_feature_count() -> None:
    assert feature_count(Experiment(), (1, 28, 28)) == 2 * (32 + 64)
    maps = Experiment.model_validate({"head": {"input": "maps"}})
    assert feature_count(maps, (1, 28, 28)) == 32 * 7 * 7 + 64 * 4 * 4


def test_feature_count_leaves_the_global_generator_alone() -> None:
    state = torch.random.get_rng_state()
    feature_count(Experiment(), (1, 28, 28))
    build_classifier(experiment(), (1, 28, 28), 10)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_taps_reach_the_logits() -> None:
    """A tap off the path of the classification could not shape it."""
    for taps in ("entry", "middle", "output"):
        logits, maps = build_classifier(experiment(taps), (1, 28, 28), 3).backbone(torch.rand(4, 1, 28, 28))
        gradients = torch.autograd.grad(logits.square().sum(), maps)
        assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_pooled_features_are_standardised_maxima_and_means() -> None:
    maps = (torch.rand(6, 2, 3, 3), torch.rand(6, 1, 2, 2))
    features = Features("pooled", 6)(maps)
    raw = torch.cat([maps[0].amax((2, 3)), maps[0].mean((2, 3)), maps[1].amax((2, 3)), maps[1].mean((2, 3))], 1)
    expected = (raw - raw.mean(0)) / (raw.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(features, expected)


def test_features_have_no_weights_and_stay_in_range() -> None:
    layer = Features("maps", 8)
    assert list(layer.parameters()) == []
    maps = torch.zeros(200, 1, 2, 2)
    maps[0] = 1e6  # one row in 200 lies 14 standard deviations off
    features = layer((maps, maps))
    assert features.abs().max() == FEATURE_LIMIT
    assert layer.eval()((maps * 1e3, -maps)).abs().max() == FEATURE_LIMIT


def test_scoring_takes_running_statistics() -> None:
    """The features of one image do not depend on which others are scored with it."""
    classifier = build_classifier(experiment(), (1, 28, 28), 3)
    images = torch.rand(8, 1, 28, 28)
    classifier(images)
    classifier.eval()
    torch.testing.assert_close(classifier(images)[1][:2], classifier(images[:2])[1])


def test_same_seed_same_weights() -> None:
    first, again = (build_classifier(experiment(), (1, 28, 28), 3).weights() for _ in range(2))
    other = build_classifier(experiment().model_copy(update={"seed": 2}), (1, 28, 28), 3).weights()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["backbone.stem.0.weight"], other["backbone.stem.0.weight"])
