"""A training loop of one's own that joins an audit: python examples/own_loop.py

Model, data and loop are plain torch. The ten lines that join the audit end with a mark. The auditor runs
`amint-mpc run --role auditor`, both with examples/own_loop.yaml. Afterwards `python examples/own_loop.py again FOLDER`
runs the same loop against the log in the developer's folder.
"""

from __future__ import annotations

import sys
from itertools import pairwise

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


def digits(members: int = 600, external: int = 800, unseen: int = 300) -> list[Subset[tuple[Tensor, ...]]]:
    """Three sets of (image, label): uint8 [1, 8, 8], int64."""
    images, labels = load_digits(return_X_y=True)
    every = TensorDataset(torch.tensor(images * 15).to(torch.uint8).view(-1, 1, 8, 8), torch.tensor(labels))
    order = torch.randperm(len(every), generator=torch.Generator().manual_seed(0)).tolist()
    cuts = (0, members, members + external, members + external + unseen)
    return [Subset(every, order[first:last]) for first, last in pairwise(cuts)]


def train(audit: Audit) -> None:  # audit
    """Train on the members' labels, and have the auditor's head learn at the same time who is a member."""
    torch.manual_seed(0)
    members, external, unseen = digits()
    model, epochs = Net(), 62
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs, eta_min=3e-4)

    audit.tap(model, "first", "second")  # audit
    audit.keep(optimizer, scheduler)  # audit
    loader = audit.loader(members, external, unseen)  # audit
    for epoch in range(audit.epochs):  # audit
        total = 0.0
        for batch in loader:
            logits = model(batch.images)  # audit
            loss = F.cross_entropy(logits[batch.members], batch.labels) + audit.loss()  # audit
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item()
        scheduler.step()
        print(f"epoch {epoch + 1}, task loss {total / len(loader):.3f}")
    for name, figure in audit.finish().items():  # audit
        print(f"{name} {figure}")


def main(experiment: str = "examples/own_loop.yaml", party: str | None = None) -> None:
    """Args: experiment, party: the files; without a party file parties/developer/party.yaml, or loopback."""
    with am.join(experiment, "developer", party) as audit:  # audit
        train(audit)


def again(run: str) -> None:
    """Run the loop again against the log of a finished run. Args: run: the developer's folder."""
    with am.replaying(run) as audit:
        train(audit)
    found = audit.replayed
    print(f"all {found.last + 1} steps follow, {'every bit the same' if found.exact else 'within the tolerance'}")


if __name__ == "__main__":
    try:
        if sys.argv[1:2] == ["again"]:
            again(sys.argv[2])
        else:
            main(*sys.argv[1:])
    except AmintError as error:
        print(f"error: {error.message}\nhint:  {error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)
