"""That a run is refused by the statistical distance of all answers that it sends (`pair.distance.check_distance`)."""

from __future__ import annotations

import pytest

from amint_mpc.errors import UsageError
from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.correlations.base import Plan
from amint_mpc.mpc.correlations.checking import stretch
from amint_mpc.mpc.dense.descent import GradientDescent
from amint_mpc.mpc.dense.layers import train_plan
from amint_mpc.mpc.pair.distance import check_distance
from amint_mpc.mpc.protocols.rounds import InRounds
from amint_mpc.mpc.rlwe import parameters
from amint_mpc.mpc.rlwe.blocks import Cut
from tests.mpc.pair.makers import make_both
from tests.mpc.pair.products import Matrices, TrustedProducts
from tests.mpc.rlwe.test_parameters import of_answers

PLAN: Plan = train_plan(16, 6, 4, GradientDescent(3, 9))


def cuts_of(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> list[Cut]:
    """Of all products that the evaluator answers while the plan is made."""
    found: list[Cut] = []
    multiply = TrustedProducts.multiply

    def recorded(own: TrustedProducts, cut: Cut, matrices: Matrices) -> InRounds[Matrices]:
        if own._rounds.party == DEVELOPER:
            found.append(cut)
        return multiply(own, cut, matrices)

    monkeypatch.setattr(TrustedProducts, "multiply", recorded)
    make_both([plan])
    return found


def refused(plan: Plan, at_most: float, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(parameters, "DISTANCE", at_most)
    try:
        check_distance([stretch(1, 0, lambda _: plan)], "lan")
    except UsageError:
        return True
    return False


def test_a_run_beyond_the_distance_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = of_answers(cuts_of(PLAN, monkeypatch))
    assert refused(PLAN, 0.5 * whole, monkeypatch)
    assert not refused(PLAN, 1.001 * whole, monkeypatch)


def test_all_answers_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = of_answers(cuts_of(PLAN, monkeypatch))
    assert refused(PLAN, 0.999 * whole, monkeypatch)
