"""Whole sets through the classifier in eval mode: logits for the task's figures, features for the head."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from amint_mpc.amint.batches import Batches
from amint_mpc.amint.metrics import calibration_figures
from amint_mpc.amint.schedule import ScoreSets
from amint_mpc.amint.scoring import sets_of
from amint_mpc.amint.sealing import rounded
from amint_mpc.amint.seat import Seat
from amint_mpc.amint.taps import Judged, Taps
from amint_mpc.data.split import SETS, SplitImages


class Evaluation:
    """Args: images: of the experiment. judged: the classifier. batches: give it the images as in training."""

    def __init__(self, images: SplitImages, judged: Judged, batches: Batches) -> None:
        self.images, self._judged, self._batches = images, judged, batches
        self._frozen: dict[str, tuple[Tensor, Tensor]] = {}

    def try_out(self, taps: Taps) -> None:
        """Before anybody is asked: whether the taps give what the experiment says.

        Raises:
            UsageError: they do not; names what is wrong.
        """
        with torch.no_grad(), self._eval_mode():
            taps.evaluate(self._batches.two(), compiled=False)

    def of(self, name: str) -> tuple[Tensor, Tensor]:
        """Logits and features of one of the five sets, float32 on the CPU, with running statistics."""
        if name in self._frozen:
            return self._frozen[name]
        with torch.no_grad(), self._eval_mode():
            found = [self._judged.evaluate(batch) for batch in self._batches.whole(name)]
        logits, features = (torch.cat(parts).cpu() for parts in zip(*found, strict=True))
        return logits.float(), features

    def right(self, name: str) -> Tensor:
        """Which images of `unseen_calibration` or `unseen_report` are classified rightly, bool [count]."""
        return self.of(name)[0].argmax(1) == self.images.unseen_label_half(name)

    def score(self, item: ScoreSets, seat: Seat) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Figures and, where the head tells them, scores of the sets."""
        figures = {"task_accuracy": float(self.right("unseen_calibration").float().mean())}
        if seat.head is None:
            return figures, {}
        order = seat.order(item)
        found = seat.head.score(torch.cat([self.of(name)[1] for name, _ in item.sets])[order])
        if found is None:
            return figures, {}
        scores = sets_of(item, order, found)
        return figures | calibration_figures(scores), scores

    def seal(self, seat: Seat) -> None:
        """Share the features of the frozen classifier, and begin with a fresh head."""
        self._frozen = {name: self.of(name) for name in SETS}  # it stays as it is: each set is passed through once
        if seat.head is not None:
            known = [self._frozen[name][1] for name in SETS if not name.startswith("unseen")]
            seat.head.seal(rounded(torch.cat(known)))

    @contextmanager
    def _eval_mode(self) -> Iterator[None]:
        """Each module goes back to the mode it was in: a loop may have frozen some."""
        modules = [*self._judged.model.modules(), *self._judged.features.modules()]
        training = [module for module in modules if module.training]
        for module in training:
            module.training = False
        try:
            yield
        finally:
            for module in training:
                module.training = True
