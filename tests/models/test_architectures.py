"""Each backbone against what its source promises: sizes, taps, weights, and that it learns from both gradients."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
import torchvision

from amint_mpc.config import Experiment, Model
from amint_mpc.errors import UsageError
from amint_mpc.models import BACKBONES, TAPS, Backbone, build_classifier, check_backbone, feature_count
from amint_mpc.models.registry import build_backbone
from amint_mpc.roles.heads import check_experiment

SHAPES = ((1, 28, 28), (3, 32, 32), (3, 64, 64))
MAPS = {  # (channels, by how much smaller than the image) of the six tapped maps
    ("densenet121", "full"): ((64, 1), (128, 2), (256, 4), (512, 8), (768, 8), (1024, 8)),
    ("densenet121", "small"): ((16, 2), (16, 4), (20, 8), (34, 16), (50, 16), (66, 16)),
    ("mobilenet", "full"): ((32, 1), (64, 1), (256, 4), (512, 8), (1024, 16), (1024, 16)),
    ("mobilenet", "small"): ((8, 2), (16, 2), (64, 4), (128, 8), (256, 16), (256, 16)),
    ("resnet-mini", "small"): ((16, 2), (16, 2), (32, 4), (64, 8), (128, 16), (128, 16)),
    ("resnet101", "full"): ((64, 1), (256, 1), (512, 2), (1024, 4), (2048, 8), (2048, 8)),
    ("resnet101", "small"): ((8, 2), (32, 2), (64, 4), (128, 8), (256, 16), (256, 16)),
    ("resnet50", "full"): ((64, 1), (256, 1), (512, 2), (1024, 4), (2048, 8), (2048, 8)),
    ("resnet50", "small"): ((8, 2), (32, 2), (64, 4), (128, 8), (256, 16), (256, 16)),
    ("vit", "full"): ((64, 4),) * 6,
    ("vit", "small"): ((32, 4),) * 6,
    ("xception", "full"): ((64, 1), (728, 8), (728, 8), (728, 8), (1024, 16), (2048, 16)),
    ("xception", "small"): ((8, 2), (91, 8), (91, 8), (91, 8), (128, 16), (256, 16)),
}
NAMES = tuple(sorted(BACKBONES))


def small(name: str, taps: str = "middle", **more: object) -> Experiment:
    return Experiment.model_validate({"model": {"backbone": name, "size": "small", "taps": taps}, **more})


def weights(backbone: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in backbone.parameters())


SIZED = [(*key, shape) for key in MAPS for shape in SHAPES if key[1] == "small" or shape == SHAPES[0]]


@pytest.mark.parametrize(("name", "size", "shape"), SIZED)
def test_the_taps_have_the_promised_maps(name: str, size: str, shape: tuple[int, ...]) -> None:
    """On torch's meta device: shapes without numbers."""
    for number, taps in enumerate(TAPS):
        with torch.device("meta"):
            backbone = build_backbone(Model(backbone=name, size=size, taps=taps), shape, 7)
            logits, maps = backbone(torch.zeros(2, *shape))
        wanted = [(2, c, *(-(-side // by) for side in shape[1:])) for c, by in MAPS[name, size][2 * number :][:2]]
        assert [tuple(tapped.shape) for tapped in maps] == wanted
        assert logits.shape == (2, 7)


@pytest.mark.parametrize(("name", "taps"), list(itertools.product(NAMES, TAPS)))
def test_both_kinds_of_features_of_every_tap(name: str, taps: str) -> None:
    shape = SHAPES[0]
    for kind in ("pooled", "maps"):
        settings = small(name, taps, head={"input": kind})
        check_experiment(settings)
        first, second = MAPS[name, "small"][2 * TAPS.index(taps) :][:2]
        wanted = [2 * c if kind == "pooled" else c * (-(-shape[1] // by)) ** 2 for c, by in (first, second)]
        assert feature_count(settings, shape) == sum(wanted)
        classifier = build_classifier(settings, shape, 3)
        features = classifier(torch.rand(6, *shape))[1]
        assert features.shape == (6, sum(wanted))
        # standardised; a column without any spread, as one of a dead channel, is 0
        spread = features.detach().square().mean(0)
        assert features.detach().mean(0).abs().max() < 1e-3
        assert spread.max() < 1.01
        assert (spread > 0.9).float().mean() > 0.5


@pytest.mark.parametrize(("name", "taps"), list(itertools.product(NAMES, TAPS)))
def test_gradients_through_the_cut_reach_the_first_layers(name: str, taps: str) -> None:
    """Those of the task and of the head's features, through the cut of the training loop: the same as in one graph."""
    classifier = build_classifier(small(name, taps), (1, 28, 28), 3).double()
    images, labels = torch.rand(6, 1, 28, 28).double(), torch.tensor([0, 1, 2, 0, 1, 2])
    seed = torch.rand(6, classifier.features.count).double()
    parameters = dict(classifier.named_parameters())

    logits, features = classifier(images)
    both = torch.autograd.grad((F.cross_entropy(logits, labels), features), parameters.values(), (None, seed))
    logits, features = classifier(images)
    of_head = torch.autograd.grad(features, parameters.values(), seed, allow_unused=True)
    first = next(iter(zip(parameters.items(), of_head, strict=True)))
    assert "stem" in first[0][0] or "stages.0" in first[0][0]
    assert all(g is None or p.dim() < 2 or g.abs().max() > 0 for p, g in zip(parameters.values(), of_head, strict=True))
    assert first[1] is not None
    assert any(gradient is None for gradient in of_head), "the classifying layer lies behind every tap"

    maps = classifier.backbone.tapped(images)
    features, second = classifier.features(maps), maps[1]
    cut = second.detach().requires_grad_()
    before = cut.detach().clone()
    cut_logits = classifier.backbone.finish(cut)
    assert torch.equal(cut, before)
    torch.testing.assert_close(cut_logits, logits)
    F.cross_entropy(cut_logits, labels).backward()  # type: ignore[no-untyped-call]
    torch.autograd.backward([second, features], [cut.grad, seed])
    for (key, parameter), wanted in zip(parameters.items(), both, strict=True):
        torch.testing.assert_close(parameter.grad, wanted, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize("name", NAMES)
def test_a_short_training_lowers_the_task_loss(name: str) -> None:
    torch.manual_seed(0)
    classifier = build_classifier(small(name), (1, 28, 28), 2)
    images, labels = torch.rand(24, 1, 28, 28), torch.arange(24) % 2
    images[labels == 1] *= 0.3
    optimizer = torch.optim.Adam(classifier.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        loss = F.cross_entropy(classifier.logits(images), labels)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert losses[-1] < 0.6 * losses[0]


def test_weights_are_as_many_as_published() -> None:
    """Full size, 3 channels, 1000 classes."""
    published = {
        # torchvision's own, whose stem is 7 x 7 and not 3 x 3
        "resnet50": weights_of("resnet50") - 64 * 3 * (7 * 7 - 3 * 3),
        "resnet101": weights_of("resnet101") - 64 * 3 * (7 * 7 - 3 * 3),
        "densenet121": weights_of("densenet121") - 64 * 3 * (7 * 7 - 3 * 3),
        "xception": 22_855_952,  # Chollet 2017, table 3
    }
    for name, wanted in published.items():
        assert weights(full(name, (3, 64, 64))) == wanted, name
    # Howard et al. 2017, table 8: 4.2 million; half of it with a width of .75 and .5 (table 6: 2.6 and 1.3)
    assert round(weights(full("mobilenet", (3, 64, 64))) / 1e6, 1) == 4.2
    assert round(weights(full("mobilenet", (3, 64, 64), width=24)) / 1e6, 1) == 2.6
    assert round(weights(full("mobilenet", (3, 64, 64), width=16)) / 1e6, 1) == 1.3
    # torchvision's transformer of these sizes has a class token and a position for it
    with torch.device("meta"):
        theirs = torchvision.models.VisionTransformer(32, 4, 12, 2, 64, 256, num_classes=1000)
    assert weights(full("vit", (3, 32, 32))) == weights(theirs) - 2 * 64


def full(name: str, shape: tuple[int, ...], width: int | None = None) -> Backbone:
    with torch.device("meta"):
        return build_backbone(Model(backbone=name, width=width), shape, 1000)


def weights_of(name: str) -> int:
    with torch.device("meta"):
        return weights(getattr(torchvision.models, name)())


@pytest.mark.parametrize(("name", "behind_stem"), [("resnet50", "layer1"), ("densenet121", "denseblock1")])
def test_behind_the_stem_it_computes_what_torchvision_does(name: str, behind_stem: str) -> None:
    """With the same weights, the same logits; on 32 pixels no transition meets an odd side."""
    torch.manual_seed(0)
    ours = build_backbone(Model(backbone=name), (3, 32, 32), 5).eval()
    theirs = getattr(torchvision.models, name)(num_classes=5).eval()
    stem = 6  # a convolution's tensor and the five of a batch norm
    assert behind_stem in list(theirs.state_dict())[stem]
    pairs = zip(list(ours.state_dict())[stem:], list(theirs.state_dict().values())[stem:], strict=True)
    ours.load_state_dict({**ours.state_dict(), **dict(pairs)})
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        maps = ours.stages[0](images)  # type: ignore[index, operator]
        if name == "resnet50":
            for layer in (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4):
                maps = layer(maps)
            wanted = theirs.fc(maps.mean((2, 3)))
        else:
            wanted = theirs.classifier(theirs.features[4:](maps).relu().mean((2, 3)))
        torch.testing.assert_close(ours(images)[0], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_images_that_do_not_fit_are_refused_before_anything_is_built(name: str) -> None:
    shape = (1, 14, 14)
    model = Model(backbone=name, size="small")
    if name == "resnet-mini":
        check_backbone(model, shape)
        return
    with pytest.raises(UsageError, match=f"^{name}: images of 14 x 14 pixels") as raised:
        check_backbone(model, shape)
    assert raised.value.hint in ("It takes 17 x 17 or more", "Both sides must be multiples of 4")
    check_backbone(model, (1, 28, 28))


@pytest.mark.parametrize("name", NAMES)
def test_every_size_and_tap_passes_the_check_of_an_experiment(name: str) -> None:
    for size, taps in itertools.product(("full", "small"), TAPS):
        settings = Experiment.model_validate({"model": {"backbone": name, "size": size, "taps": taps}})
        check_experiment(settings)
        for shape in SHAPES:
            check_backbone(settings.model, shape)


def test_a_transformer_needs_a_width_of_whole_heads() -> None:
    with pytest.raises(UsageError, match="a width of 48 cannot be cut into heads") as raised:
        check_backbone(Model(backbone="vit", width=48), (1, 28, 28))
    assert raised.value.hint == "Take a multiple of 32"
