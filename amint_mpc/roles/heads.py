"""The one place where the experiment chooses a membership head: its plan, its secure form, its twin and its file.

`head.input: pooled` and `maps` have the head of `amint_mpc.models.head_weights`, with protocols of its own
(`amint_mpc.mpc.dense`); `conv` has that of `amint_mpc.models.conv_head_weights`, through CrypTen's generic layers
(`amint_mpc.mpc.crypten`). Who makes the randomness is chosen elsewhere (`amint_mpc.roles.backends`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol

from torch import Tensor

from amint_mpc.amint.opened_gradient import opening_of
from amint_mpc.amint.optimizers import plaintext_optimizer
from amint_mpc.amint.plaintext_conv_head import PlaintextConvHead
from amint_mpc.amint.plaintext_head import MintHead, PlaintextHead
from amint_mpc.amint.sealing import MixedRows, mixed_rows
from amint_mpc.config import Experiment, Head
from amint_mpc.data.registry import dataset
from amint_mpc.errors import UsageError
from amint_mpc.limits import check_rate, representable_momentum, representable_rate
from amint_mpc.memory import keep_freed
from amint_mpc.models.classifier import feature_count, tap_shapes
from amint_mpc.models.conv_head_weights import ConvWeights, TapShapes, init_conv_head
from amint_mpc.models.head_weights import HeadWeights, Normal, init_head
from amint_mpc.models.registry import check_backbone
from amint_mpc.mpc.correlations.base import MaskSource, Plan
from amint_mpc.mpc.crypten.conv_module import ConvModule
from amint_mpc.mpc.crypten.generic_head import Design, GenericHead
from amint_mpc.mpc.dense.descent import GradientDescent, Momentum, plain_descent
from amint_mpc.mpc.dense.head import SecureHead
from amint_mpc.mpc.dense.layers import score_plan, table_plan, train_plan
from amint_mpc.mpc.dense.novograd import NovoGrad
from amint_mpc.mpc.dense.step import Optimizer
from amint_mpc.mpc.protocols.linear import Combination
from amint_mpc.mpc.shared_head import SharedHead
from amint_mpc.printable import shown
from amint_mpc.transport.channel import Channel


class PlainHead(MintHead, Protocol):
    """A head in this process. `weights` is replaced in a step, never changed; `fresh` draws one for sealed epochs."""

    weights: Any
    fresh: Any


class HeadKind(Protocol):
    """What every party can derive of the head from the agreed experiment."""

    @property
    def inputs(self) -> int:
        """Features of an image."""

    def train_plan(self, rows: int, optimizer: Optimizer, number: int = 0, standing: Combination | None = None) -> Plan:
        """What training step `number`, counted from 0, needs from the dealer. standing: on shared rows, and which."""

    def table_plan(self, rows: int) -> Plan | None:
        """What sharing so many rows once needs; None: the head shares those of each step anew."""

    def score_plan(self, rows: int) -> Plan:
        """What scoring so many rows needs from the dealer."""

    def secure(self, channel: Channel, party: int, supply: MaskSource, optimizer: Optimizer) -> SharedHead:
        """The head at one party, without weights yet."""

    def first_weights(self, normal: Normal) -> dict[str, Tensor]:
        """Random first weights, as they are shared."""

    def stored(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What head.safetensors holds, from weights that were opened."""

    def plaintext(self, weights: Mapping[str, Tensor], settings: Head) -> PlainHead:
        """The twin with these first weights."""


