"""A head of CrypTen's generic layers as a run has it: like its twin in each step, each value to one party alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from amint_mpc.config import Experiment, Head, load_experiment
from amint_mpc.errors import ProtocolError
from amint_mpc.limits import HIDDEN_LIMIT, LOGIT_LIMIT, MAPS_GRADIENT_LIMIT, representable_rate
from amint_mpc.models import seeded_normal
from amint_mpc.models.conv_head_weights import TapShapes
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import Plan
from amint_mpc.mpc.crypten.generic_head import GRADIENT_BITS, PRECISION, GenericHead
from amint_mpc.mpc.dense.descent import GradientDescent
from amint_mpc.mpc.dense.step import Optimizer
from amint_mpc.mpc.ring.fixed_point import X_BITS
from amint_mpc.roles.auditor import draw_and_share
from amint_mpc.roles.heads import Convolutional, HeadKind, head_kind, secure_optimizer
from amint_mpc.transport.channel import memory_pair
from tests.mpc.local_dealer import local_supplies

NEAR = 2.0**-11
"""A value so near to 0 may fall on the other side of the ReLU than the twin's, whose weights are float64."""
TAPS: TapShapes = ((2, 5, 5), (3, 2, 2))
KIND = Convolutional(TAPS, 2, 4)
MEMBERS = 4
LEARNING_RATE = 0.2
RATE = GradientDescent(*representable_rate(LEARNING_RATE / MEMBERS))
TARGETS = (torch.arange(2 * MEMBERS) < MEMBERS).float()
FIRST = KIND.first_weights(seeded_normal(3))


class Tapped:
    """A channel that notes the tags of what it sends."""

    def __init__(self, channel: Any) -> None:
        self._channel, self.sent = channel, []

    def send(self, tag: str, step: int, *tensors: Tensor) -> None:
        self.sent.append(tag)
        self._channel.send(tag, step, *tensors)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)


