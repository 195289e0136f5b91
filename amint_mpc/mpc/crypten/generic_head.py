"""A head that is any `crypten.nn` module, through CrypTen's own protocols on our link, with our dealer's masks.

Slower than `SecureHead` by far, which has protocols for its one shape; for heads that have none.

Steps of a training step
    1. The developer's features become shares; nothing is sent (session.py).
    2. The module computes the logits z; g = sigmoid(z) - y, the gradient of the sum over rows. No loss value.
    3. Backward from 2^GRADIENT_SHIFT g: gradients of single features are far below 1, and fixed point has
       `PRECISION` fractional bits.
    4. All gradients with respect to parameters, times the learning rate, are truncated together, in one opening.
    5. The auditor sends 32 bits of its share of the gradient with respect to the features, point to point; the
       developer has it.
Who learns what: the developer the gradient with respect to its features, to 2^-GRADIENT_BITS; the auditor logits, when
it is a scoring, and the weights at the end. Every other message is an opening under a fresh mask (Beaver 1991) or such
a share.
Exact to a few units of 2^-PRECISION, but for the sigmoid (about 1e-3); values before a truncation below 2^30, so
gradients with respect to parameters below 2^18; |gradient with respect to a feature| < 2^(31 - GRADIENT_BITS); |logit|
< 2^15.

CrypTen's state is a thread's: it is bound for each call anew, so calls may come from different threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from amint_mpc.errors import ProtocolError
from amint_mpc.limits import PARTS
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import MaskSource, Plan
from amint_mpc.mpc.crypten.session import CryptenSession, current, open_session
from amint_mpc.mpc.crypten.tracing import trace
from amint_mpc.mpc.crypten_compat import crypten
from amint_mpc.mpc.dense.descent import GradientDescent, plain_descent
from amint_mpc.mpc.dense.layers import shared
from amint_mpc.mpc.dense.step import Optimizer
from amint_mpc.mpc.protocols.linear import Combination
from amint_mpc.mpc.ring import fixed_point as fp
from amint_mpc.mpc.shared_head import open_to, send_shares
from amint_mpc.transport.channel import Channel

PRECISION = 16
"""Fractional bits of every shared value: CrypTen's default."""
GRADIENT_SHIFT = 12
REVEALED_SHIFT = 4
"""Low bits of the gradient with respect to the features that never leave the auditor."""
GRADIENT_BITS = PRECISION + GRADIENT_SHIFT - REVEALED_SHIFT


class Design:
    """What is public of a head: its module, without weights, and the shapes of its inputs.

    Args:
        module: makes the module; its `forward` takes a list of shared tensors and gives shared logits [n].
        pieces: shapes, without the rows, of that list; features of one image are all of them flattened, in order.
    """

    def __init__(self, module: Callable[[], Any], pieces: Sequence[tuple[int, ...]]) -> None:
        self.module = module
        self.pieces = [tuple(piece) for piece in pieces]
        self.sizes = [torch.Size(piece).numel() for piece in self.pieces]
        self._plans: dict[tuple[int, GradientDescent | None], Plan] = {}
        self.shapes = {name: tuple(value.shape) for name, value in module().named_parameters()}

    @property
    def inputs(self) -> int:
        """Features of an image."""
        return sum(self.sizes)

    def with_shares(self, shares: Sequence[Tensor]) -> Any:
        """The module with this party's shares of its parameters."""
        made = self.module()
        for part in made.modules():
            part.encrypted = True
        values = iter(shares)
        for _, part in made.named_modules():
            for name, _ in list(part.named_parameters(recurse=False)):
                part.set_parameter(name, shared(next(values), PRECISION))
        return made

    def train_plan(self, rows: int, rate: GradientDescent) -> Plan:
        """What one training step needs from the dealer, by a dry run on zeros, done once."""
        x, targets = torch.zeros(rows, self.inputs), torch.zeros(rows)
        return self._once((rows, rate), lambda: _train(self, self._zeros(), x, targets, rate))

    def score_plan(self, rows: int) -> Plan:
        """What scoring so many rows needs from the dealer."""
        x = torch.zeros(rows, self.inputs)
        return self._once((rows, None), lambda: _score(self, self._zeros(), x))

    def _once(self, key: tuple[int, GradientDescent | None], step: Callable[[], Any]) -> Plan:
        if key not in self._plans:
            self._plans[key] = trace(step)
        return self._plans[key]

    def _zeros(self) -> Any:
        return self.with_shares([torch.zeros(shape, dtype=torch.int64) for shape in self.shapes.values()])


