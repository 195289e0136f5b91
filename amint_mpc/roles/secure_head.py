"""Joins the method to the secure engine: what of the schedule is a step of the head, and with which masks.

`amint_mpc.amint` speaks of members and external images, `amint_mpc.mpc` of inputs and targets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import Tensor

from amint_mpc.amint.schedule import Item, ScoreSets, TrainStep, schedule, score_batches
from amint_mpc.amint.stopping import Stopper
from amint_mpc.config import Experiment
from amint_mpc.errors import ProtocolError, UsageError
from amint_mpc.events import StepEvent
from amint_mpc.mpc.correlations.base import Plan, corrected
from amint_mpc.mpc.shared_head import SharedHead
from amint_mpc.results import Figure, MembershipName, Outcome, Share
from amint_mpc.roles.heads import head_kind
from amint_mpc.roles.heads import head_optimizer as head_optimizer
from amint_mpc.runlog.interface import NullRunLog, RunLog
from amint_mpc.transport.channel import Channel, ChannelStats


def head_inputs(experiment: Experiment) -> int:
    """Features of an image, known to every party from the experiment alone."""
    return head_kind(experiment).inputs


def targets(members: int) -> Tensor:
    """Labels of a step's rows: members, then as many external images."""
    return torch.cat([torch.ones(members), torch.zeros(members)])


def plans(experiment: Experiment) -> Iterator[Plan]:
    """What each step of the head needs from the dealer, in the order of the schedule."""
    return plans_of(experiment, schedule(experiment))


def plans_of(experiment: Experiment, items: Iterable[Item]) -> Iterator[Plan]:
    """The same for a part of the schedule."""
    kind, rows, optimizer = head_kind(experiment), 2 * experiment.training.batch, head_optimizer(experiment)
    for item in items:
        if isinstance(item, TrainStep):
            yield kind.train_plan(rows, optimizer, item.number)
        else:
            yield from (kind.score_plan(rows) for _, count in item.sets for rows in score_batches(count))


def head_steps(experiment: Experiment) -> int:
    """Training steps of the head in the whole run."""
    return sum(isinstance(item, TrainStep) for item in schedule(experiment))


def correction_bytes(experiment: Experiment) -> int:
    """Bytes of corrections that the dealer sends for one training step."""
    plan = next(iter(plans(experiment)))
    sent = [field.correction for _, _, field in corrected(plan)]
    return sum(torch.Size(shape).numel() * dtype.itemsize for dtype, shape in sent)


class Meter:
    """Rounds and bytes of the head's training steps between developer and auditor. Entered around each step.

    Args:
        channel: the link. extra_traffic: what the head exchanges beside it.
    """

    def __init__(self, channel: Channel, extra_traffic: ChannelStats | None = None) -> None:
        self._all = [stats for stats in (channel.stats, extra_traffic) if stats is not None]
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
        return sum(stats.rounds for stats in self._all), sum(stats.bytes_sent for stats in self._all)

    def summary(self) -> Outcome:
        """Means over the steps."""
        steps = max(self.steps, 1)
        return Outcome(rounds_per_step=round(self.rounds / steps, 1), mb_sent_per_step=self.bytes / steps / 1e6)


