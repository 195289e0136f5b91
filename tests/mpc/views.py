"""What one party sees of a protocol: recorded, replayed, and explained by another secret of the other party.

`other_material` is the exact form of the simulation argument. A party's view is its own material (with the dealer's
corrections) and the messages that it received. For any other secret of the sender it computes the one material of the
sender with which the very same view comes out. The solution is a translation of uniform masks, one for each message,
so that both secrets give every view with the same probability: the view says nothing that chooses between them.
Messages without a mask of their own (openings to one party) have to come out right by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from scipy.stats import chi2  # type: ignore[import-untyped]
from torch import Tensor

from amint_mpc.errors import ProtocolError
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import Memory, Plan, link
from amint_mpc.transport.channel import ChannelStats
from tests.mpc.parties import run_both

MaterialOfRun = list[dict[str, dict[str, Tensor]]]  # of each step
XOR_SHARED = {"table", "lowest", "gate_words", "values", "classes", "gate_mask", "flip"}
RING = torch.int64


@dataclass
class Message:
    tag: str
    step: int
    tensors: list[Tensor]


@dataclass
class View:
    """All that one party has: its material, what came, and (for the counterpart's sake) what it sent."""

    material: MaterialOfRun = field(default_factory=list)
    received: list[Message] = field(default_factory=list)
    sent: list[Message] = field(default_factory=list)

    @property
    def incoming(self) -> list[Tensor]:
        return flat(self.received)


def flat(messages: Iterable[Message]) -> list[Tensor]:
    return [tensor for message in messages for tensor in message.tensors]


class Recorder:
    """A channel that keeps what passes."""

    def __init__(self, channel: Any, view: View) -> None:
        self._channel, self._view = channel, view

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def send(self, tag: str, step: int, *tensors: Tensor) -> None:
        self._view.sent.append(Message(tag, step, [tensor.clone() for tensor in tensors]))
        self._channel.send(tag, step, *tensors)

    def receive(self, tag: str, step: int, *specs: Any) -> list[Tensor]:
        tensors = self._channel.receive(tag, step, *specs)
        self._view.received.append(Message(tag, step, [tensor.clone() for tensor in tensors]))
        return tensors  # type: ignore[no-any-return]


class Replay:
    """A channel whose peer says again what it said, whatever it is told. Keeps what is sent to it."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.peer, self.stats = "recording", ChannelStats()
        self.sent: list[Message] = []
        self._messages = iter(messages)

    def send(self, tag: str, step: int, *tensors: Tensor) -> None:
        self.sent.append(Message(tag, step, [tensor.clone() for tensor in tensors]))

    def receive(self, tag: str, step: int, *specs: Any) -> list[Tensor]:
        message = next(self._messages)
        assert (message.tag, message.step) == (tag, step)
        assert tuple((t.dtype, tuple(t.shape)) for t in message.tensors) == specs
        return [tensor.clone() for tensor in message.tensors]

    def flush(self) -> None:
        """Nothing is on its way."""


class Given:
    """A supply that hands out given material."""

    def __init__(self, material: MaterialOfRun) -> None:
        self._material = material

    def take(self, step: int, plan: Plan) -> dict[str, dict[str, Tensor]]:
        assert {name: set(m) for name, m in self._material[step].items()} == {
            name: set(m) for name, m in self._material[step].items() if name in plan
        }
        return copied(self._material[step])


class Keeping:
    """A supply that keeps what it hands out. `again`: for every step the masks of step 0, the mistake to be caught."""

    def __init__(self, supply: Any, view: View, again: bool = False) -> None:
        self._supply, self._view, self._again = supply, view, again

    def take(self, step: int, plan: Plan) -> dict[str, dict[str, Tensor]]:
        fresh = self._supply.take(step, plan)
        material = copied(self._view.material[0]) if self._again and self._view.material else fresh
        self._view.material.append(copied(material))
        return material


def copied(material: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    return {name: {key: tensor.clone() for key, tensor in parts.items()} for name, parts in material.items()}


Party = Callable[[int, Any, Any], Any]
"""(party, channel, supply) -> what the party ends with."""


def record(
    party: Party, plans: Sequence[Plan], seed: int = 0, again: bool = False
) -> tuple[tuple[Any, Any], list[View]]:
    """Run both parties; their results and their views."""
    views = [View(), View()]
    results = run_both(
        lambda i, channel, supply: party(i, Recorder(channel, views[i]), Keeping(supply, views[i], again)), plans, seed
    )
    return results, views


# ------------------------------------------------------------------------------------------------ simulation


@dataclass(frozen=True)
class Mask:
    """Where the mask of a message stands in the sender's material, and how it is applied."""

    step: int
    name: str
    key: str
    sign: int  # +1: payload + mask, -1: payload - mask, 0: payload xor mask


def _completed(plans: Sequence[Plan], viewer: int, views: Sequence[View], other: MaterialOfRun) -> MaterialOfRun:
    """The other party's material with those shares that must fit the viewer's replaced by fitting ones."""
    made, memories = [copied(material) for material in other], (Memory(), Memory())
    for plan, mine, real, theirs in zip(plans, views[viewer].material, views[1 - viewer].material, made, strict=True):
        drawn, dealt = (copied(mine), copied(theirs)), (copied(mine), copied(real))
        for both, memory in zip((drawn, dealt), memories, strict=True):
            link(plan, both if viewer == DEVELOPER else both[::-1], memory)
        for name, correlation in plan.items():
            fields = {key: part for key, part in correlation.fields.items() if part.corrected}
            if viewer == AUDITOR:
                shares = correlation.corrections(drawn[1][name], drawn[0][name])
                theirs[name].update({key: part.cut(shares[key]) for key, part in fields.items()})
                continue
            shares = correlation.corrections(dealt[0][name], dealt[1][name])  # also what the dealer does not send
            for key in fields:
                drawn[1][name][key] = torch.zeros_like(theirs[name][key])
            whole = correlation.corrections(drawn[0][name], drawn[1][name])
            for key, part in fields.items():
                share = mine[name][key] if part.sent is None else shares[key]
                assert torch.equal(part.cut(share), mine[name][key])
                theirs[name][key] = whole[key] ^ share if key in XOR_SHARED else whole[key] - share
    return made


def other_material(
    party: Party, plans: Sequence[Plan], viewer: int, views: Sequence[View], masks: Sequence[Mask | None]
) -> MaterialOfRun:
    """The sender's material with which `party`, run with ANOTHER secret, gives the viewer its recorded view.

    Args:
        party: the protocol with the sender's other secret.
        masks: of each tensor that the sender sends, in order; None where it has no mask of its own.
    """
    sender = 1 - viewer
    material = [copied(m) for m in views[sender].material]
    targets = views[viewer].incoming
    assert len(targets) == len(masks)
    for number, (target, mask) in enumerate(zip(targets, masks, strict=True)):
        if mask is None:
            continue
        material = _completed(plans, viewer, views, material)
        sent = flat(_alone(party, sender, views[viewer].sent, material))
        if number >= len(sent):  # its run would end before: the view is not one of it
            break
        at = material[mask.step][mask.name]
        change = target ^ sent[number] if mask.sign == 0 else mask.sign * (target - sent[number])
        at[mask.key] = at[mask.key] ^ change if mask.sign == 0 else at[mask.key] + change
    return _completed(plans, viewer, views, material)


def _alone(party: Party, index: int, incoming: Sequence[Message], material: MaterialOfRun) -> list[Message]:
    """What the party sends. Its run ends early where material that is not found yet puts a value out of its range."""
    channel = Replay(incoming)
    with suppress(ProtocolError):
        party(index, channel, Given(material))
    return channel.sent


def explained(
    party: Party, plans: Sequence[Plan], viewer: int, views: Sequence[View], masks: Sequence[Mask | None]
) -> tuple[bool, tuple[Any, Any]]:
    """Whether the viewer's view, bit for bit, also comes out of an honest run with the sender's other secret.

    Returns:
        The answer, and the results of that run, to see that it is one for the other secret.
    """
    material = other_material(party, plans, viewer, views, masks)
    both = {viewer: views[viewer].material, 1 - viewer: material}
    seen = View()

    def run(index: int, channel: Any, supply: Any) -> Any:
        return party(index, Recorder(channel, seen) if index == viewer else channel, Given(both[index]))

    try:
        results = run_both(run, plans)
    except ProtocolError:  # a value out of its range, while the viewer went on
        return False, (None, None)
    same = [torch.equal(a, b) for a, b in zip(seen.incoming, views[viewer].incoming, strict=True)]
    return all(same), results


# ------------------------------------------------------------------------------------------------ statistics

SIGNIFICANCE = 1e-6
"""Of a whole table of tests, by Bonferroni. All seeds are fixed, so that a passing test passes always."""


def p_value(words: Tensor, bits: int) -> float:
    """Chi-square of the pieces of 4 (or 2) bits of the low `bits` bits of words, against uniform; the smallest p, by
    Bonferroni. bits: a multiple of 4, or of 2."""
    width = 2 if bits % 4 else 4
    values, pieces, cells = words.reshape(-1).long(), bits // width, 2**width
    found = (values[:, None] >> torch.arange(0, bits, width)) & (cells - 1)
    counts = torch.bincount((found + cells * torch.arange(pieces)).reshape(-1), minlength=cells * pieces)
    expected = values.numel() / cells
    assert expected >= 5, "too few samples"
    statistic = ((counts.reshape(pieces, cells) - expected) ** 2 / expected).sum(dim=1).max()
    return min(1.0, pieces * float(chi2.sf(float(statistic), cells - 1)))


def suspicious(messages: Mapping[str, tuple[Tensor, int]], known: Mapping[str, Tensor]) -> list[str]:
    """Names of messages, or of messages combined with something of the same shape that the receiver has, that are
    told from uniform. Each tensor has the samples of many runs stacked in its first dimension.

    Args:
        messages: by name, with how many low bits are in use.
        known: the receiver's own shares and masks.
    """
    tests: dict[str, float] = {}
    for name, (message, bits) in messages.items():
        tests[name] = p_value(message, bits)
        others = {other: tensor for other, (tensor, _) in messages.items() if other > name} | dict(known)
        for other, tensor in others.items():
            if tensor.shape == message.shape and tensor.dtype == message.dtype:
                if message.dtype == RING:
                    tests[f"{name} + {other}"] = p_value(message + tensor, bits)
                    tests[f"{name} - {other}"] = p_value(message - tensor, bits)
                else:
                    tests[f"{name} ^ {other}"] = p_value(message ^ tensor, bits)
    return [name for name, p in tests.items() if p * len(tests) < SIGNIFICANCE]


def stacked(
    views: Sequence[View], masks: Sequence[Mask | None], bits: Mapping[str, int]
) -> tuple[dict[str, tuple[Tensor, int]], dict[str, Tensor]]:
    """Arguments of `suspicious` from one party's views of many runs. Unmasked messages are left out."""
    messages = {}
    for number, mask in enumerate(masks):
        if mask is not None:
            samples = torch.stack([view.incoming[number] for view in views])
            width = bits.get(f"{mask.name}.{mask.key}", 8 * samples.dtype.itemsize)
            messages[f"message {number} under {mask.name}.{mask.key}({mask.step})"] = samples, width
    known = {
        f"own {name}.{key}({step})": torch.stack([view.material[step][name][key] for view in views])
        for step, material in enumerate(views[0].material)
        for name, parts in material.items()
        for key in parts
    }
    return messages, known


__all__ = ["DEVELOPER", "Mask", "View", "explained", "p_value", "record", "stacked", "suspicious"]
