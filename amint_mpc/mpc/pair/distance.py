"""That a run is not too long for the flood that hides what the noise of an answer says (mpc/rlwe/parameters.py)."""

from __future__ import annotations

from collections.abc import Iterable

from amint_mpc.errors import UsageError
from amint_mpc.mpc.correlations.checking import Stretch
from amint_mpc.mpc.pair.kinds import KINDS
from amint_mpc.mpc.rlwe import parameters
from amint_mpc.mpc.rlwe.blocks import Cut


def check_distance(stretches: Iterable[Stretch], link: str) -> None:
    """Add up the statistical distance of all answers of a run.

    Raises:
        UsageError: the run is too long.
    """
    total = 0.0
    for part in stretches:
        plan = part.plan(0) if part.used else {}
        cuts = [cut for each in plan.values() if type(each) in KINDS for cut in KINDS[type(each)].cuts(each, link)]
        total += part.used * sum(map(_distance, cuts))
    if total > parameters.DISTANCE:
        raise UsageError(
            "the run is too long for the masks that two parties make: its ciphertexts could say something of the masks",
            "Train for fewer epochs or on fewer images, or set security.correlations to dealer",
        )


def _distance(cut: Cut) -> float:
    found = 0.0
    for name in cut.sizes.products:
        rows, columns = cut.block_shape(name)
        found += parameters.distance(cut.terms(name), cut.polynomials(name) * rows * columns, cut.levels)
    return found
