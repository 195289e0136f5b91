"""The head between two parties and nobody else, trained under SPU (CHEETAH), not CrypTen.

Steps of a training step
    1. The developer's features become its own input to SPU; the auditor knows their shape.
    2. SPU takes the step (`program`) on them and on the shares of the weights, which stay inside it from step to step.
    3. The auditor sends the top 16 of the 32 bits of its share of the gradient with respect to the features on our own
       link; the developer adds its own.
Who learns what: the developer the gradient with respect to its features, rounded at random to 2^-OPENED_DX_BITS, right
on average and less than one unit off (the exact product of small integers could be solved for the weights by lattice
reduction, from one step); the auditor logits, when it is
a scoring, to 2^-LOGIT_BITS, and the weights at the end, to 2^-WEIGHT_BITS; nobody else anything, for there is nobody
else. Security: two semi-honest parties; lattice-based homomorphic encryption and oblivious transfer as SPU implements
them.
Rounds and bytes: counted on the link that carries SPU's connections, with all that these add.
Error: a truncation is off by at most one unit of 2^-FRACTION_BITS, for values below 2^62 before it (docs/two-party.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from amint_mpc.errors import ProtocolError, UsageError
from amint_mpc.limits import PARTS
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import Plan
from amint_mpc.mpc.dense.descent import GradientDescent, plain_descent
from amint_mpc.mpc.dense.step import Optimizer
from amint_mpc.mpc.protocols.linear import Combination
from amint_mpc.mpc.ring import fixed_point as fp
from amint_mpc.mpc.shared_head import open_to, send_shares
from amint_mpc.mpc.two_party.engine import SpuEngine
from amint_mpc.mpc.two_party.program import DX_BITS, FRACTION_BITS
from amint_mpc.transport.channel import Channel, ChannelStats

WEIGHT_BITS, LOGIT_BITS = 16, 20
"""Of weights and logits that are opened: the low bits never leave the developer."""
OPENED_DX_BITS = DX_BITS - 16
"""Of the gradient that is opened: the low bits never leave the auditor."""


class SpuHead:
    """The head at one party; see `SharedHead`.

    Args:
        channel: the link to the other party. party: DEVELOPER or AUDITOR.
        engine: SPU at this party, not started yet.
        inputs: features of an image. hidden: hidden units.
        rate: of plain gradient descent, the only optimizer here.

    Raises:
        UsageError: a rate below its fixed point.
    """

    def __init__(
        self, channel: Channel, party: int, engine: SpuEngine, inputs: int, hidden: int, rate: GradientDescent
    ) -> None:
        if rate.shift > FRACTION_BITS:
            raise UsageError(
                f"head.learning_rate over training.batch is below 2^-{FRACTION_BITS}, too small between two parties "
                "alone",
                "Raise head.learning_rate",
            )
        self.party, self.inputs, self.hidden, self.rate = party, inputs, hidden, rate
        self._channel, self._engine = channel, engine
        self._started, self._shared, self._step = False, False, 0
        self._shared_rows: Tensor | None = None

    def __repr__(self) -> str:
        return f"SpuHead(inputs={self.inputs}, hidden={self.hidden}, party={self.party})"

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the shared parameters, in the order in which they travel."""
        return {"w1": (self.inputs, self.hidden), "b1": (self.hidden,), "w2": (self.hidden,), "b2": ()}

    @property
    def done(self) -> int:
        """Steps taken or passed over."""
        return self._step

    @property
    def extra_traffic(self) -> ChannelStats:
        """What SPU sent."""
        return self._engine.stats

    def share_weights(self, weights: Mapping[str, Tensor] | None, masks: Mapping[str, Tensor] | None) -> None:
        """See `SharedHead.share_weights`; the first time it starts SPU, too."""
        if not self._started:
            self._engine.start()
            self._started = True
        encoded = None if weights is None else {name: fp.encode(weights[name], FRACTION_BITS) for name in self.shapes}
        shares = send_shares(self._channel, self.party, self.shapes, encoded, masks)
        self.restore(dict(zip(self.shapes, shares, strict=True)))
        self._shared = True

    def train_step(self, x: Tensor | None, targets: Tensor, open_gradient: bool = True) -> Tensor | None:
        """See `SharedHead.train_step`."""
        self._bring(x, len(targets))
        self._engine.train(targets.tolist(), self.rate.numerator, self.rate.shift, open_gradient)
        if not open_gradient:
            return None
        opened = self._open_to(DEVELOPER, "gradient", ["dx"], DX_BITS - OPENED_DX_BITS, torch.int16)
        return None if opened is None else fp.decode(opened["dx"], OPENED_DX_BITS)

    def share_features(self, x: Tensor | None, rows: int) -> None:
        """See `SharedHead.share_features`. Nothing is sent: SPU shares the rows of each step anew."""
        self._shared_rows = x

    def train_on_shared(self, rows: Combination, targets: Tensor, optimizer: Optimizer) -> None:
        """See `SharedHead.train_on_shared`."""
        self.rate = plain_descent(optimizer, "a head between two parties alone")
        x = None if self._shared_rows is None else rows(self._shared_rows) / PARTS
        self.train_step(x, targets, open_gradient=False)

    def logits(self, x: Tensor | None, rows: int) -> Tensor | None:
        """See `SharedHead.logits`."""
        self._bring(x, rows)
        self._engine.score()
        opened = self._open_to(AUDITOR, "logits", ["z"], FRACTION_BITS - LOGIT_BITS)
        return None if opened is None else fp.decode(opened["z"], LOGIT_BITS)

    def open_weights(self) -> dict[str, Tensor] | None:
        """See `SharedHead.open_weights`."""
        opened = self._open_to(AUDITOR, "open", self.shapes, FRACTION_BITS - WEIGHT_BITS)
        return None if opened is None else {name: fp.decode(value, WEIGHT_BITS) for name, value in opened.items()}

    def skip(self, plan: Plan) -> None:
        """See `SharedHead.skip`: there are no masks to pass over."""
        self._step += 1

    def snapshot(self) -> dict[str, Tensor]:
        """See `SharedHead.snapshot`."""
        self._ready()
        return {name: self._engine.get(name) for name in self.shapes}

    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        """See `SharedHead.restore`."""
        for name in self.shapes:
            self._engine.set(name, snapshot[name])

    def _bring(self, x: Tensor | None, rows: int) -> None:
        self._ready()
        shape = (rows, self.inputs)
        if self.party == AUDITOR:
            x = None
        elif x is None or x.shape != shape:
            raise ProtocolError(f"the head takes features of shape {shape}")
        else:
            fp.check_features(x)
        self._engine.input(None if x is None else x.double(), shape)
        self._step += 1

    def _open_to(
        self, receiver: int, tag: str, names: Iterable[str], drop: int, dtype: torch.dtype = torch.int32
    ) -> dict[str, Tensor] | None:
        """Values to one party alone, without their lowest bits: as many bits of each share as the range needs."""
        shares = {name: (self._engine.get(name) >> drop).to(dtype) for name in names}
        opened = open_to(self._channel, self.party, receiver, tag, self._step, shares)
        if opened is None:
            return None
        # each of the two shares loses half a unit on average; the sum wraps as the shares do
        return {name: value.add_(1).long() for name, value in zip(shares, opened, strict=True)}

    def _ready(self) -> None:
        if not self._shared:
            raise RuntimeError("share the weights first")
