"""Who makes the randomness that a secure head computes with. This package alone chooses, and alone knows the choices.

    __init__.py      chooses, by the experiment's `security.correlations`
    base.py          what a run and its backend have to do with each other
    with_dealer.py   a third party deals masks
    two_party.py     nobody but the two parties: SPU
    embedded.py      INSECURE: the auditor deals

A run asks for its backend, lets it check what can be checked before a peer is asked, and enters it once the two
parties are connected; what it gets makes the head.
"""

from __future__ import annotations

import importlib.util

from amint_mpc.config import Experiment
from amint_mpc.errors import UsageError
from amint_mpc.roles.backends.base import Backend, Backing, Connected
from amint_mpc.roles.backends.embedded import Embedded
from amint_mpc.roles.backends.two_party import TwoParty
from amint_mpc.roles.backends.with_dealer import WithDealer, auditors_supply, developers_supply

__all__ = [
    "Backend",
    "Backing",
    "Connected",
    "auditors_supply",
    "backend_of",
    "check_installed",
    "developers_supply",
]

BACKENDS: dict[str, Backend] = {
    "dealer": WithDealer(),
    "two-party": TwoParty(),
    "insecure-embedded-dealer": Embedded(),
}


def backend_of(experiment: Experiment) -> Backend:
    """The backend that `security.correlations` names."""
    return BACKENDS[experiment.security.correlations]


def check_installed(experiment: Experiment) -> None:
    """What the backend of an experiment needs.

    Raises:
        UsageError: a package is not installed; says how to install it.
    """
    named = experiment.security.correlations
    for package, how in backend_of(experiment).packages.items():
        if importlib.util.find_spec(package) is None:
            raise UsageError(f"security.correlations {named} needs {package}, which is not installed here", how)
