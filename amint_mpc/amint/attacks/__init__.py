"""Membership inference by an outsider, who has no head: the attacks that active MINT is compared with.

An attack sees what `AttackView` holds and gives every image a score; larger means member. One file an idea; what each
may see, and how it is evaluated: docs/comparison.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from amint_mpc.amint.attacks import confidence, difficulty, entropy, lira, loss, one_shadow, rmia
from amint_mpc.amint.attacks.attack_view import AttackView


@dataclass(frozen=True)
class Attack:
    """An attack by name.

    Args:
        citation: authors, year, where to read it.
        shadows: how many of the attacker's models it asks: 0, 1, or None for all of them.
        score: from what is seen to scores [n].
    """

    name: str
    title: str
    citation: str
    shadows: int | None
    score: Callable[[AttackView], Tensor]


_SALEM = "Salem et al. 2019, arXiv 1806.01246"
_CARLINI = "Carlini et al. 2022, arXiv 2112.03570"
_ZARIFZADEH = "Zarifzadeh et al. 2024, arXiv 2312.03262"

ATTACKS: tuple[Attack, ...] = (
    Attack("confidence", "Largest posterior", f"{_SALEM}, adversary 3", 0, confidence.largest_posterior),
    Attack("loss", "Loss threshold", "Yeom et al. 2018, arXiv 1709.01604", 0, loss.negative_loss),
    Attack(
        "entropy", "Modified entropy", "Song and Mittal 2021, arXiv 2003.10595", 0, entropy.negative_modified_entropy
    ),
    Attack("one-shadow", "One shadow model", f"{_SALEM}, adversary 1", 1, one_shadow.learned),
    Attack(
        "difficulty",
        "Difficulty-calibrated loss",
        "Watson et al. 2022, arXiv 2111.08440",
        None,
        difficulty.calibrated_loss,
    ),
    Attack("lira-offline", "LiRA, offline", _CARLINI, None, lira.offline),
    Attack("lira-online", "LiRA, online", _CARLINI, None, lira.online),
    Attack("rmia-offline", "RMIA, offline", _ZARIFZADEH, None, rmia.offline),
    Attack("rmia-online", "RMIA, online", _ZARIFZADEH, None, rmia.online),
)
"""All of them, weakest assumptions first."""

__all__ = ["ATTACKS", "Attack", "AttackView"]
