"""A training loop of one's own that trains with an auditor's membership head: python examples/own_loop.py

Model, data and loop are plain torch. What joins it to the secure run stands between the two marks in `train`:
`am.join` connects to the auditor, `head.step` turns features into their gradient. The auditor runs
`amint-mpc run --role auditor`, both with examples/own_loop.yaml.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

import amint_mpc as am
from amint_mpc.amint.objective import MINT_START
from amint_mpc.config import Experiment, Party
from amint_mpc.data import set_counts
from amint_mpc.errors import AmintError
from amint_mpc.models import Features


class Net(nn.Module):
    """8x8 digits -> class logits [n, 10], features for the head [n, 96].

    `Features` pools two maps, standardises each column (a batch norm without weights) and clips it to +-8: the head
    relies on that range. `nn.BatchNorm1d(count, affine=False)` and `clamp(-8, 8)` on any activations do as well.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1, stride=2), nn.BatchNorm2d(32), nn.ReLU())
        self.classify = nn.Linear(32 * 4 * 4, 10)
        self.features = Features("pooled", 2 * (16 + 32))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        first = self.first(images)
        second = self.second(first)
        return self.classify(second.flatten(1)), self.features((first, second))


def digits(experiment: Experiment) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Images [n, 1, 8, 8], labels [n], and the rows of each of the five sets."""
    images, labels = load_digits(return_X_y=True)
    counts = set_counts(experiment.data)
    order = torch.split(torch.randperm(len(labels))[: sum(counts.values())], list(counts.values()))
    rows = dict(zip(counts, order, strict=True))
    return torch.tensor(images / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(labels), rows


def train(experiment: Experiment, party: Party) -> None:
    """Train on the members' labels, and have the auditor's head learn at the same time who is a member."""
    torch.manual_seed(experiment.seed)
    images, labels, rows = digits(experiment)
    in_training = torch.cat([rows["members_calibration"], rows["members_report"]])
    external, batch = rows["external"], experiment.training.batch
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=experiment.training.learning_rate)

    # --- amint-mpc: from here
    with am.join(experiment, party, print) as head:
        for step in range(1, head.steps + 1):
            members = in_training[torch.randperm(len(in_training))[:batch]]
            others = external[torch.randperm(len(external))[:batch]]
            logits, features = net(images[torch.cat([members, others])])  # members first, in one forward pass
            gradient = head.step(features.detach(), len(members))
            task = F.cross_entropy(logits[:batch], labels[members])
            mint = (features * gradient).sum()  # its gradient with respect to the features is the head's
            loss = task + experiment.training.mint_weight * mint / MINT_START
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 50 == 0 or step == head.steps:
                print(f"step {step} of {head.steps}, task loss {task.item():.3f}")
        net.eval()
        with torch.no_grad():
            head.score_sets({name: net(images[chosen])[1] for name, chosen in rows.items()})
        figures = head.finish()
    # --- amint-mpc: to here

    with torch.no_grad():
        unseen = rows["unseen_report"]
        right = (net(images[unseen])[0].argmax(1) == labels[unseen]).float().mean()
    print(f"task accuracy {right:.3f} on unseen images")
    for name, figure in figures.items():
        print(f"{name} {figure}")


def main(experiment: str = "examples/own_loop.yaml", party: str | None = None) -> None:
    """Args: experiment, party: the files; without a party file parties/developer/party.yaml, or loopback."""
    train(am.load_experiment(Path(experiment)), am.load_party(Path(party) if party else None, "developer"))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except AmintError as error:
        print(f"error: {error.message}\nhint:  {error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)
