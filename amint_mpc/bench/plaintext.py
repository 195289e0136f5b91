"""The same work in the clear, as a measured process: the head alone in torch, or the twin's whole training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from amint_mpc.amint.sealing import MixedRows
from amint_mpc.bench import party
from amint_mpc.bench.worker import Handler, work
from amint_mpc.config import Experiment, load_experiment, load_party
from amint_mpc.models.head_weights import seeded_normal
from amint_mpc.roles.heads import head_kind


@contextmanager
def opened(settings: dict[str, Any]) -> Iterator[Handler]:
    """Args: settings: folder (as `host.processes.prepare` makes it), work (as in `party.opened`)."""
    folder = Path(settings["folder"])
    experiment = load_experiment(folder / "experiment.yaml")
    step: party.OneStep
    if settings["work"] == "head":
        step = party.head_alone(TorchHead(experiment), experiment)
    else:
        kind = head_kind(experiment)
        head = kind.plaintext(kind.first_weights(seeded_normal(experiment.seed)), experiment.head)
        own = load_party(folder / "developer" / "party.yaml", "developer").model_copy(update={"overlap": False})
        step = party.JointSteps(head, experiment, own, settings["work"])

    def handle(command: dict[str, Any]) -> dict[str, Any]:
        torch.set_num_threads(command["threads"])
        return party.take_steps(step, command["steps"])

    yield handle


class TorchHead:
    """The head as anybody would write it: float32, autograd, SGD; dL/dz is sigmoid(z) - y."""

    def __init__(self, experiment: Experiment) -> None:
        assert experiment.head.features is not None
        torch.manual_seed(experiment.seed)
        hidden = experiment.head.hidden
        self._model = nn.Sequential(nn.Linear(experiment.head.features, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        rate = experiment.head.learning_rate / experiment.training.batch
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=rate)

    def step(self, features: Tensor, members: int) -> Tensor:
        """See `MintHead.step`."""
        x = features.requires_grad_()
        x.grad = None
        z: Tensor = self._model(x).squeeze(1)
        g = z.detach().sigmoid()
        g[:members] -= 1
        self._optimizer.zero_grad()
        z.backward(g)  # type: ignore[no-untyped-call]
        self._optimizer.step()
        assert x.grad is not None
        return x.grad / members

    def seal(self, features: Tensor) -> None:
        """See `MintHead.seal`."""

    def fit(self, rows: MixedRows) -> None:
        """See `MintHead.fit`."""

    def score(self, features: Tensor) -> Tensor:
        """See `MintHead.score`."""
        return self._model(features).squeeze(1).sigmoid().double()  # type: ignore[no-any-return]


if __name__ == "__main__":
    work(opened)
