"""The convolutional head in plaintext: what it computes, how it starts, and its file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from amint_mpc.config import Experiment
from amint_mpc.errors import DataError
from amint_mpc.models import ConvWeights, build_classifier, init_conv_head, load_conv_head, seeded_normal
from amint_mpc.models.classifier import feature_count, tap_shapes
from amint_mpc.models.conv_head_weights import TapShapes, conv_shapes

TAPS: TapShapes = ((2, 5, 4), (3, 2, 2))


def weights(filters: int = 2, hidden: int = 4) -> ConvWeights:
    return init_conv_head(TAPS, filters, hidden, seeded_normal(0))


class Net(nn.Module):
    """The same layers as torch has them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(3, 2, 3, padding=1)
        self.hidden, self.output = nn.Linear(4, 4), nn.Linear(4, 1)

    def forward(self, one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
        pooled = [nn.functional.relu(layer(x)).mean((2, 3)) for layer, x in ((self.first, one), (self.second, two))]
        return self.output(self.hidden(torch.cat(pooled, 1)).relu()).squeeze(1)


def test_it_is_the_network_that_its_names_say() -> None:
    net, mine = Net().double(), weights()
    net.load_state_dict(mine.values)
    one, two = torch.randn(6, 2, 5, 4).double(), torch.randn(6, 3, 2, 2).double()
    features = torch.cat([one.flatten(1), two.flatten(1)], 1)
    assert mine.features == features.shape[1] == 52
    torch.testing.assert_close(mine.logits(features), net(one, two))


def test_it_starts_near_zero() -> None:
    logits = init_conv_head(TAPS, 8, 64, seeded_normal(1)).logits(torch.randn(200, 52).clamp(-8, 8))
    assert logits.abs().max() < 0.5
    assert logits.std() > 0


def test_it_survives_its_file_and_names_its_tensors(tmp_path: Path) -> None:
    before = weights()
    before.save(tmp_path / "head.safetensors")
    after = load_conv_head(tmp_path / "head.safetensors")
    assert after.taps == TAPS
    assert load_file(tmp_path / "head.safetensors").keys() == {*conv_shapes(TAPS, 2, 4), "taps"}
    assert all(torch.equal(before.values[name], after.values[name]) for name in conv_shapes(TAPS, 2, 4))


@pytest.mark.parametrize("damage", ["no taps", "shape", "type", "more", "less", "taps", "negative"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    stored = weights().tensors()
    if damage in ("no taps", "less"):
        del stored["taps" if damage == "no taps" else "hidden.bias"]
    elif damage in ("taps", "negative"):
        stored["taps"] = stored["taps"] + 1 if damage == "taps" else -stored["taps"]
    elif damage == "more":
        stored["other.bias"] = torch.zeros(2).double()
    elif damage == "shape":
        stored["hidden.weight"] = torch.zeros(4, 3).double()
    else:
        stored["hidden.weight"] = stored["hidden.weight"].float()
    save_file(stored, tmp_path / "head.safetensors")
    with pytest.raises(DataError):
        load_conv_head(tmp_path / "head.safetensors")


@pytest.mark.parametrize("content", [None, b"", b"no tensors"])
def test_what_is_no_file_of_tensors_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "head.safetensors").write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        load_conv_head(tmp_path / "head.safetensors")


def test_values_never_show() -> None:
    assert repr(weights()) == "ConvWeights(taps=((2, 5, 4), (3, 2, 2)), filters=2)"


@pytest.mark.parametrize("taps", ["entry", "middle", "output"])
def test_features_are_both_maps_in_the_order_that_the_head_takes(taps: str) -> None:
    experiment = Experiment.model_validate({"model": {"width": 2, "taps": taps}, "head": {"input": "conv"}})
    shapes = tap_shapes(experiment, (1, 28, 28))
    classifier = build_classifier(experiment, (1, 28, 28), 3)
    maps = classifier.backbone.tapped(torch.rand(4, 1, 28, 28))
    assert shapes == tuple(tuple(tapped.shape[1:]) for tapped in maps)
    assert feature_count(experiment, (1, 28, 28)) == sum(torch.Size(shape).numel() for shape in shapes)
    flat = torch.cat([tapped.flatten(1) for tapped in maps], 1)
    standard = nn.functional.batch_norm(flat, None, None, training=True)
    torch.testing.assert_close(classifier.features(maps), standard.clamp(-8, 8))
