"""How the cost of a step grows with batch, features and hidden units: each is halved and doubled around one middle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from amint_mpc.bench import head_step
from amint_mpc.bench.setup import Setup
from amint_mpc.events import OnProgress

AXES = ("batch", "features", "hidden")
FACTORS = (0.5, 1.0, 2.0)


def measure(middle: Setup, on_progress: OnProgress = lambda *_: None) -> list[dict[str, Any]]:
    """Ours, with a dealer, at each size.

    Returns:
        a row for each size of each axis: axis, batch, features, hidden, ms, low, high, rounds and MB of a step.
    """
    rows: list[dict[str, Any]] = []
    known: dict[Setup, dict[str, Any]] = {}
    setups = list(_setups(middle))
    for number, (axis, setup) in enumerate(setups, start=1):
        if setup not in known:
            known[setup] = head_step.measure(replace(setup, two_party=False))
        found = known[setup]
        low, high = found["spread"]["ours_ms"]
        sent = {key: found[key] for key in ("rounds", "mb_sent_developer", "mb_sent_auditor", "mb_dealer")}
        sizes = {each: getattr(setup, each) for each in AXES}
        rows.append({"axis": axis, **sizes, "ms": found["ours_ms"], "low": low, "high": high, **sent})
        on_progress("sizes", number, len(setups))
    return rows


def _setups(middle: Setup) -> Iterator[tuple[str, Setup]]:
    for axis in AXES:
        for factor in FACTORS:
            size = int(getattr(middle, axis) * factor)
            # half of a batch are members, so it stays even
            if axis == "batch":
                yield axis, replace(middle, batch=max(2, size - size % 2))
            elif axis == "features":
                yield axis, replace(middle, features=max(1, size))
            else:
                yield axis, replace(middle, hidden=max(1, size))
