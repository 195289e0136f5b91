"""The scales leave room for what the numeric contract promises, and the tables that are written down are right."""

from __future__ import annotations

import re
from pathlib import Path

from amint_mpc import limits
from amint_mpc.mpc.protocols import sigmoid, sign
from amint_mpc.mpc.protocols.novograd import RATE_BITS
from amint_mpc.mpc.ring import fixed_point as fp
from amint_mpc.mpc.ring.products import SMALL_LIMIT

DOCS = Path(__file__).parents[3] / "docs" / "protocol.md"


def test_limits_are_those_of_the_scales() -> None:
    assert limits.FEATURE_LIMIT * 2**fp.X_BITS == SMALL_LIMIT
    assert 2**fp.X_BITS == limits.PARTS * 2**limits.TABLE_BITS
    assert fp.SIGN_LIMIT * 2**fp.Y_BITS == 2 ** (sign.LOW_BIT + 23)  # the top of the window that says the sign
    assert fp.DX_LIMIT == 2.0 ** (63 - fp.DX_BITS)
    assert limits.SCALED_ROWS_LIMIT == 2.0 ** (62 - fp.DY_BITS - RATE_BITS)
    assert fp.Z_LIMIT == 2.0 ** (63 - sigmoid.INPUT_BITS) - 16  # the sigmoid adds 16


def test_what_the_plaintext_head_lets_through_is_computed_exactly() -> None:
    """Three times as much may pass (`amint_mpc.mpc.dense.ranges`)."""
    assert 3 * limits.HIDDEN_LIMIT <= fp.SIGN_LIMIT
    assert 3 * limits.LOGIT_LIMIT <= fp.Z_LIMIT
    assert 3 * limits.W2_GRADIENT_LIMIT <= fp.DW2_LIMIT
    assert limits.GRADIENT_LIMIT <= fp.DX_LIMIT
    dropped = [fp.DY_BITS - fp.UPDATE_BITS, fp.DW2_BITS - fp.W2_BITS]
    assert min(dropped) >= 1
    assert max(dropped) + limits.MAX_SHIFT == 62  # all that a truncation can drop


def test_the_table_of_the_docstring_is_right() -> None:
    table = fp.__doc__ or ""
    scales = {name: int(bits) for name, bits in re.findall(r"\b([A-Z0-9]+_BITS) +(\d+)", table)}
    assert scales == {name: value for name, value in vars(fp).items() if name.endswith("_BITS")}
    named = {name: float(value) for name, value in re.findall(r"\b([A-Z0-9]+_LIMIT) = (\d+)", table)}
    assert named == {
        "FEATURE_LIMIT": limits.FEATURE_LIMIT,
        "SIGN_LIMIT": fp.SIGN_LIMIT,
        "Z_LIMIT": fp.Z_LIMIT,
        "DX_LIMIT": fp.DX_LIMIT,
        "DW2_LIMIT": fp.DW2_LIMIT,
    }


def test_the_table_of_the_documentation_is_right() -> None:
    """The first number of each cell; bits and limit."""
    expected: dict[str, tuple[float, float | None]] = {
        "features X": (fp.X_BITS, limits.FEATURE_LIMIT),
        "W1, b1": (fp.W1_BITS, None),
        "Y = X W1 + b1": (fp.Y_BITS, fp.SIGN_LIMIT),
        "w2": (fp.W2_BITS, None),
        "logits z": (fp.Z_BITS, fp.Z_LIMIT),
        "error g = sigmoid(z) - y": (fp.G_BITS, None),
        "dY = g s w2": (fp.DY_BITS, None),
        "dX = dY W1^T, before division by the rows": (fp.DX_BITS, fp.DX_LIMIT),
        "dw2 = sum over a block of rows of g relu(Y)": (fp.DW2_BITS, fp.DW2_LIMIT),
        "with novograd: s": (RATE_BITS, 2),  # 2^-20 to 1
        "s dY, before it is truncated": (fp.DY_BITS + RATE_BITS, limits.SCALED_ROWS_LIMIT),
    }
    section = DOCS.read_text().split("## The ring and its scales")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "|" in line][2:]
    found = {label: (first_number(bits), first_number(limit)) for label, bits, limit in rows}
    assert found == expected


def first_number(text: str) -> float | None:
    numbers = re.findall(r"\d+", text)
    return float(numbers[0]) if numbers else None
