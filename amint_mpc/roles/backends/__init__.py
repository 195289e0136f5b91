"""Who makes the randomness that a secure head computes with. This package alone chooses, and alone knows the choices.

    __init__.py      chooses, by the experiment's `security.correlations`
    base.py          what a run and its backend have to do with each other
    pair.py          the two parties themselves
    with_dealer.py   a third party deals masks
    embedded.py      INSECURE: the auditor deals

A run asks for its backend, lets it check what can be checked before a peer is asked, and enters it once the two
parties are connected; what it gets makes the head.
"""

from __future__ import annotations

from amint_mpc.config import Experiment
from amint_mpc.roles.backends.base import Backend, Backing, Connected
from amint_mpc.roles.backends.embedded import Embedded
from amint_mpc.roles.backends.pair import Pair, at_work, make_maker
from amint_mpc.roles.backends.with_dealer import WithDealer

__all__ = ["Backend", "Backing", "Connected", "at_work", "backend_of", "make_maker"]

BACKENDS: dict[str, Backend] = {
    "two-party": Pair(),
    "dealer": WithDealer(),
    "insecure-embedded-dealer": Embedded(),
}


def backend_of(experiment: Experiment) -> Backend:
    """The backend that `security.correlations` names."""
    return BACKENDS[experiment.security.correlations]
