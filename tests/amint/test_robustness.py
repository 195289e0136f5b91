"""What may happen to images and classifier before an audit, and the figures of it."""

from __future__ import annotations

import pytest
import torch

from amint_mpc.amint import PlaintextHead, Trainer
from amint_mpc.amint.image_changes import IMAGE_CHANGES, ImageChange, flip, jpeg, noise, shift
from amint_mpc.amint.metrics import best_threshold, roc_auc
from amint_mpc.amint.model_changes import MODEL_CHANGES, bfloat16_weights, fine_tuned, int8_weights
from amint_mpc.amint.outputs import outputs
from amint_mpc.amint.robustness import membership_scores, robustness
from amint_mpc.models import build_classifier, feature_count, init_head, seeded_normal
from tests.amint.small_pictures import pictures, settings
from tests.device import DEVICE


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("change", IMAGE_CHANGES, ids=lambda change: change.name)
def test_a_changed_image_is_an_image(change: ImageChange, channels: int) -> None:
    images = torch.randint(256, (4, channels, 28, 28), dtype=torch.uint8)
    kept = images.clone()
    changed = change.apply(images)
    assert changed.shape == images.shape
    assert changed.dtype == torch.uint8
    assert torch.equal(images, kept)
    assert not torch.equal(changed, images)
    assert torch.equal(changed, change.apply(images))


def test_shift_and_flip_by_hand() -> None:
    image = torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]], dtype=torch.uint8).view(1, 1, 3, 3)
    assert shift(image, 1).view(3, 3).tolist() == [[1, 1, 2], [1, 1, 2], [4, 4, 5]]
    assert flip(image).view(3, 3).tolist() == [[3, 2, 1], [6, 5, 4], [9, 8, 7]]


def test_jpeg_is_coarser_at_lower_quality_and_noise_has_its_deviation() -> None:
    ramp = torch.arange(28).repeat(28, 1).mul(9).to(torch.uint8).view(1, 1, 28, 28)
    errors = [float((jpeg(ramp, quality).int() - ramp.int()).abs().float().mean()) for quality in (95, 50, 10)]
    assert errors[0] < errors[1] < errors[2]
    grey = torch.full((8, 1, 28, 28), 128, dtype=torch.uint8)
    assert float((noise(grey, 0.1).float() - 128).std()) == pytest.approx(25.5, rel=0.05)


def test_weights_are_rounded_as_said_and_the_classifier_stays() -> None:
    classifier = build_classifier(settings(), (1, 28, 28), 3)
    before = classifier.weights()
    for changed, bits in ((int8_weights(classifier), 127), (bfloat16_weights(classifier), None)):
        after = changed.weights()
        assert all(torch.equal(value, before[name]) for name, value in classifier.weights().items())
        for name, weight in before.items():
            if not name.endswith("weight") or weight.dim() < 2:
                assert torch.equal(after[name], weight)
                continue
            error = (after[name] - weight).abs()
            assert error.max() > 0
            if bits:
                largest = weight.abs().flatten(1).amax(1)
                assert (error.flatten(1).amax(1) <= largest / bits / 2 * 1.001).all()
                levels = (after[name].flatten(1) / (largest[:, None] / bits)).round(decimals=3)
                assert torch.equal(levels, levels.round())
            else:
                assert (error <= weight.abs() / 256).all()


def test_fine_tuning_takes_fresh_images_and_leaves_the_original() -> None:
    experiment = settings()
    images = pictures(experiment)
    classifier = build_classifier(experiment, (1, 28, 28), 3)
    before = classifier.weights()
    tuned = fine_tuned(experiment, classifier, images).weights()
    assert all(torch.equal(value, before[name]) for name, value in classifier.weights().items())
    assert any(not torch.equal(tuned[name], before[name]) for name in before)
    assert all(torch.equal(tuned[name], before[name]) for name in before if name.startswith("features."))


def test_figures_by_hand() -> None:
    experiment = settings()
    images = pictures(experiment)
    count = feature_count(experiment, (1, 28, 28))
    head = PlaintextHead(init_head(count, 8, seeded_normal(1)), 0.1)
    trainer = Trainer(experiment, images, head, DEVICE)
    list(trainer.run())
    classifier, weights = trainer.backbone, head.weights
    for name in ("members_report", "external"):
        torch.testing.assert_close(
            membership_scores(classifier, weights, images.images(name)), trainer.scores[name], atol=1e-6, rtol=1e-6
        )
    found = {change.name: change.figures for change in robustness(experiment, classifier, weights, images)}
    assert list(found) == ["none", *(change.name for change in IMAGE_CHANGES), *MODEL_CHANGES]

    scores = {name: membership_scores(classifier, weights, images.images(name)) for name in trainer.scores}
    threshold = best_threshold(scores["members_calibration"], scores["unseen_calibration"])
    members, unseen = scores["members_report"], scores["unseen_report"]
    assert found["none"]["members_found"].value == float((members >= threshold).double().mean())
    assert found["none"]["false_positives"].value == float((unseen >= threshold).double().mean())
    changed = membership_scores(classifier, weights, flip(images.images("members_report")))
    alike = membership_scores(classifier, weights, flip(images.images("unseen_report")))
    flipped = found["flip"]
    assert flipped["members_found"].value == float((changed >= threshold).double().mean())
    assert flipped["false_positives"] == found["none"]["false_positives"]
    assert flipped["mint_auc"].value == pytest.approx(roc_auc(changed.numpy(), unseen.numpy()))
    assert flipped["mint_auc_changed"].value == pytest.approx(roc_auc(changed.numpy(), alike.numpy()))
    assert flipped["false_positives_changed"].value == float((alike >= threshold).double().mean())
    other = int8_weights(classifier)
    quantised = [membership_scores(other, weights, images.images(name)) for name in ("members_report", "unseen_report")]
    assert found["int8"]["mint_auc"].value == pytest.approx(roc_auc(*(each.numpy() for each in quantised)))


def test_outputs_leave_the_classifier_as_it_was() -> None:
    classifier = build_classifier(settings(), (1, 28, 28), 3).train()
    classifier.features.eval()
    before = classifier.weights()
    logits, features = outputs(classifier, torch.randint(256, (300, 1, 28, 28), dtype=torch.uint8))
    assert (logits.shape, logits.dtype) == ((300, 3), torch.float64)
    assert (features.shape, features.dtype) == ((300, classifier.features.count), torch.float32)
    assert classifier.training
    assert not classifier.features.training
    assert classifier.backbone.training
    assert all(torch.equal(value, before[name]) for name, value in classifier.weights().items())
