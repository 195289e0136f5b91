"""Operations as products of matrices, against torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from amint_mpc.mpc.correlations.generic import Option, Product
from amint_mpc.mpc.pair.matrix_forms import form_of


def case(operation: str, left: tuple[int, ...], right: tuple[int, ...], **options: Option) -> Any:
    return pytest.param(Product(operation, left, right, tuple(sorted(options.items()))), id=f"{operation} {left}")


CASES = [
    case("matmul", (3, 4), (4, 5)),
    case("matmul", (4,), (4, 5)),
    case("matmul", (3, 4), (4,)),
    case("matmul", (4,), (4,)),
    case("matmul", (2, 3, 4), (4, 5)),
    case("matmul", (2, 3, 4), (2, 4, 5)),
    case("matmul", (2, 4), (3, 4, 5)),
    case("conv2d", (2, 3, 7, 6), (4, 3, 3, 2), stride=(2, 1), padding=(1, 2), dilation=(2, 1)),
    case("conv2d", (2, 4, 7, 6), (6, 2, 3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2),
    case("conv2d", (1, 6, 5, 5), (12, 1, 5, 5), padding=(1, 1), groups=6),
    case("conv1d", (2, 4, 7), (6, 2, 3), stride=2, padding=1, dilation=2, groups=2),
    case("conv_transpose2d", (2, 4, 5, 6), (4, 3, 3, 2), stride=(2, 3), dilation=(2, 1), output_padding=(1, 0)),
    case("conv_transpose2d", (2, 4, 5, 6), (4, 3, 3, 2), padding=(3, 2), groups=2, stride=(2, 2)),
    case("conv_transpose1d", (2, 4, 5), (4, 3, 3), stride=(2,), padding=(1,), groups=2, output_padding=(1,)),
]


@pytest.mark.parametrize("triple", CASES)
def test_products_of_matrices_give_the_operation(triple: Product) -> None:
    generator = torch.Generator().manual_seed(4)
    a, b = (torch.randint(-(2**63), 2**63 - 1, shape, generator=generator) for shape in (triple.left, triple.right))
    form = form_of(triple)
    assert torch.equal(form.join([s @ r.T for s, r in form.pairs(a, b)]), triple.apply(a, b))


def test_padding_by_name_is_refused() -> None:
    with pytest.raises(ValueError, match="padding in numbers"):
        form_of(Product("conv2d", (1, 1, 3, 3), (1, 1, 3, 3), (("padding", "same"),)))
