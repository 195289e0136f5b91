"""Events as lines: of JSON, as metrics.jsonl stores them and a child process tells them to its parent, or of words."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from amint_mpc.events import EpochEvent, Event, Notice, StepEvent
from amint_mpc.printable import printable_json

_KINDS: dict[str, type[Notice] | type[StepEvent] | type[EpochEvent]] = {
    "notice": Notice,
    "step": StepEvent,
    "epoch": EpochEvent,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def to_line(event: Event) -> str:
    """One JSON object without a line break. A value that is no finite number becomes null: JSON has none."""
    return json_line({"event": _NAMES[type(event)], **asdict(event)})


def from_record(record: dict[str, Any]) -> Event:
    """The event that `to_line` wrote, from the parsed line. Only our own processes write such lines.

    Raises:
        KeyError, TypeError: it is none.
    """
    values = dict(record)
    return _KINDS[values.pop("event")](**values)


def epoch_line(event: EpochEvent) -> str:
    """An epoch in words, for somebody who watches a run."""
    figures = "".join(f", {name} {value:.3f}" for name, value in event.figures.items())
    return f"epoch {event.epoch} of {event.epochs}, {event.phase}, {event.seconds:.1f} s{figures}"


def json_line(value: Any) -> str:
    """Strict JSON on one line: NaN and infinities become null, and whatever a terminal would obey is escaped."""
    return printable_json(json.dumps(_finite(value), allow_nan=False, ensure_ascii=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
