"""The head's weights: their start, their function, their file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from amint_mpc.errors import DataError
from amint_mpc.models import HeadWeights, init_head, load_head, seeded_normal


def make(seed: int = 0) -> HeadWeights:
    return init_head(5, 3, seeded_normal(seed))


def test_logits_follow_the_formula() -> None:
    w = HeadWeights(
        torch.tensor([[1.0, -1.0], [0.5, 2.0]]).double(),
        torch.tensor([0.5, -1.0]).double(),
        torch.tensor([2.0, 3.0]).double(),
        torch.tensor(-0.25).double(),
    )
    # row 1: hidden (2.5, 2) -> 5 + 6 - .25; row 2: hidden (-0.5, 0) -> -.25
    assert w.logits(torch.tensor([[1.0, 2.0], [-1.0, 0.0]])).tolist() == [10.75, -0.25]


def test_first_logits_are_close_to_zero() -> None:
    """The joint objective divides by L_mint = 2 ln 2, its value when all logits are 0."""
    weights = init_head(192, 64, seeded_normal(1))
    assert weights.logits(torch.randn(1000, 192, generator=torch.Generator().manual_seed(2))).abs().mean() < 0.3


def test_start_depends_on_the_generator_alone() -> None:
    assert torch.equal(make(3).w1, make(3).w1)
    assert not torch.equal(make(3).w1, make(4).w1)


def test_file_returns_the_same_weights(tmp_path: Path) -> None:
    make().save(tmp_path / "head.safetensors")
    loaded = load_head(tmp_path / "head.safetensors")
    for name, value in make().tensors().items():
        assert torch.equal(loaded.tensors()[name], value)


def test_what_is_no_head_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    with pytest.raises(DataError, match="cannot be read"):
        load_head(path)
    path.write_bytes(b"\x80pickle")
    with pytest.raises(DataError, match="cannot be read"):
        load_head(path)
    save_file({"w1": torch.zeros(2, 2)}, path)
    with pytest.raises(DataError, match="not a membership head"):
        load_head(path)
    save_file(make().tensors() | {"b1": torch.zeros(4, dtype=torch.float64)}, path)
    with pytest.raises(DataError, match="do not fit together"):
        load_head(path)
    save_file({name: value.float() for name, value in make().tensors().items()}, path)
    with pytest.raises(DataError, match="not float64"):
        load_head(path)


def test_values_are_not_shown() -> None:
    assert repr(make()) == "HeadWeights(features=5, hidden=3)"
