"""A head on additive shares as the roles meet it, whichever protocols compute it.

`SecureHead` has protocols of its own (dense/head.py); `GenericHead` runs any `crypten.nn` module through CrypTen's
(crypten/generic_head.py). The developer, party 0, brings the features and learns the gradient with respect to them; the
auditor, party 1, brings the weights, learns logits and in the end the weights. How the weights move is settled when a
head is made, and anew with `train_on_shared`. Calls come one at a time, in the same order at both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.correlations.base import Plan
from amint_mpc.mpc.dense.step import Optimizer
from amint_mpc.mpc.protocols.linear import Combination
from amint_mpc.transport.channel import Channel


class SharedHead(Protocol):
    """One party's side."""

    party: int

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the shared parameters, in the order in which they travel."""

    @property
    def done(self) -> int:
        """Steps taken or passed over: the number of the next one."""

    def share_weights(self, weights: Mapping[str, Tensor] | None, masks: Mapping[str, Tensor] | None) -> None:
        """Share the first weights. Both are the auditor's, None at the developer; masks: uniform int64 of `shapes`."""

    def train_step(self, x: Tensor | None, targets: Tensor, open_gradient: bool = True) -> Tensor | None:
        """A step of gradient descent on the sum over rows of the binary cross-entropy.

        Args:
            x: [n, f] at the developer. targets: [n] of 0 and 1, public.
            open_gradient: whether the developer learns the gradient.

        Returns:
            at the developer the gradient of the sum by x, [n, f] float64; None at the auditor, or where none is opened.
        """

    def share_features(self, x: Tensor | None, rows: int) -> None:
        """Share rows that later steps are on (`train_on_shared`).

        Args:
            x: [rows, f] at the developer, multiples of 2^-TABLE_BITS within +-FEATURE_LIMIT (`amint_mpc.limits`); None
                at the auditor.
        """

    def train_on_shared(self, rows: Combination, targets: Tensor, optimizer: Optimizer) -> None:
        """A step as `train_step` on combinations of the shared rows, an eighth of each; the developer learns nothing.

        Args:
            rows: whole numbers that add up to 8 in each row. targets: [rows] of 0 and 1, public.
            optimizer: how the weights move from here on; another one than before begins anew.
        """

    def logits(self, x: Tensor | None, rows: int) -> Tensor | None:
        """Score [rows, f]; the logits, [rows] float64, go to the auditor alone."""

    def skip(self, plan: Plan) -> None:
        """Pass over one step; its masks are never used."""

    def snapshot(self) -> dict[str, Tensor]:
        """This party's shares of the parameters as they are now."""

    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        """Go back to shares that `snapshot` gave; both parties do, for the same step."""

    def open_weights(self) -> dict[str, Tensor] | None:
        """Open the weights, float64, to the auditor alone. None at the developer."""


def send_shares(
    channel: Channel,
    party: int,
    shapes: Mapping[str, tuple[int, ...]],
    encoded: Mapping[str, Tensor] | None,
    masks: Mapping[str, Tensor] | None,
) -> list[Tensor]:
    """The auditor keeps the masks as its shares and sends the developer the rest, point to point.

    Args:
        encoded: the values as ring elements, of `shapes`; encoded and masks: None at the developer.

    Returns:
        this party's shares, in the order of `shapes`; each alone is uniformly random.
    """
    if party == DEVELOPER:
        return channel.receive("head", 0, *((torch.int64, shape) for shape in shapes.values()))
    if encoded is None or masks is None:
        raise ValueError("the auditor brings the head and its masks")
    channel.send("head", 0, *(encoded[name] - masks[name] for name in shapes))
    return [masks[name] for name in shapes]


def open_to(
    channel: Channel, party: int, receiver: int, tag: str, number: int, shares: Mapping[str, Tensor]
) -> list[Tensor] | None:
    """Sums of shares, wrapping, to one party alone, point to point: nothing is sent back."""
    if party != receiver:
        channel.send(tag, number, *shares.values())
        return None
    theirs = channel.receive(tag, number, *((share.dtype, tuple(share.shape)) for share in shares.values()))
    return [mine + other for mine, other in zip(shares.values(), theirs, strict=True)]
