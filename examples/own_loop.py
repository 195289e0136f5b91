"""A training loop of one's own that joins an audit: python examples/own_loop.py [run folder]

Model, data and loop are plain torch. The lines that join the audit end with a mark. The auditor runs
`amint-mpc run --role auditor`, both with examples/own_loop.yaml. With the developer's folder of a finished run the same
loop runs again against its log.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import Subset, TensorDataset

import amint_mpc as am  # audit
from amint_mpc.amint import Audit
from amint_mpc.errors import AmintError


class Net(nn.Module):
    """8x8 digits -> class logits [n, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1, stride=2), nn.BatchNorm2d(32), nn.ReLU())
        self.classify = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(32 * 4 * 4, 10))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classify(self.second(self.first(images)))
        return logits


def digits(members: int, external: int, unseen: int) -> list[Subset[tuple[Tensor, ...]]]:
    """Three sets of (image, label): uint8 [1, 8, 8], int64."""
    images, labels = load_digits(return_X_y=True)
    every = TensorDataset(torch.tensor(images * 15).to(torch.uint8).view(-1, 1, 8, 8), torch.tensor(labels))
    order = torch.randperm(len(every), generator=torch.Generator().manual_seed(0)).tolist()
    cuts = (0, members, members + external, members + external + unseen)
    return [Subset(every, order[first:last]) for first, last in pairwise(cuts)]


def train(audit: Audit) -> None:
    """Train on the members' labels, and have the auditor's head learn at the same time who is a member."""
    torch.manual_seed(0)
    data = audit.experiment.data
    members, external, unseen = digits(data.members, data.external, data.unseen)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, audit.epochs)

    audit.tap(model, "first", "second")  # audit
    audit.keep(optimizer, scheduler)  # audit
    loader = audit.loader(members, external, unseen)  # audit
    for epoch in range(audit.epochs):  # audit
        total = 0.0
        for batch in loader:
            logits = model(batch.images)
            loss = F.cross_entropy(logits[batch.members], batch.labels) + audit.loss()  # audit
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item()
        scheduler.step()
        print(f"epoch {epoch + 1} of {audit.epochs}, task loss {total / len(loader):.3f}")
    for name, figure in audit.finish().items():  # audit
        print(f"{name} {figure}")


def main(run: str | None = None) -> None:
    """Args: run: the developer's folder of a finished run, to do it again."""
    if run is not None:
        with am.replaying(run) as again:
            train(again)
        print(f"all {again.replayed.last + 1} steps follow{', every bit the same' if again.replayed.exact else ''}")
        return
    experiment = am.load_experiment(Path(__file__).with_suffix(".yaml"))  # audit
    with am.join(experiment, "developer") as audit:  # audit
        train(audit)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except AmintError as error:
        print(f"error: {error.message}\nhint:  {error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)