class SecureMintHead:
    """The developer's view of the secure head (`amint_mpc.amint.plaintext_head.MintHead`), and the end of its run.

    Attributes:
        steps: training steps of the whole run: the experiment fixes them, and `step` is called just so often.
        stopper: hears from the auditor whether to stop, where the experiment has `training.patience`.
        pen: of the log; told of each step here, of all else by the loop.
    """

    def __init__(
        self,
        head: SharedHead,
        auditor: Channel,
        experiment: Experiment,
        stopper: Stopper | None = None,
        run_log: RunLog | None = None,
    ) -> None:
        self._head, self._auditor, self._experiment = head, auditor, experiment
        self.stopper = stopper
        self.run_log: RunLog = run_log or NullRunLog(auditor)
        self.meter = Meter(auditor, head.extra_traffic)
        self.steps = head_steps(experiment)

    def step(self, features: Tensor, members: int) -> Tensor:
        """See `MintHead.step`. Every batch has the agreed size, half of it members."""
        gradient = self._step(features, members, open_gradient=True)
        assert gradient is not None
        return (gradient / members).to(features.dtype)

    def restart(self) -> None:
        """See `MintHead.restart`: receive a share of the head that the auditor has drawn anew."""
        self._head.share_weights(None, None)

    def fit(self, features: Tensor, members: int) -> None:
        """See `MintHead.fit`: the developer learns nothing."""
        self._step(features, members, open_gradient=False)

    def _step(self, features: Tensor, members: int, open_gradient: bool) -> Tensor | None:
        agreed = self._experiment.training.batch
        if members != agreed or len(features) != 2 * members:
            raise UsageError(
                f"a step takes {agreed} members and as many external images, as agreed",
                "Set training.batch to the batches of your loop",
            )
        if self.meter.steps == self.steps:
            raise UsageError(f"all {self.steps} steps of the experiment are done", "End your loop after `steps` steps")
        with self.meter:
            gradient = self._head.train_step(features.double(), targets(members), open_gradient)
        self.run_log.step()
        return gradient

    def score(self, features: Tensor) -> Tensor | None:
        """The auditor alone learns the scores. At most SCORE_BATCH rows, in the order of the schedule."""
        self._head.logits(features.double(), len(features))
        return None

    def score_sets(self, features: Mapping[str, Tensor]) -> None:
        """Score the five sets at the end of a loop of one's own: set name -> features [count, F].

        Raises:
            UsageError: not the agreed sets, or not after the agreed number of steps.
        """
        final = schedule(self._experiment)[-1]
        assert isinstance(final, ScoreSets)
        if self.meter.steps != self.steps:
            raise UsageError(
                f"the loop took {self.meter.steps} of the {self.steps} steps of the experiment",
                "Take all of them before the sets are scored; the number is `steps`",
            )
        found = {name: len(rows) for name, rows in features.items()}
        if found != dict(final.sets):
            raise UsageError(f"the sets are {found}, the experiment says {dict(final.sets)}")
        for name, count in final.sets:
            for batch in torch.split(features[name], score_batches(count)):
                self.score(batch)

    def epoch_figures(self, epoch: int) -> dict[str, float]:
        """What the auditor tells after an epoch: nothing, unless the experiment says so."""
        if not self._experiment.disclosure.epoch_figures or epoch not in epochs_with_figures(self._experiment):
            return {}
        return check_values(self._auditor.receive_json("figures"))

    def finish(self) -> dict[str, Figure]:
        """Open the head to the auditor. Returns the figures that it shares, by name."""
        self._head.open_weights()
        if not self._experiment.disclosure.final_figures:
            return {}
        return check_figures(self._auditor.receive_json("figures"))


def epochs_with_figures(experiment: Experiment) -> set[int]:
    """The epochs after which the auditor has figures that are not final."""
    return {item.epoch for item in schedule(experiment) if isinstance(item, ScoreSets) and not item.final}


class _WithInterval(Figure):
    model_config = ConfigDict(extra="forbid")
    low: Share
    high: Share


_FIGURES = TypeAdapter(dict[MembershipName, _WithInterval])
_VALUES = TypeAdapter(dict[MembershipName, Share], config=ConfigDict(strict=True, allow_inf_nan=False))
_Told = TypeVar("_Told")


def check_figures(told: object) -> dict[str, Figure]:
    """Figures that the auditor sent: names of `MEMBERSHIP`, each a share with its interval. Nothing else is taken from
    it, least of all a figure of the developer's own.

    Raises:
        ProtocolError: anything else.
    """
    return {name: Figure.model_validate(dict(figure)) for name, figure in _checked(_FIGURES, told).items()}


def check_values(told: object) -> dict[str, float]:
    """Figures of an epoch that the auditor sent: names of `MEMBERSHIP`, each a share without an interval.

    Raises:
        ProtocolError: anything else.
    """
    values = _checked(_VALUES, told)
    return dict(values.items())


def _checked(form: TypeAdapter[_Told], told: object) -> _Told:
    try:
        return form.validate_python(told)
    except ValidationError:
        raise ProtocolError(
            "the auditor's figures are not what was agreed", "Use the same version on both sides"
        ) from None


def joint_steps(events: list[StepEvent]) -> Outcome:
    """Means over the steps of the joint loss."""
    count = max(len(events), 1)
    return Outcome(
        steps=len(events),
        seconds_per_step=sum(event.seconds for event in events) / count,
        head_seconds_per_step=sum(event.secure_seconds for event in events) / count,
    )
