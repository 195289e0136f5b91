"""What two makers compare before they make masks."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from amint_mpc.errors import PeerError, UsageError
from amint_mpc.mpc.correlations.checking import Stretch
from amint_mpc.mpc.dense.descent import GradientDescent
from amint_mpc.mpc.dense.layers import train_plan
from amint_mpc.mpc.pair import terms as module
from amint_mpc.mpc.pair.distance import check_distance
from amint_mpc.mpc.pair.terms import check_same, terms
from amint_mpc.mpc.rlwe import parameters


@pytest.mark.parametrize("link", ["lan", "wan"])
def test_the_same_terms_fit(link: str) -> None:
    check_same(terms(link), json.loads(json.dumps(terms(link))), "auditor")


def test_every_term_is_compared_and_named() -> None:
    ours = terms("lan")
    for name, value in ours.items():
        for other in (0, f"{value} ", None, [value], True):
            with pytest.raises(PeerError, match="the parameters of the masks differ") as caught:
                check_same(ours, {**ours, name: other}, "auditor")
            assert f"{name}: here {json.dumps(value)}" in str(caught.value)


@pytest.mark.parametrize("theirs", [None, [], "all the same", 5, {}, {"x" * 10_000: "\x1b[2J" * 10_000}])
def test_anything_else_is_refused_in_few_words(theirs: Any) -> None:
    with pytest.raises(PeerError) as caught:
        check_same(terms("lan"), theirs, "auditor")
    assert len(str(caught.value)) < 1000
    assert "\x1b" not in str(caught.value)


def test_a_parameter_that_is_changed_changes_the_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    before = terms("lan")
    for name in ("TREES", "LEVELS", "UNIT", "DIGIT", "LOW_BIT"):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, getattr(module, name) + 1)
            assert len([key for key in before if terms("lan")[key] != before[key]]) == 1
    for name in ("FLOOD_BITS", "PUBLIC_KEYS", "N", "ERROR_VARIANCE"):
        with monkeypatch.context() as patch:
            patch.setattr(parameters, name, getattr(parameters, name) * 2)
            assert [key for key in before if terms("lan")[key] != before[key]]


def test_how_long_a_run_may_be() -> None:
    """A million steps of the large head, and no more than 2^-40 says."""

    def of(steps: int) -> list[Stretch]:
        return [Stretch(steps, steps, lambda _: train_plan(128, 769, 128, GradientDescent(3, 7)))]

    check_distance(of(10**6), "lan")
    with pytest.raises(UsageError, match="too long"):
        check_distance(of(10**8), "lan")
    with pytest.raises(UsageError, match="too long"):
        check_distance(of(6 * 10**6) + of(6 * 10**6), "lan")
    assert math.isclose(parameters.DISTANCE, 2.0**-40)
