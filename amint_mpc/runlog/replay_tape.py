"""What a developer keeps, with `evidence.replay`, so that its steps can be done again.

In evidence/replay of its run folder, for each checkpoint of the log:

    state-EPOCH.safetensors       `Trainer.state`: classifier, Adam, teacher's labels
    gradients-EPOCH.safetensors   the gradients of L_mint by the features that were opened since the checkpoint before,
                                  float32 [steps, n, F]
    The last interval, up to the end, has gradients alone.

The log holds a SHA-256 of both for each checkpoint, so that neither can be chosen later. Both are the developer's word:
the auditor cannot know an opened gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from amint_mpc.amint.plaintext_head import HeadWrapper, MintHead
from amint_mpc.evidence.canonical import sha256, tensors_digest
from amint_mpc.evidence.files import EVIDENCE, write_new

FOLDER = EVIDENCE / "replay"


class Tape(HeadWrapper):
    """The secure head of a run, whose gradients are kept.

    Args:
        head: whose steps they are. folder: of the run.
    """

    def __init__(self, head: MintHead, folder: Path) -> None:
        super().__init__(head)
        self._folder = folder
        self._gradients: list[Tensor] = []

    def step(self, features: Tensor, members: int) -> Tensor:
        """See `MintHead.step`."""
        gradient = super().step(features, members)
        self._gradients.append(gradient.float().cpu())
        return gradient

    def keep(self, epoch: int, state: Mapping[str, Tensor] | None) -> str:
        """Write down what was kept since the last checkpoint. Returns its digest for the log.

        Args:
            state: None at the end of the run.
        """
        gradients = torch.stack(self._gradients) if self._gradients else torch.empty(0)
        self._gradients = []
        parts = {"gradients": {"gradients": gradients}} | ({} if state is None else {"state": dict(state)})
        for name, tensors in parts.items():
            plain = {key: value.contiguous() for key, value in tensors.items()}
            write_new(self._folder / FOLDER / f"{name}-{epoch}.safetensors", save(plain), mode=0o600)
        return digest(gradients, state)


def digest(gradients: Tensor, state: Mapping[str, Tensor] | None) -> str:
    """SHA-256 (hex) of what belongs to one checkpoint, as it stands in the log."""
    parts = [tensors_digest({"gradients": gradients}), "" if state is None else tensors_digest(state)]
    return sha256(b"amint-mpc replay 1\0", *(bytes.fromhex(part) for part in parts))
