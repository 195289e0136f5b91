"""What a step needs from the dealer: described once, drawn by the parties, completed by the dealer.

A `Correlation` lists its fields. Each party draws its share of a field from a seed that it has in common with the
dealer, so that almost nothing has to be sent. Where shares must fit together (a share of a product, of a table),
the developer's share is not drawn but sent: the correction. The auditor never receives one.

A correlation can be about masks that another one draws, in the same step, in the last one, or once for many steps
(`MaskRef`): what was opened under them then serves a second purpose. The dealer alone follows these references; it
remembers the masks that they reach back to.

The dealer knows both seeds and no input; it computes `corrections` from what both parties will draw
(pseudorandom correlation in the trusted-dealer model; Beaver 1991, "Efficient multiparty protocols using circuit
randomization"; the seeds follow Araki et al. 2016).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.prg import SecretStream, keystream

Material = Mapping[str, Tensor]
"""One party's shares of a correlation's fields, by name."""


@dataclass(frozen=True)
class Field:
    """One tensor of a correlation.

    Args:
        shape: of the tensor that a holder gets.
        dtype: int64 for ring elements; narrower integers for XOR-shared words.
        corrected: the developer's share comes from the dealer instead of the developer's seed.
        holders: the parties that have a share.
        sent: a narrower dtype if the dealer sends only so many top bits of the developer's share, for no more of it
            counts. The developer then has those bits, in that dtype.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.int64
    corrected: bool = False
    holders: tuple[int, ...] = (DEVELOPER, AUDITOR)
    sent: torch.dtype | None = None

    @property
    def spec(self) -> tuple[torch.dtype, tuple[int, ...]]:
        return self.dtype, self.shape

    @property
    def correction(self) -> tuple[torch.dtype, tuple[int, ...]]:
        """dtype and shape of what the dealer sends."""
        return self.sent or self.dtype, self.shape

    def cut(self, share: Tensor) -> Tensor:
        """What the dealer sends of the developer's share."""
        if self.sent is None:
            return share.reshape(self.shape)
        return (share >> 8 * (self.dtype.itemsize - self.sent.itemsize)).to(self.sent).reshape(self.shape)


class Correlation(Protocol):
    """One kind of correlated randomness, with its sizes. Frozen, so that it can be a key."""

    @property
    def fields(self) -> Mapping[str, Field]: ...

    def corrections(self, developer: Material, auditor: Material) -> dict[str, Tensor]:
        """The developer's share of each corrected field.

        Args:
            developer, auditor: what each draws from its seed, and what `links` names.
        """
        ...


@dataclass(frozen=True)
class MaskRef:
    """A mask that a correlation shares with another one of the plan.

    Args:
        name, key: the other correlation and its field, which both parties draw.
        before: not this step's mask but that of the last step whose plan had the link; zeros in the first.
        kept: not this step's mask but the one that a `Keeping` correlation of this name drew last.
    """

    name: str
    key: str
    before: bool = False
    kept: bool = False


@runtime_checkable
class Linked(Protocol):
    """A correlation whose `corrections` also get the masks that it links to, under these keys."""

    @property
    def links(self) -> Mapping[str, MaskRef]: ...


@runtime_checkable
class Keeping(Protocol):
    """A correlation some of whose masks later steps link to (`MaskRef.kept`)."""

    @property
    def kept(self) -> tuple[str, ...]: ...


Memory = dict[tuple[int, str, str], Tensor]
"""The masks that links of later steps reach back to, by party, name and key. Empty before the first step."""

Plan = Mapping[str, Correlation]
"""What one step needs, by the name under which the protocols ask for it. The order is part of the protocol."""


class MaskSource(Protocol):
    """Where a party takes the masks of a step from."""

    def take(self, step: int, plan: Plan) -> dict[str, dict[str, Tensor]]: ...
    def skip(self, step: int, plan: Plan) -> None: ...


C = TypeVar("C", bound=Correlation)


@dataclass(frozen=True)
class Slot(Generic[C]):
    """A place in a plan: its name, and the kind of correlation that stands there."""

    name: str
    kind: type[C]

    def mask(self, key: str) -> MaskRef:
        """A mask that is drawn there in the same step."""
        return MaskRef(self.name, key)


Fields = tuple[tuple[str, str, Field], ...]
"""Fields of a plan: the name of the correlation, the key in it, and the field."""


def _seeded(plan: Plan, party: int) -> Fields:
    return _layout(tuple(plan.items()))[party]


def held(plan: Plan, party: int) -> list[tuple[str, str, torch.dtype, tuple[int, ...]]]:
    """All that a party has of a plan, in its order: name, key, dtype and shape of each tensor."""
    found = []
    for name, correlation in plan.items():
        for key, field in correlation.fields.items():
            if party in field.holders:
                sent = field.corrected and party == DEVELOPER
                found.append((name, key, *(field.correction if sent else field.spec)))
    return found


