"""What the head's training steps cost: rounds, bytes and seconds, as means over the steps."""

from __future__ import annotations

from amint_mpc.events import StepEvent
from amint_mpc.results import Outcome
from amint_mpc.transport.channel import Channel


class Meter:
    """Rounds and bytes of the head's training steps between developer and auditor. Entered around each step.

    Args:
        channel: the link.
    """

    def __init__(self, channel: Channel) -> None:
        self._stats = channel.stats
        self._rounds, self._bytes = 0, 0
        self.last_rounds, self.last_bytes = 0, 0
        self.steps, self.rounds, self.bytes = 0, 0, 0

    def __enter__(self) -> None:
        """Leave out what was sent since the last step."""
        self._rounds, self._bytes = self._now()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Count what happened since as one step."""
        if kind is not None:
            return
        rounds, sent = self._now()
        self.last_bytes = sent - self._bytes
        self.steps += 1
        self.rounds += rounds - self._rounds
        self.bytes += self.last_bytes
        # The mean: the two clocks overtake each other by one, so that a single step may show one more or less.
        self.last_rounds = round(self.rounds / self.steps)

    def _now(self) -> tuple[int, int]:
        return self._stats.rounds, self._stats.bytes_sent

    def summary(self) -> Outcome:
        """Means over the steps."""
        steps = max(self.steps, 1)
        return Outcome(rounds_per_step=round(self.rounds / steps, 1), mb_sent_per_step=self.bytes / steps / 1e6)


def all_steps(events: list[StepEvent]) -> Outcome:
    """Means over the steps of the joint loss, and what the sealed ones took."""
    sealed = [event for event in events if event.phase == "sealed"]
    found = _joint([event for event in events if event.phase == "joint"])
    return found | Outcome(sealed_steps=len(sealed), sealed_seconds=sum(event.seconds for event in sealed))


def _joint(events: list[StepEvent]) -> Outcome:
    count = max(len(events), 1)
    return Outcome(
        steps=len(events),
        seconds_per_step=sum(event.seconds for event in events) / count,
        head_seconds_per_step=sum(event.secure_seconds for event in events) / count,
    )
