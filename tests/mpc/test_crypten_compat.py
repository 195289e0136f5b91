"""CrypTen imports on this torch, and its fixed-point decoding is right."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from amint_mpc.mpc.crypten_compat import crypten, decode


def crypten_own_decode(tensor: Tensor, scale: int) -> Tensor:
    """The formula of crypten/encoder.py (0.4.1), for contrast."""
    correction = (tensor < 0).long()
    dividend = tensor.div(scale - correction, rounding_mode="floor")
    remainder = tensor % scale
    remainder = remainder + (remainder == 0).long() * scale * correction
    return dividend.float() + remainder.float() / scale


def encoder(bits: int) -> object:
    from crypten.encoder import FixedPointEncoder

    return FixedPointEncoder(precision_bits=bits)


def test_imports_with_warnings_as_errors_and_leaves_no_stub() -> None:
    script = (
        "import sys; from amint_mpc.mpc.crypten_compat import crypten; crypten.nn.Linear;"
        "stub = sys.modules.get('torch.onnx._internal.registration');"
        "assert stub is None or getattr(stub, '__file__', None)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("bits", [1, 8, 16, 20, 32])
def test_decode_is_right_below_zero_and_above(bits: int) -> None:
    generator = torch.Generator().manual_seed(bits)
    values = torch.rand(100_000, generator=generator, dtype=torch.float64) * 120 - 60
    ring = (values * 2.0**bits).long()
    decoded = encoder(bits).decode(ring)  # type: ignore[attr-defined]
    expected = ring.double() / 2.0**bits
    assert decoded.dtype == torch.float32
    assert (decoded.double() - expected).abs().max() <= 60 * 2.0**-24  # float32 rounding


def test_crypten_own_decode_is_off_by_one() -> None:
    ring = torch.arange(-60 * 2**16, 0)
    expected = ring.double() / 2**16
    wrong = crypten_own_decode(ring, 2**16).double() - expected
    off = wrong < -0.5
    assert 1e-4 < off.double().mean() < 1e-3
    assert torch.allclose(wrong[off], torch.tensor(-1.0, dtype=torch.float64))
    assert torch.equal(encoder(16).decode(ring).double(), expected)  # type: ignore[attr-defined]


def test_decode_edge_cases() -> None:
    one = encoder(0)
    assert decode(one, None) is None
    assert torch.equal(decode(one, torch.tensor([-3, 0, 4])), torch.tensor([-3, 0, 4]))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="integers"):
        decode(one, torch.ones(2))
    assert crypten.encoder.FixedPointEncoder.decode is decode


def test_attributes_of_a_tensor_look_no_setting_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """In CrypTen's validation mode each attribute's wrapper would open the value; there is no wrapper any more."""
    from amint_mpc.mpc.dense.layers import shared

    tensor = shared(torch.tensor([1, 2, 3]), 0)

    class Forbidden:
        def __getattr__(self, name: str) -> object:
            raise AssertionError(f"CrypTen's setting {name} was read")

    monkeypatch.setattr(crypten.debug, "cfg", Forbidden())
    assert tensor.share.tolist() == [1, 2, 3]
