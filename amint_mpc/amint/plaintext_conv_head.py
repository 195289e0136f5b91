"""The convolutional head in this process, the twin of the secure one: torch's autograd, float64, gradient descent."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from amint_mpc.amint.plaintext_head import check_forward, refuse_beyond
from amint_mpc.amint.sealing import MixedRows
from amint_mpc.limits import HIDDEN_LIMIT, MAPS_GRADIENT_LIMIT, PARTS, representable_rate
from amint_mpc.models.conv_head_weights import ConvWeights


class PlaintextConvHead:
    """See `amint_mpc.amint.plaintext_head.MintHead`.

    Args:
        weights: first weights; not changed.
        learning_rate: one for all tensors; the rate used is the nearest one that the secure head applies exactly.
        fresh: draws the head of the sealed epochs.
    """

    def __init__(
        self, weights: ConvWeights, learning_rate: float, fresh: Callable[[], PlaintextConvHead] | None = None
    ) -> None:
        self.fresh = fresh
        self.weights = weights
        self.learning_rate = learning_rate
        self._sealed = torch.empty(0)
        self.loss = float("nan")  # L_mint of the last step

    def step(self, features: Tensor, members: int) -> Tensor:
        """See `MintHead.step`.

        Raises:
            ProtocolError: a value has left the range in which the secure head is exact.
        """
        with torch.enable_grad():
            x = features.to(torch.float64).requires_grad_()
            leaves = {name: value.clone().requires_grad_() for name, value in self.weights.values.items()}
            z = self._forward(ConvWeights(self.weights.taps, leaves), x)
            loss = F.softplus(-z[:members]).mean() + F.softplus(z[members:]).mean()
            gx, *gradients = torch.autograd.grad(loss, [x, *leaves.values()])
        self.loss = float(loss.detach())
        refuse_beyond("gradient row", gx * max(members, len(features) - members), MAPS_GRADIENT_LIMIT)
        a, k = representable_rate(self.learning_rate / members)
        rate = members * a / 2**k
        old = self.weights.values
        new = {name: old[name] - rate * gradient for name, gradient in zip(old, gradients, strict=True)}
        self.weights = ConvWeights(self.weights.taps, new)
        return gx.to(torch.float32)

    def seal(self, features: Tensor) -> None:
        """See `MintHead.seal`."""
        if self.fresh is None:
            raise ValueError("this head does not know how a fresh one is drawn")
        self.weights, self._sealed = self.fresh().weights, features

    def fit(self, rows: MixedRows) -> None:
        """See `MintHead.fit`."""
        self.learning_rate = rows.learning_rate
        self.step(rows(self._sealed) / PARTS, rows.batch)

    @torch.no_grad()
    def score(self, features: Tensor) -> Tensor:
        """See `MintHead.score`."""
        return self._forward(self.weights, features.to(torch.float64)).sigmoid()

    @staticmethod
    def _forward(weights: ConvWeights, x: Tensor) -> Tensor:
        maps, hidden = weights.pre_activations(x)
        z = weights.output(hidden)
        check_forward(x, hidden, z)
        for each in maps:
            refuse_beyond("convolution", each, HIDDEN_LIMIT)
        return z
