"""Functions of CrypTen that a session replaces by cheaper ones with the same result.

_ltz                    a sign from one carry (comparison.py) instead of the sum of the shares in binary
AutogradReLU            products with a secret bit instead of with a number that happens to be one
AutogradConv2D.backward the gradient with respect to a kernel as one convolution over batch and places; CrypTen's has
                        one for each image and channel, whose sums are truncated before they are added up
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from amint_mpc.mpc.crypten import comparison
from amint_mpc.mpc.crypten_compat import crypten

_gradients = importlib.import_module("crypten.gradients")
Current = Callable[[], Any]


def install(current: Current) -> None:
    """Put the replacements in place, once a process. Args: current: the session's binding in this thread, or None."""
    _sign(current)
    _relu(current)
    _convolution(current)


def _sign(current: Current) -> None:
    kind = crypten.mpc.MPCTensor
    own = kind._ltz

    def _ltz(self: Any) -> Any:
        if (binding := current()) is None:
            return own(self)
        bits = comparison.negative(self.share, binding.provider, binding.communicator).long()
        found = kind.from_shares(bits, precision=0, ptype=crypten.mpc.binary)
        return found._to_ptype(crypten.mpc.arithmetic, precision=0, bits=1)

    kind._ltz = _ltz


def _relu(current: Current) -> None:
    kind = _gradients.AutogradReLU
    own_forward, own_backward = kind.forward, kind.backward

    def chosen(bits: Any, x: Any, binding: Any) -> Any:
        result = x.clone()
        result.share = comparison.selected(bits, x.share, binding.provider, binding.communicator)
        return result

    def forward(ctx: Any, x: Any) -> Any:
        if (binding := current()) is None:
            return own_forward(ctx, x)
        bits = comparison.negative(-x.share, binding.provider, binding.communicator)  # 0 is not above 0
        ctx.save_for_backward(bits)
        return chosen(bits, x, binding)

    def backward(ctx: Any, gradient: Any) -> Any:
        if (binding := current()) is None:
            return own_backward(ctx, gradient)
        (bits,) = ctx.saved_tensors
        return chosen(bits, gradient, binding)

    kind.forward, kind.backward = staticmethod(forward), staticmethod(backward)


def _convolution(current: Current) -> None:
    kind = _gradients.AutogradConv2D
    own = kind.backward

    def backward(ctx: Any, gradient: Any) -> Any:
        x, kernel, padding, stride, dilation, groups = ctx.saved_tensors
        if current() is None or groups != 1:
            return own(ctx, gradient)
        sizes = tuple(kernel.size()[2:])
        more = _gradients._grad_input_padding(gradient, x.size(), stride, padding, sizes, dilation=dilation)
        by_x = gradient.conv_transpose2d(
            kernel, stride=stride, padding=padding, output_padding=more, groups=1, dilation=dilation
        )
        # where the kernel stepped the gradient is spread, and the other way round
        by_kernel = x.transpose(0, 1).conv2d(
            gradient.transpose(0, 1), stride=dilation, padding=padding, dilation=stride, groups=1
        )
        return by_x, by_kernel.transpose(0, 1).narrow(2, 0, sizes[0]).narrow(3, 0, sizes[1])

    kind.backward = staticmethod(backward)
