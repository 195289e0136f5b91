"""Progress of one or more parties: live lines in a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from amint_mpc.cli.figures import size
from amint_mpc.events import EpochEvent, Event, Notice, StepEvent

SMOOTHING = 0.1  # weight of the newest step in the shown time
PLAIN_EVERY_S = 10.0

WORDS = {
    "joint": "training",
    "sealed": "sealed training of the head",
    "score": "scoring",
    "task_accuracy": "task accuracy",
    "mint_accuracy_at_half": "MINT accuracy at 0.5",
    "mint_accuracy_calibrated": "calibrated",
    "mint_auc": "MINT AUC",
    "tpr_at_1pct_fpr": "found at 1 % false alarms",
    "task": "task loss",
    "mint": "MINT loss",
    "distillation": "distillation loss",
}


@dataclass
class Progress:
    """What is known of one party's run."""

    who: str
    step: int = 0
    steps: int = 0
    phase: str = ""
    epoch: int = 0
    epochs: int = 0
    seconds_a_step: float = 0.0
    rounds: int = 0
    bytes_sent: int = 0
    ahead: int | None = None
    notice: str = "waiting"
    figures: dict[str, float] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        if isinstance(event, Notice):
            self.notice = event.text
        elif isinstance(event, EpochEvent):
            self.phase, self.epoch, self.epochs = event.phase, event.epoch, event.epochs
            self.figures |= event.figures
        else:
            self._take_step(event)

    def _take_step(self, event: StepEvent) -> None:
        if self.phase != event.phase or not self.seconds_a_step:  # steps of another phase cost another time
            self.seconds_a_step = event.seconds
        self.seconds_a_step += SMOOTHING * (event.seconds - self.seconds_a_step)
        self.step, self.steps, self.phase = event.step, event.steps, event.phase
        self.rounds, self.bytes_sent, self.ahead = event.rounds, event.bytes_sent, event.ahead
        if event.epoch:  # a dealer knows of none: its last notice says more than "training"
            self.epoch, self.notice = event.epoch, ""

    @property
    def counted(self) -> str:
        """Steps of the head, the same at both parties; a dealer counts blocks. Those of the warm-up are named."""
        if not self.steps:
            return ""
        return f"{'warm-up ' if self.phase == 'warm-up' else ''}{self.step}/{self.steps}"

    @property
    def cost(self) -> list[str]:
        """Time, rounds and bytes of a step, and the time left; what is not known yet stays empty."""
        if not self.steps:
            return ["", "", "", ""]
        left = (self.steps - self.step) * self.seconds_a_step
        return [
            f"{1000 * self.seconds_a_step:.0f} ms a {'block' if self.phase == 'dealing' else 'step'}",
            f"{self.rounds} rounds" if self.rounds else "",
            size(self.bytes_sent / 1e6) if self.bytes_sent else "",
            f"{int(left) // 60}:{int(left) % 60:02} left" if left >= 1 else "",
        ]

    @property
    def story(self) -> str:
        if self.notice:
            return self.notice
        shown = [f"{WORDS.get(key, key.replace('_', ' '))} {value:.3f}" for key, value in self.figures.items()]
        epoch = f"epoch {self.epoch}" + (f" of {self.epochs}" if self.epochs else "") if self.epoch else ""
        ahead = "" if self.ahead is None else f"masks {self.ahead} step{'' if self.ahead == 1 else 's'} ahead"
        return ", ".join(filter(None, [WORDS.get(self.phase, self.phase), epoch, *shown[:3], ahead]))


class Screen:
    """Use as a context; `show` takes every event of a party.

    Args:
        console: where to; the live form needs a terminal.
        parties: a line each, in this order.
        warning: a red line that stays on the screen ("" for none).
    """

    def __init__(self, console: Console, parties: Sequence[str], warning: str = "") -> None:
        self.console = console
        self.warning = warning
        self.parties = {who: Progress(who) for who in parties}
        self._width = max(map(len, parties))
        self._last_line = dict.fromkeys(parties, 0.0)
        self._unsaid = dict.fromkeys(parties, False)
        live = console.is_terminal
        self._live = Live(console=console, get_renderable=self._table, refresh_per_second=8) if live else None

    def show(self, who: str, event: Event) -> None:
        progress = self.parties[who]
        progress.take(event)
        if self._live is None:
            self._plain(progress, event)

    def _plain(self, progress: Progress, event: Event) -> None:
        if isinstance(event, Notice):
            self._line(progress, event.text)
            return
        if isinstance(event, EpochEvent):
            waited = time.monotonic() - self._last_line[progress.who]
            due = event.epoch == event.epochs or waited > PLAIN_EVERY_S
        else:
            due = event.step == event.steps and not event.epoch  # a dealer's last; the others' epoch says more
        self._unsaid[progress.who] = not due
        if due:
            self._report(progress)

    def _report(self, progress: Progress) -> None:
        self._last_line[progress.who] = time.monotonic()
        counted = f"{progress.counted} {'blocks' if progress.phase == 'dealing' else 'steps'}" if progress.steps else ""
        self._line(progress, ", ".join(filter(None, [counted, *progress.cost, progress.story])))

    def _line(self, progress: Progress, text: str) -> None:
        self.console.print(f"{progress.who:{self._width}} {text}", markup=False, highlight=False, soft_wrap=True)

    def _table(self) -> RenderableType:
        table = Table.grid(padding=(0, 1, 0, 0))
        for place in ("left", "left", "right", "right", "right", "right", "right"):
            table.add_column(justify=place, no_wrap=True)
        stories = Table.grid(padding=(0, 1, 0, 0))
        for progress in self.parties.values():
            bar = ProgressBar(total=progress.steps or None, completed=progress.step, width=14, pulse=not progress.steps)
            table.add_row(Text(progress.who, style="bold"), bar, progress.counted, *progress.cost)
            stories.add_row(Text(progress.who, style="dim"), Text(progress.story, style="dim"))
        head = [Text(self.warning, style="bold red")] if self.warning else []
        return Group(*head, table, stories)

    def __enter__(self) -> Screen:
        if self._live is not None:
            self._live.start()
        elif self.warning:
            self.console.print(self.warning, style="bold red", soft_wrap=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()
        elif error is None:  # how far who stopped early had come
            for who in (who for who, unsaid in self._unsaid.items() if unsaid):
                self._report(self.parties[who])
