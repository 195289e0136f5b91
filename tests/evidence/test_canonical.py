"""Records and images have one digest, wherever they are written down."""

from __future__ import annotations

import pytest
import torch

from amint_mpc.evidence.canonical import encode, figure, pixels_digest, tensors_digest


def test_one_form() -> None:
    assert encode({"b": [1, None, True], "a": "\u00e9"}) == '{"a":"\u00e9","b":[1,null,true]}'.encode()


@pytest.mark.parametrize("value", [1.5, {"a": 1.0}, [b"raw"], {1: 2}, {"a": object()}])
def test_what_has_no_one_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        encode(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e-300, -0.0, 97.0])
def test_figures_come_back(value: float) -> None:
    assert float(figure(value)) == value


def test_tensors_differ_by_name_type_shape_and_value() -> None:
    one = torch.arange(6, dtype=torch.int32)
    same = [{"a": one}, {"a": one.clone()}]
    other = [
        {"b": one},
        {"a": one.view(2, 3)},
        {"a": one.to(torch.int64)},
        {"a": one.view(torch.float32)},
        {"a": one + 1},
        {"a": one, "b": one},
        {},
    ]
    assert len({tensors_digest(tensors) for tensors in same}) == 1
    assert len({tensors_digest(tensors) for tensors in [*other, same[0]]}) == len(other) + 1


def test_layout_in_memory_does_not_matter() -> None:
    image = torch.arange(24, dtype=torch.uint8).view(2, 3, 4)
    turned = image.transpose(1, 2).contiguous().transpose(1, 2)
    assert pixels_digest(image) == pixels_digest(turned) != pixels_digest(image.transpose(1, 2))
    assert tensors_digest({"a": image}) == tensors_digest({"a": turned})


def test_one_pixel_changes_the_digest() -> None:
    image = torch.zeros(1, 4, 4, dtype=torch.uint8)
    changed = image.clone()
    changed[0, 3, 3] = 1
    assert pixels_digest(image) != pixels_digest(changed)
    with pytest.raises(TypeError):
        pixels_digest(image.float())