class Both:
    """Both parties of one head over a memory link, with a dealer in place."""

    def __init__(self, kind: HeadKind, plans: list[Plan], first: dict[str, Tensor], rate: Optimizer = RATE) -> None:
        self.ends = memory_pair()
        self.channels = [Tapped(end) for end in self.ends]
        supplies = local_supplies(plans)
        self.heads = [kind.secure(channel, party, supplies[party], rate) for party, channel in enumerate(self.channels)]
        masks = {name: torch.randint(-(2**62), 2**62, shape) for name, shape in self.heads[0].shapes.items()}
        self.do(lambda head: head.share_weights(*((None, None) if head.party == DEVELOPER else (first, masks))))

    def do(self, *bodies: Callable[[Any], Any]) -> list[Any]:
        """The same at both, or one thing each; every call in a thread of its own."""

        def one(body: Callable[[Any], Any], head: Any) -> Any:
            try:
                return body(head)
            except BaseException:
                for end in self.ends:
                    end.abort("failed")
                raise

        with ThreadPoolExecutor(2) as pool:
            futures = [
                pool.submit(one, body, head) for body, head in zip(bodies * (2 // len(bodies)), self.heads, strict=True)
            ]
        errors = [error for future in futures if (error := future.exception())]
        if errors:
            raise next((error for error in errors if not str(error).startswith("the ")), errors[0])
        return [future.result() for future in futures]

    def train(self, x: Tensor, targets: Tensor) -> Tensor:
        gradient, nothing = self.do(lambda h: h.train_step(x if h.party == DEVELOPER else None, targets))
        assert nothing is None
        return gradient

    def score(self, x: Tensor) -> Tensor:
        nothing, logits = self.do(lambda h: h.logits(x if h.party == DEVELOPER else None, len(x)))
        assert nothing is None
        return logits

    def close(self) -> None:
        for end in self.ends:
            end.close()


def batches(count: int, rows: int, inputs: int, bits: int) -> list[Tensor]:
    """Standardised features in which members differ a little, as the engine holds them."""
    random = torch.Generator().manual_seed(5)
    shift = 0.3 * (torch.arange(rows) < rows // 2).double()[:, None]
    drawn = (torch.randn(rows, inputs, generator=random, dtype=torch.float64) + shift for _ in range(count))
    return [(x.clamp(-8, 8) * 2**bits).round() / 2**bits for x in drawn]


def cosine(one: Tensor, two: Tensor) -> float:
    return float(F.cosine_similarity(one.double().flatten(), two.double().flatten(), dim=0))


@pytest.fixture(scope="module")
def steps() -> dict[str, Any]:
    """Three steps and a scoring of both parties and of the twin, all from the same first weights."""
    torch.set_num_threads(1)
    train, score = KIND.train_plan(2 * MEMBERS, RATE), KIND.score_plan(5)
    both, twin = (
        Both(KIND, [train, score, train, train, train], FIRST),
        KIND.plaintext(FIRST, Head(learning_rate=LEARNING_RATE)),
    )
    xs = batches(4, 2 * MEMBERS, KIND.inputs, PRECISION)
    found: dict[str, Any] = {"cosines": [], "ratios": []}

    def step(x: Tensor) -> None:
        mine, plain = both.train(x, TARGETS) / MEMBERS, twin.step(x, MEMBERS)
        found["cosines"].append(cosine(mine, plain))
        found["ratios"].append(float(mine.norm() / plain.norm()))

    step(xs[0])
    found["logits"], found["plain"] = both.score(xs[3][:5]), twin.score(xs[3][:5]).logit()
    kept = both.do(lambda head: head.snapshot())
    at = twin.weights
    step(xs[1])
    both.do(lambda head: head.skip(train))
    found["done"] = both.do(lambda head: head.done)
    nothing, found["last"] = both.do(lambda head: head.open_weights())
    found["twins_last"] = twin.weights.values
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda pair: pair[0].restore(pair[1]), zip(both.heads, kept, strict=True)))
    twin.weights = at
    step(xs[2])
    nothing, found["opened"] = both.do(lambda head: head.open_weights())
    assert nothing is None
    found["twin"], found["sent"], found["kept"] = twin.weights.values, [c.sent for c in both.channels], kept
    both.close()
    return found


def test_every_gradient_is_the_twins(steps: dict[str, Any]) -> None:
    assert min(steps["cosines"]) > 0.9995
    assert steps["ratios"] == pytest.approx([1, 1, 1], abs=0.01)


def test_logits_are_the_twins(steps: dict[str, Any]) -> None:
    torch.testing.assert_close(steps["logits"], steps["plain"], atol=2e-3, rtol=0)


def test_weights_are_opened_and_they_are_the_twins_also_after_a_way_back(steps: dict[str, Any]) -> None:
    for opened, twins in (("last", "twins_last"), ("opened", "twin")):
        for name, value in steps[twins].items():
            moved = (value - FIRST[name]).abs().max()
            assert (steps[opened][name] - value).abs().max() < max(0.1 * float(moved), 3e-4), name
    assert steps["done"] == [4, 4], "the step that was passed over counts"


def test_each_value_goes_to_one_party_alone(steps: dict[str, Any]) -> None:
    """Gradients leave the auditor, logits and weights the developer; nothing comes back, and no collective reveals."""
    developer, auditor = steps["sent"]
    assert (developer.count("gradient"), auditor.count("gradient")) == (0, 3)
    assert (developer.count("logits"), auditor.count("logits")) == (1, 0)
    assert (developer.count("open"), auditor.count("open")) == (2, 0)
    assert (developer.count("head"), auditor.count("head")) == (0, 1)
    others = {tag for tag in developer + auditor if tag not in ("gradient", "logits", "open", "head", "crypten.seed")}
    assert others == {"crypten.all_reduce", "crypten.all_gather"}, "openings under masks, and masked bits"


def test_a_share_alone_says_nothing_of_the_weights(steps: dict[str, Any]) -> None:
    for shares in steps["kept"]:
        for name, value in FIRST.items():
            if value.numel() > 8:
                assert abs(cosine(shares[name], value)) < 0.9
                assert shares[name].double().abs().median() > 2.0**55, "as large as ring elements are"


def test_the_twins_limits_lie_within_the_engines() -> None:
    assert HIDDEN_LIMIT * 2**PRECISION * 2**PRECISION < 2**62
    assert LOGIT_LIMIT < 2 ** (31 - PRECISION)
    assert MAPS_GRADIENT_LIMIT < 2 ** (31 - GRADIENT_BITS)


def test_features_that_do_not_fit_are_refused() -> None:
    mine, theirs = memory_pair()
    alone = GenericHead(mine, DEVELOPER, local_supplies([])[0], KIND.design, RATE)
    with pytest.raises(RuntimeError, match="share the weights first"):
        alone.snapshot()
    for x, message in ((None, "shape"), (torch.zeros(8, 3), "shape"), (torch.full((8, KIND.inputs), 8.1), "outside")):
        with pytest.raises(ProtocolError, match=message):
            alone.train_step(x, TARGETS)
    for end in (mine, theirs):
        end.abort("failed")


def test_all_three_derive_the_same_plan_and_no_value_is_in_it() -> None:
    again = Convolutional(TAPS, 2, 4)
    assert list(again.train_plan(8, RATE).items()) == list(KIND.train_plan(8, RATE).items())
    assert KIND.train_plan(8, RATE) is KIND.train_plan(8, RATE), "made once"
    assert KIND.train_plan(8, RATE) != KIND.train_plan(6, RATE)


def test_the_auditor_draws_another_head_each_time() -> None:
    drawn = []
    for _ in range(2):
        mine, theirs = memory_pair()
        developer = KIND.secure(mine, DEVELOPER, local_supplies([])[DEVELOPER], RATE)
        auditor = KIND.secure(theirs, AUDITOR, local_supplies([])[AUDITOR], RATE)
        with ThreadPoolExecutor(2) as pool:
            shared = pool.submit(developer.share_weights, None, None), pool.submit(draw_and_share, auditor, KIND)
            assert shared[0].result() is None
            first = shared[1].result()
            opened = pool.submit(developer.open_weights), pool.submit(auditor.open_weights)
            drawn.append(opened[1].result())
            assert all(torch.allclose(drawn[-1][name], first[name], atol=1e-4) for name in first)
        for end in (mine, theirs):
            end.close()
    assert drawn[0]["first.weight"].std() > 0.1
    assert abs(cosine(drawn[0]["first.weight"], drawn[1]["first.weight"])) < 0.9
    assert torch.equal(drawn[0]["first.bias"], torch.zeros(2).double())


def least_of(weights: Any, x: Tensor) -> Tensor:
    """The least absolute value before any ReLU, for each row, [n], of either head."""
    if not hasattr(weights, "pre_activations"):
        least: Tensor = weights.hidden(x).abs().amin(1)
        return least
    maps, hidden = weights.pre_activations(x.double())
    return torch.cat([part.flatten(1) for part in (*maps, hidden)], dim=1).abs().amin(1)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind_of_input", ["maps", "conv"])
def test_twenty_steps_of_the_size_of_the_experiment(kind_of_input: str) -> None:
    """configs/conv.yaml: 1,296 values of two maps, 16 members and 16 external images."""
    torch.set_num_threads(1)
    experiment: Experiment = load_experiment("conv", [f"head.input={kind_of_input}"])
    kind, rate, members = head_kind(experiment), secure_optimizer(experiment), experiment.training.batch
    first = kind.first_weights(seeded_normal(3))
    both = Both(kind, [kind.train_plan(2 * members, rate)] * 20, first, rate)
    twin = kind.plaintext(first, experiment.head)
    targets = (torch.arange(2 * members) < members).float()
    cosines, clear, start = [], [], time.perf_counter()
    for x in batches(20, 2 * members, kind.inputs, X_BITS):
        sure = least_of(twin.weights, x) > NEAR
        mine, plain = both.train(x, targets), twin.step(x, members)
        cosines.append(cosine(mine, plain))
        clear.append(cosine(mine[sure], plain[sure]))
        assert sure.sum() >= 0.5 * len(x)
    stats, seconds = both.ends[0].stats, (time.perf_counter() - start) / 20
    print(
        f"{kind_of_input}: least cosine {min(cosines):.5f}, {min(clear):.5f} without rows next to a step of the ReLU,"
    )
    print(f"{sorted(cosines)[1]:.5f} the next least, {seconds:.3f} s, {stats.rounds / 20:.0f} rounds")
    print(f"{stats.bytes_sent / 20e6:.2f} and {stats.bytes_received / 20e6:.2f} MB a step")
    both.close()
    assert min(clear) > 0.999
    assert sorted(cosines)[1] > 0.999  # one step of twenty may hold a row on the other side of a ReLU
    assert min(cosines) > 0.998