class GenericHead:
    """The head at one party; see `SharedHead`.

    Args:
        channel: the link to the other party. party: DEVELOPER or AUDITOR.
        supply: this party's masks, step by step.
        rate: of plain gradient descent, the only optimizer here.
    """

    def __init__(self, channel: Channel, party: int, supply: MaskSource, design: Design, rate: GradientDescent) -> None:
        self.party, self.design, self.rate = party, design, rate
        self._channel, self._supply = channel, supply
        self._session: CryptenSession | None = None
        self._module: Any = None
        self._shared_rows: Tensor | None = None

    def __repr__(self) -> str:
        return f"GenericHead(shapes={self.shapes}, party={self.party})"

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return self.design.shapes

    @property
    def done(self) -> int:
        return self._ready().taken

    def share_weights(self, weights: Mapping[str, Tensor] | None, masks: Mapping[str, Tensor] | None) -> None:
        """See `SharedHead.share_weights`; the first time it opens the session of both parties, too."""
        self._session = self._session or open_session(self._channel, self.party, self._supply)
        encoded = None if weights is None else {name: fp.encode(weights[name], PRECISION) for name in self.shapes}
        self._module = self.design.with_shares(send_shares(self._channel, self.party, self.shapes, encoded, masks))

    def train_step(self, x: Tensor | None, targets: Tensor, open_gradient: bool = True) -> Tensor | None:
        """See `SharedHead.train_step`."""
        rows = len(targets)
        features = self._features(x, rows)
        number = self.done
        with self._ready().step(self.design.train_plan(rows, self.rate)):
            dx = _train(self.design, self._module, features, targets, self.rate)
        if not open_gradient:
            return None
        top = {"dx": (dx >> REVEALED_SHIFT).to(torch.int32)}
        opened = open_to(self._channel, self.party, DEVELOPER, "gradient", number, top)
        return None if opened is None else fp.decode(opened[0].long(), GRADIENT_BITS)

    def share_features(self, x: Tensor | None, rows: int) -> None:
        """See `SharedHead.share_features`. Nothing is sent: CrypTen's protocols share the rows of each step anew."""
        self._shared_rows = x

    def train_on_shared(self, rows: Combination, targets: Tensor, optimizer: Optimizer) -> None:
        """See `SharedHead.train_on_shared`."""
        self.rate = plain_descent(optimizer, "a head through CrypTen's layers")
        x = None if self._shared_rows is None else rows(self._shared_rows) / PARTS
        self.train_step(x, targets, open_gradient=False)

    def logits(self, x: Tensor | None, rows: int) -> Tensor | None:
        """See `SharedHead.logits`."""
        features = self._features(x, rows)
        number = self.done
        with self._ready().step(self.design.score_plan(rows)):
            z = _score(self.design, self._module, features)
        opened = open_to(self._channel, self.party, AUDITOR, "logits", number, {"z": z.to(torch.int32)})
        return None if opened is None else fp.decode(opened[0].long(), PRECISION)

    def open_weights(self) -> dict[str, Tensor] | None:
        """See `SharedHead.open_weights`."""
        opened = open_to(self._channel, self.party, AUDITOR, "open", 0, self.snapshot())
        if opened is None:
            return None
        return {name: fp.decode(value, PRECISION) for name, value in zip(self.shapes, opened, strict=True)}

    def skip(self, plan: Plan) -> None:
        self._ready().skip(plan)

    def snapshot(self) -> dict[str, Tensor]:
        self._ready()
        return {name: parameter.share.clone() for name, parameter in self._module.named_parameters()}

    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        self._ready()
        for name, parameter in self._module.named_parameters():
            parameter.share = snapshot[name].clone()

    def _ready(self) -> CryptenSession:
        if self._session is None:
            raise RuntimeError("share the weights first")
        return self._session

    def _features(self, x: Tensor | None, rows: int) -> Tensor:
        if self.party == AUDITOR:
            return torch.zeros(rows, self.design.inputs)
        if x is None or x.shape != (rows, self.design.inputs):
            raise ProtocolError(f"the head takes features of shape ({rows}, {self.design.inputs})")
        fp.check_features(x)
        return fp.decode(fp.encode(x, PRECISION), PRECISION)  # CrypTen's own encoder rounds towards zero


def _train(design: Design, module: Any, x: Tensor, targets: Tensor, rate: GradientDescent) -> Tensor:
    """One step at one party. Returns its share of the gradient with respect to x, [n, f]."""
    module.train()
    inputs = _inputs(design, x, requires_grad=True)
    z = module(inputs)
    with crypten.no_grad():
        g = (z.sigmoid() - targets.float()).mul(2**GRADIENT_SHIFT)
    z.backward(g)
    parameters = list(module.parameters())
    gradients = torch.cat([parameter.grad.share.flatten() for parameter in parameters]) * rate.numerator
    binding = current()
    assert binding is not None
    divisor = 2 ** (rate.shift + GRADIENT_SHIFT)
    updates = binding.provider.quotient(gradients, divisor, binding.communicator)
    parts = torch.split(updates, [parameter.share.numel() for parameter in parameters])
    for parameter, update in zip(parameters, parts, strict=True):
        parameter.share = parameter.share - update.view(parameter.share.shape)
        parameter.grad = None
    return torch.cat([piece.grad.share.flatten(1) for piece in inputs], 1)


def _score(design: Design, module: Any, x: Tensor) -> Tensor:
    """Score at one party. Returns its share of the logits, [n]."""
    module.eval()
    with crypten.no_grad():
        share: Tensor = module(_inputs(design, x, requires_grad=False)).share
    return share


def _inputs(design: Design, x: Tensor, requires_grad: bool) -> list[Any]:
    pieces = torch.split(x, design.sizes, dim=1)
    return [
        crypten.cryptensor(piece.reshape(len(x), *shape).contiguous(), src=DEVELOPER, requires_grad=requires_grad)
        for piece, shape in zip(pieces, design.pieces, strict=True)
    ]