@dataclass(frozen=True)
class Dense:
    """features -> hidden -> 1. Args: see `SecureHead`, and `Opening` for what the twin's gradient goes through."""

    inputs: int
    hidden: int
    revealed: int = 32
    noise: float = 0.0
    seed: int = 0

    def train_plan(self, rows: int, optimizer: Optimizer, number: int = 0, standing: Combination | None = None) -> Plan:
        return train_plan(rows, self.inputs + 1, self.hidden, optimizer, number, self.revealed, standing)

    def table_plan(self, rows: int) -> Plan | None:
        return table_plan(rows, self.inputs + 1)

    def score_plan(self, rows: int) -> Plan:
        return score_plan(rows, self.inputs + 1, self.hidden)

    def secure(self, channel: Channel, party: int, supply: MaskSource, optimizer: Optimizer) -> SharedHead:
        return SecureHead(channel, party, supply, self.inputs, self.hidden, optimizer, self.revealed, self.noise)

    def first_weights(self, normal: Normal) -> dict[str, Tensor]:
        return init_head(self.inputs, self.hidden, normal).tensors()

    def stored(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return HeadWeights(**weights).tensors()

    def plaintext(self, weights: Mapping[str, Tensor], settings: Head) -> PlainHead:
        opening = opening_of(self.revealed, self.noise, self.seed)
        return PlaintextHead(HeadWeights(**weights), plaintext_optimizer(settings), opening=opening)


@dataclass(frozen=True)
class Convolutional:
    """Tapped maps -> convolutions -> dense layers -> 1. Args: see `conv_shapes`."""

    taps: TapShapes
    filters: int
    hidden: int

    @cached_property
    def design(self) -> Design:
        """Its module, and plans once they have been made."""
        return Design(lambda: ConvModule(self.taps, self.filters, self.hidden), self.taps)

    @property
    def inputs(self) -> int:
        return self.design.inputs

    def train_plan(self, rows: int, optimizer: Optimizer, number: int = 0, standing: Combination | None = None) -> Plan:
        return self.design.train_plan(rows, _rate(optimizer))

    def table_plan(self, rows: int) -> Plan | None:
        return None

    def score_plan(self, rows: int) -> Plan:
        return self.design.score_plan(rows)

    def secure(self, channel: Channel, party: int, supply: MaskSource, optimizer: Optimizer) -> SharedHead:
        return GenericHead(channel, party, supply, self.design, _rate(optimizer))

    def first_weights(self, normal: Normal) -> dict[str, Tensor]:
        return dict(init_conv_head(self.taps, self.filters, self.hidden, normal).values)

    def stored(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return ConvWeights(self.taps, weights).tensors()

    def plaintext(self, weights: Mapping[str, Tensor], settings: Head) -> PlainHead:
        return PlaintextConvHead(ConvWeights(self.taps, weights), settings.learning_rate)


def _rate(optimizer: Optimizer) -> GradientDescent:
    return plain_descent(optimizer, "a head through CrypTen's layers")


@lru_cache(maxsize=16)
def head_kind(experiment: Experiment) -> HeadKind:
    """The head of an experiment; the same object for the same experiment."""
    head, security = experiment.head, experiment.security
    opened = security.gradient_bits, security.gradient_noise, experiment.seed
    if head.features is not None:  # a loop of its own, whose data set and backbone we do not know
        return Dense(head.features, head.hidden, *opened)
    shape = dataset(experiment.data).shape
    if head.input == "conv":
        return Convolutional(tap_shapes(experiment, shape), head.filters, head.hidden)
    return Dense(feature_count(experiment, shape), head.hidden, *opened)


def secure_optimizer(experiment: Experiment, rows: MixedRows | None = None) -> Optimizer:
    """How the head's weights move. Steps are for a sum over rows: a rate is the learning rate over a batch's members.

    Args:
        rows: of a sealed step, which have a number and a rate of their own; None: in a joint step.

    Raises:
        UsageError: settings that the secure head cannot apply, with what it can.
    """
    head = experiment.head
    if head.optimizer == "novograd":
        return NovoGrad(head.learning_rate, head.beta2)
    members, learning_rate = experiment.training.batch, head.learning_rate
    if rows is not None:
        members = rows.batch
        learning_rate = rows.learning_rate if head.optimizer == "sgd" else learning_rate
    rate = representable_rate(learning_rate / members)
    if head.optimizer == "momentum":
        return Momentum(*rate, representable_momentum(head.momentum))
    return GradientDescent(*rate)


def shared_head(experiment: Experiment, channel: Channel, party: int, supply: MaskSource) -> SharedHead:
    """The head of an experiment at one party, without weights yet. From here on this process keeps freed memory."""
    keep_freed()
    return head_kind(experiment).secure(channel, party, supply, secure_optimizer(experiment))


def check_experiment(experiment: Experiment) -> None:
    """What every party can see of an experiment before anything starts, beyond what its keys and values show.

    Raises:
        UsageError: no such dataset or backbone, images that this backbone does not take, sizes or an optimizer's
            settings that the secure head cannot apply, or one that needs a dealer.
    """
    if not isinstance(experiment, Experiment):
        raise UsageError(f"an experiment is needed, not {shown(experiment)}", "Load it with load_experiment")
    if experiment.two_party and (what := needs_dealer(experiment.head)) is not None:
        raise UsageError(
            f"{what} needs masks that only a dealer makes",
            "Set security.correlations to dealer, and start a dealer, too",
        )
    if experiment.head.features is None:  # else both belong to the developer's own loop
        check_backbone(experiment.model, dataset(experiment.data).shape)
    if experiment.head.optimizer != "novograd":
        check_rate(experiment.head.learning_rate, experiment.training.batch)
    optimizer = secure_optimizer(experiment)
    if experiment.head.input != "conv":  # the head that tests its ranges
        kind, rows = head_kind(experiment), mixed_rows(experiment, 0)
        kind.train_plan(2 * experiment.training.batch, optimizer)
        if experiment.sealed_steps:
            kind.train_plan(rows.rows, secure_optimizer(experiment, rows), 0, rows)
            last = mixed_rows(experiment, experiment.sealed_steps - 1)  # its rate is the lowest
            kind.train_plan(last.rows, secure_optimizer(experiment, last), 0, last)


def needs_dealer(head: Head) -> str | None:
    """What of a head the two parties cannot make the masks of by themselves; None: nothing."""
    return "head.optimizer novograd" if head.optimizer == "novograd" else None