def bytes_of(plan: Plan, party: int) -> int:
    """Of a party's material, as two parties who make it keep it."""
    fields = [field for each in plan.values() for field in each.fields.values() if party in field.holders]
    return sum(torch.Size(field.shape).numel() * (field.sent or field.dtype).itemsize for field in fields)


def corrected(plan: Plan) -> Fields:
    """The fields whose developer's share the dealer sends, in the order in which it sends them."""
    return _layout(tuple(plan.items()))[-1]


@lru_cache
def _layout(plan: tuple[tuple[str, Correlation], ...]) -> tuple[Fields, Fields, Fields]:
    """What the developer draws, what the auditor draws, and what is corrected. Many steps have the same plan."""
    fields = [(name, key, field) for name, correlation in plan for key, field in correlation.fields.items()]
    dealt = tuple(it for it in fields if it[2].corrected)
    drawn = [tuple(it for it in fields if party in it[2].holders) for party in (DEVELOPER, AUDITOR)]
    return tuple(it for it in drawn[DEVELOPER] if not it[2].corrected), drawn[AUDITOR], dealt


def expand(plan: Plan, stream: SecretStream, party: int, step: int) -> dict[str, dict[str, Tensor]]:
    """Draw what `party` takes from its seed for one step."""
    return expand_key(plan, stream.reveal(step), party)


def expand_key(plan: Plan, key: bytes, party: int) -> dict[str, dict[str, Tensor]]:
    """The same from the key of the step."""
    wanted = _seeded(plan, party)
    drawn = keystream(key, [field.spec for _, _, field in wanted])
    material: dict[str, dict[str, Tensor]] = {name: {} for name in plan}
    for (name, field_key, _), tensor in zip(wanted, drawn, strict=True):
        material[name][field_key] = tensor
    return material


def keep(plan: Plan, party: int, material: Mapping[str, Material], memory: Memory) -> None:
    """Remember the masks of a party that later steps link to."""
    for name, correlation in plan.items():
        for key in correlation.kept if isinstance(correlation, Keeping) else ():
            if key in material[name]:
                memory[party, name, key] = material[name][key]


def link(plan: Plan, drawn: Sequence[dict[str, dict[str, Tensor]]], memory: Memory) -> None:
    """Give the correlations of a plan the masks that they link to, and remember what later steps' reach back to.

    Args:
        drawn: what the developer and the auditor draw; it is added to.
        memory: of the session; it is changed.
    """
    for party, material in enumerate(drawn):
        keep(plan, party, material, memory)
    for name, correlation in plan.items():
        for party, material in enumerate(drawn):
            for key, at in correlation.links.items() if isinstance(correlation, Linked) else ():
                if at.kept:
                    if (party, at.name, at.key) in memory:  # a mask of one party alone is in its memory alone
                        material[name][key] = memory[party, at.name, at.key]
                    continue
                mask = material[at.name][at.key]
                if at.before:
                    last = memory.get((party, name, key))
                    memory[party, name, key] = mask.clone()  # a view would keep the whole step's masks
                    mask = torch.zeros_like(mask) if last is None else last
                material[name][key] = mask


def deal(
    plan: Plan, streams: tuple[SecretStream, SecretStream], step: int, memory: Memory | None = None
) -> list[Tensor]:
    """The dealer's work for one step: the corrections, in the order of `corrected(plan)`.

    Args:
        memory: of the session; None where no plan links to masks of an earlier step.
    """
    drawn = [expand(plan, streams[party], party, step) for party in (DEVELOPER, AUDITOR)]
    return corrections_of(plan, drawn, {} if memory is None else memory)


def corrections_of(plan: Plan, drawn: Sequence[dict[str, dict[str, Tensor]]], memory: Memory) -> list[Tensor]:
    """The corrections of one step, in the order of `corrected(plan)`.

    Args:
        drawn: what the developer and the auditor draw; what it links to is added.
    """
    link(plan, drawn, memory)
    developer, auditor = drawn
    made = {name: c.corrections(developer[name], auditor[name]) for name, c in plan.items()}
    return [field.cut(made[name][key]) for name, key, field in corrected(plan)]


def complete(
    plan: Plan, material: dict[str, dict[str, Tensor]], corrections: Sequence[Tensor]
) -> dict[str, dict[str, Tensor]]:
    """Put the dealer's corrections in their places (developer only)."""
    for (name, key, _), tensor in zip(corrected(plan), corrections, strict=True):
        material[name][key] = tensor
    return material
