"""What a developer keeps, with `evidence.replay`, so that its side of the secure head can be run again.

In evidence/replay of its run folder, each written as the run goes on, and of no form but raw bytes:

    seed            what it has in common with the dealer, hex; the log's first entry has its SHA-256
    received.bin    the elements of every tensor that came from the auditor for the head, in order
    blocks.bin      the same of every block of the dealer, used or checked; the dealer signs their chain at the end
    masks.bin       in place of seed and blocks, where the two parties make the masks: its masks of each step, whole
    features.bin    float32: the features of each step, each scoring and the sealed phase, as the head was given them

Nothing of it has to be believed: what the head sends is a function of these, and the log has digests of what crossed
the link in either direction, signed by both. (`afterwards.played` checks it.)

Edge cases
    Together with the dealer's seeds these files give the head away. They stay in the developer's folder, mode 0600.
    A head through CrypTen's layers draws secrets of its own: of it the gradients are kept (`replay_tape`), and are the
    developer's word.
    Masks that the two parties made are the developer's word, too: the log has a digest of them, which nobody else can
    compare with what came out of the frames that they were made with.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from torch import Tensor

from amint_mpc.config import Experiment
from amint_mpc.errors import UsageError
from amint_mpc.evidence.files import EVIDENCE, write_secret
from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.correlations.base import Material, Plan, held
from amint_mpc.mpc.correlations.supply import BlockChain
from amint_mpc.transport.channel import Channel, ForwardingChannel
from amint_mpc.transport.frames import JSON_LIMIT, JsonValue, Spec

FOLDER = EVIDENCE / "replay"
SEED, RECEIVED, BLOCKS, MASKS, FEATURES = "seed", "received.bin", "blocks.bin", "masks.bin", "features.bin"


def keeps_frames(experiment: Experiment) -> bool:
    """Whether the developer of such a run keeps all this, rather than the gradients alone."""
    return experiment.evidence.replay and not experiment.insecure and experiment.head.input != "conv"


def file_of_masks(experiment: Experiment) -> str:
    """Where what makes the masks is kept."""
    return MASKS if experiment.two_party else BLOCKS


class KeptFrames:
    """The files of one run; use it in a `with` block.

    Args:
        run: the developer's folder. masks: `file_of_masks`.

    Raises:
        UsageError: they exist already, or cannot be written; so do all methods.
    """

    def __init__(self, run: Path, masks: str = BLOCKS) -> None:
        self._folder = run / FOLDER
        self._chain = BlockChain()
        self._files: dict[str, BinaryIO] = {}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for name in (RECEIVED, masks, FEATURES):
                file = os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                self._files[name] = os.fdopen(file, "wb")
        except OSError as error:
            self._close()
            raise _cannot(self._folder, error) from None

    def seed(self, seed: bytes) -> None:
        """What the dealer gave."""
        write_secret(self._folder / SEED, seed)

    def link(self, auditor: Channel) -> Channel:
        """The link to the auditor, whose tensors are kept as they come."""
        return _KeepingChannel(auditor, self)

    def source(self, dealer: Channel) -> KeptBlocks:
        """The link to the dealer, whose blocks are kept as they come."""
        return KeptBlocks(dealer, self)

    def masks(self, plan: Plan, made: Mapping[str, Material]) -> None:
        """The developer's masks of the step that comes next, where no dealer made them."""
        tensors = [made[name][key] for name, key, _, _ in held(plan, DEVELOPER)]
        self._chain.add(tensors)
        for tensor in tensors:
            self.add(MASKS, tensor)

    def digest(self) -> str:
        """Of all masks so far, for the log."""
        return self._chain.hex()

    def features(self, features: Tensor) -> None:
        """What the head is given next, [n, F]."""
        self.add(FEATURES, features.detach().float().cpu().contiguous())

    def add(self, name: str, tensor: Tensor) -> None:
        """The elements of a tensor, to one of the files."""
        try:
            if tensor.numel():
                self._files[name].write(tensor.contiguous().numpy().reshape(-1).data.cast("B"))
        except OSError as error:
            raise _cannot(self._folder / name, error) from None

    def __enter__(self) -> KeptFrames:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self._close()
        except OSError as failed:
            if error is None:
                raise _cannot(self._folder, failed) from None

    def _close(self) -> None:
        for file in self._files.values():
            file.close()


class KeptBlocks:
    """See `KeptFrames.source`."""

    def __init__(self, dealer: Channel, kept: KeptFrames) -> None:
        self._dealer, self._kept = dealer, kept

    def receive(self, tag: str, step: int, *specs: Spec) -> list[Tensor]:
        """See `Channel.receive`."""
        tensors = self._dealer.receive(tag, step, *specs)
        for tensor in tensors:
            self._kept.add(BLOCKS, tensor)
        return tensors


class _KeepingChannel(ForwardingChannel):
    """See `KeptFrames.link`."""

    def __init__(self, channel: Channel, kept: KeptFrames) -> None:
        super().__init__(channel)
        self._kept = kept

    def receive(self, tag: str, step: int, *specs: Spec) -> list[Tensor]:
        """See `Channel.receive`."""
        tensors = super().receive(tag, step, *specs)
        for tensor in tensors:
            self._kept.add(RECEIVED, tensor)
        return tensors

    def receive_json(self, tag: str, limit: int = JSON_LIMIT) -> JsonValue:
        """The head speaks in tensors alone."""
        raise RuntimeError("a head receives no JSON")


def _cannot(path: Path, error: OSError) -> UsageError:
    return UsageError(f"cannot write {path}: {error.strerror}", "A run with evidence.replay keeps megabytes a step")
