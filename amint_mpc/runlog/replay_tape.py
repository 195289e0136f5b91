"""The checkpoints that a developer keeps, with `evidence.replay`, so that its steps can be done again.

In evidence/replay of its run folder, for each checkpoint of the log:

    state-EPOCH.safetensors       `Trainer.state`: classifier, Adam, teacher's labels
    gradients-EPOCH.safetensors   where no frames are kept (`kept_frames`): the gradients of L_mint by the features that
                                  were opened since the checkpoint before, float32 [steps, n, F]. The last interval, up
                                  to the end, has gradients alone.

    threads                       of the classifier's sums, in whose order they are rounded

The log holds a SHA-256 of both for each checkpoint, so that neither can be chosen later. The state follows from the
images and the gradients. Gradients that are kept are the developer's word: the auditor cannot know an opened gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from amint_mpc.amint.plaintext_head import HeadWrapper, MintHead
from amint_mpc.evidence.canonical import sha256, tensors_digest
from amint_mpc.evidence.files import write_new
from amint_mpc.runlog.kept_frames import FOLDER, KeptFrames

THREADS = "threads"


class Tape(HeadWrapper):
    """The secure head of a run, of which is kept what its steps can be done again with.

    Args:
        head: whose steps they are. folder: of the run.
        frames: where the features go; None: gradients are kept in place of the frames they came out of.
    """

    def __init__(self, head: MintHead, folder: Path, frames: KeptFrames | None = None) -> None:
        super().__init__(head)
        self._folder, self._frames = folder, frames
        self._gradients: list[Tensor] = []
        write_new(folder / FOLDER / THREADS, f"{torch.get_num_threads()}\n".encode(), mode=0o600)

    def step(self, features: Tensor, members: int) -> Tensor:
        """See `MintHead.step`."""
        self._keep_features(features)
        gradient = super().step(features, members)
        if self._frames is None:
            self._gradients.append(gradient.float().cpu())
        return gradient

    def seal(self, features: Tensor) -> None:
        """See `MintHead.seal`."""
        self._keep_features(features)
        super().seal(features)

    def score(self, features: Tensor) -> Tensor | None:
        """See `MintHead.score`."""
        self._keep_features(features)
        return super().score(features)

    def keep(self, epoch: int, state: Mapping[str, Tensor] | None) -> str:
        """Write down what was kept since the last checkpoint. Returns its digest for the log.

        Args:
            state: None at the end of the run.
        """
        gradients = torch.stack(self._gradients) if self._gradients else torch.empty(0)
        self._gradients = []
        parts = {} if state is None else {"state": dict(state)}
        if self._frames is None:
            parts["gradients"] = {"gradients": gradients}
        for name, tensors in parts.items():
            plain = {key: value.contiguous() for key, value in tensors.items()}
            write_new(self._folder / FOLDER / f"{name}-{epoch}.safetensors", save(plain), mode=0o600)
        return digest(gradients, state)

    def _keep_features(self, features: Tensor) -> None:
        if self._frames is not None:
            self._frames.features(features)


def digest(gradients: Tensor, state: Mapping[str, Tensor] | None) -> str:
    """SHA-256 (hex) of what belongs to one checkpoint, as it stands in the log.

    Args:
        gradients: none, [0], where the frames are kept.
    """
    parts = [tensors_digest({"gradients": gradients}), "" if state is None else tensors_digest(state)]
    return sha256(b"amint-mpc replay 1\0", *(bytes.fromhex(part) for part in parts))
