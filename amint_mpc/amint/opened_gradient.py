"""What the developer gets of the head's gradient when the auditor tells less of it, and a bound on what that can say.

The gradient of the sum over rows, dX [n, F], is opened with noise (`security.gradient_noise`) and rounded to its top
bits (`security.gradient_bits`). The head's own update uses neither: it is exact, whatever the developer is told.

The bound. Gaussian noise of standard deviation sigma makes an opening rho-zCDP, rho = Delta^2 / (2 sigma^2), and the
rhos of steps add up, also where a step depends on what was opened before (Bun and Steinke 2016, arXiv 1605.02065,
proposition 1.6 and lemma 2.3; rounding comes after it and costs nothing). The secret is the head, and Delta is the l2
distance of two heads' dX on one batch: whoever holds the openings can hardly tell two heads apart whose gradients
differ by at most Delta in every step, if rho is well below 1 (with epsilon and delta, proposition 1.3:
epsilon = rho + 2 sqrt(rho log(1/delta))). For heads that differ by as much as a whole gradient is long, rho is
enormous: nothing is promised about those. And a formal claim would need discrete noise, while this is drawn in floating
point (Mironov 2012).
"""

from __future__ import annotations

import torch
from torch import Tensor

from amint_mpc.limits import GRADIENT_WHOLE_BITS

HALF = 2.0 ** (GRADIENT_WHOLE_BITS - 1)
"""Openings are read modulo twice this."""


class Opening:
    """Noise and rounding as the secure head's: random, right on average, read modulo 2 * HALF.

    Args:
        bits: how many are opened; bits - GRADIENT_WHOLE_BITS of them after the point.
        noise: standard deviation of an entry.
        seed: of the twin's own draws. The secure head's noise is the auditor's secret and another one in each run.
    """

    def __init__(self, bits: int, noise: float, seed: int) -> None:
        self._unit, self._deviation = 2.0 ** (GRADIENT_WHOLE_BITS - bits), noise
        self._random = torch.Generator().manual_seed(seed)

    def __call__(self, gradient: Tensor) -> Tensor:
        """Args: gradient: of the sum over rows, float64 [n, F]. Returns: what is opened of it, in the same shape."""
        noise, first, second = (torch.empty_like(gradient) for _ in range(3))
        moved = gradient + self._deviation * noise.normal_(generator=self._random)
        # three parts are rounded down, two of them uniform by themselves; see mpc/protocols/linear.py
        dither = first.uniform_(generator=self._random) + second.uniform_(generator=self._random)
        parts = (moved / self._unit - dither).floor() + 1.5
        return torch.remainder(parts * self._unit + HALF, 2 * HALF) - HALF


def opening_of(bits: int, noise: float, seed: int) -> Opening | None:
    """None where nothing is taken away: the twin then tells a gradient exactly, and the secure head to 2^-26."""
    return None if bits == 32 and noise == 0 else Opening(bits, noise, seed)


def zero_concentrated(distance: float, deviation: float, steps: int = 1) -> float:
    """rho of so many openings; see the module.

    Args:
        distance: Delta, the largest l2 distance of two heads' gradients of a sum over rows, in each step.
        deviation: of the noise. With none, rho is infinite (0 for a Delta of 0).
    """
    if distance == 0:
        return 0.0
    return float("inf") if deviation == 0 else steps * distance**2 / (2 * deviation**2)
