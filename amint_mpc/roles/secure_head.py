"""Where the developer's training loop meets the head.

`amint_mpc.amint` speaks of members and external images, `amint_mpc.mpc` of inputs and targets.
"""

from __future__ import annotations

from torch import Tensor

from amint_mpc.amint.scoring import drawn_from
from amint_mpc.amint.sealing import MixedRows
from amint_mpc.amint.stopping import Stopper
from amint_mpc.config import Experiment
from amint_mpc.errors import UsageError
from amint_mpc.mpc.shared_head import SharedHead
from amint_mpc.results import Figure
from amint_mpc.roles.backends.base import Backing
from amint_mpc.roles.heads import secure_optimizer
from amint_mpc.roles.masks import MasksEnded
from amint_mpc.roles.meter import Meter
from amint_mpc.roles.plans import epochs_with_figures, sealed_rows, targets
from amint_mpc.roles.scoring import scored
from amint_mpc.roles.told_figures import check_figures, check_values
from amint_mpc.runlog.interface import NullRunLog, RunLog
from amint_mpc.transport.channel import Channel


class SecureMintHead:
    """The developer's view of the secure head (`amint_mpc.amint.plaintext_head.MintHead`), and the end of its run.

    Args:
        coin: the secret of the two parties (`roles.coin`). backing: where its masks come from.

    Attributes:
        meter, sealed_meter: of joint and of sealed steps.
        steps: joint steps of the whole run: the experiment fixes them.
        order: in which the rows of a scoring go to the head.
        stopper: hears from the auditor whether to stop, where the experiment has `training.patience`.
        masks: after the end, what the log is told of them. run_log: told of each step here, of all else by the loop.
    """

    def __init__(
        self,
        head: SharedHead,
        auditor: Channel,
        experiment: Experiment,
        coin: bytes,
        stopper: Stopper | None = None,
        run_log: RunLog | None = None,
        backing: Backing | None = None,
    ) -> None:
        self._head, self._auditor, self._experiment = head, auditor, experiment
        self.order, self._sealed_rows = drawn_from(coin), sealed_rows(experiment, coin)
        self.stopper, self._backing = stopper, backing
        self.masks: MasksEnded | None = None
        self.run_log: RunLog = run_log or NullRunLog(auditor)
        self.meter, self.sealed_meter = (Meter(auditor) for _ in range(2))
        self.steps = experiment.training.epochs * experiment.steps_per_epoch

    def step(self, features: Tensor, members: int) -> Tensor:
        """See `MintHead.step`. Every batch has the agreed size, half of it members."""
        return (self._step(features, members) / members).to(features.dtype)

    def seal(self, features: Tensor) -> None:
        """See `MintHead.seal`: receive a share of the head that the auditor has drawn anew, and share the features."""
        self._head.share_weights(None, None)
        self._head.share_features(features, len(features))

    def fit(self, rows: MixedRows) -> None:
        """See `MintHead.fit`: the developer learns nothing."""
        chosen = self._sealed_rows[rows.number]
        with self.sealed_meter:
            self._head.train_on_shared(chosen, targets(chosen.batch), secure_optimizer(self._experiment, chosen))
        if self.sealed_meter.steps == len(self._sealed_rows):
            self.run_log.sealed()

    def ahead(self) -> int | None:
        """How many steps have their masks ready; None: that is not known."""
        return None if self._backing is None else self._backing.ahead()

    def _step(self, features: Tensor, members: int) -> Tensor:
        agreed = self._experiment.training.batch
        if members != agreed or len(features) != 2 * members:
            raise UsageError(
                f"a step takes {agreed} members and as many external images, as agreed",
                "Set training.batch to the batches of your loop",
            )
        if self.meter.steps == self.steps:
            raise UsageError(f"all {self.steps} steps of the experiment are done", "End your loop after `steps` steps")
        with self.meter:
            gradient = self._head.train_step(features.double(), targets(members))
        assert gradient is not None
        self.run_log.step()
        return gradient

    def score(self, features: Tensor) -> Tensor | None:
        """The auditor alone learns the scores. All rows of a scoring, in its order."""
        return scored(self._head, features, len(features))

    def epoch_figures(self, epoch: int) -> dict[str, float]:
        """What the auditor tells after an epoch: nothing, unless the experiment says so."""
        if not self._experiment.disclosure.epoch_figures or epoch not in epochs_with_figures(self._experiment):
            return {}
        return check_values(self._auditor.receive_json("figures"))

    def finish(self) -> dict[str, Figure]:
        """Open the head to the auditor. Returns the figures that it shares, by name."""
        self.masks = None if self._backing is None else self._backing.finish()
        self._head.open_weights()
        if not self._experiment.disclosure.final_figures:
            return {}
        return check_figures(self._auditor.receive_json("figures"))
