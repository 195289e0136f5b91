"""The developer's side of the secure head, run again on what it kept (`runlog.kept_frames`).

1. The seed has the SHA-256 that the dealer told both parties, and the blocks have the chain that the dealer signed. Or,
   without a dealer, the masks that were kept have the digest that the developer gave for the log.
2. The head is given the features again that it was given. Masks follow from the seed, corrections are the blocks (or
   both were kept as they were made), and the auditor's part of each exchange is what came then.
3. At each entry of the log that has digests of frames, what came and what the head would send have these digests.

What follows: this gradient came out of the frames that both parties signed, with the features that went in. For what
the developer sends of them is X - A, and A follows from the seed and the block. It holds on every machine: the head
computes with whole numbers.

Edge cases
    Features that are computed again may differ in their last bits (`replay`). The head is given those that were kept,
    and the difference is told. Of sealed features, which are rounded, one unit of their rounding is allowed besides: a
    developer could have moved all of them by that much, so look at the difference.
    Without a dealer nobody but the developer says that the masks are those of the run: with others, made up to fit,
    other features would give the same frames.
    A checked block is never used, so nothing is learned from it here; its digest is in the chain.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from amint_mpc.afterwards.checkpoints import ELSEWHERE, TOLERANCE, Point
from amint_mpc.amint.schedule import ShareFeatures, TrainStep, schedule
from amint_mpc.amint.sealing import MixedRows
from amint_mpc.config import Experiment
from amint_mpc.errors import AmintError, EvidenceError
from amint_mpc.evidence.files import LOG, check_regular, read_secret
from amint_mpc.evidence.log import Entry, read
from amint_mpc.evidence.verify import Verified
from amint_mpc.limits import TABLE_BITS
from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.correlations.base import MaskSource, Plan, held
from amint_mpc.mpc.correlations.checking import UsedPlans, blocks, dealt
from amint_mpc.mpc.correlations.prg import SEED_BYTES, SecretStream
from amint_mpc.mpc.correlations.supply import BlockChain, Supply, block_specs
from amint_mpc.roles import coin
from amint_mpc.roles.heads import head_kind, shared_head
from amint_mpc.roles.plans import stretches_of
from amint_mpc.roles.secure_head import SecureMintHead
from amint_mpc.roles.seeds import DEALT
from amint_mpc.runlog.interface import NullRunLog
from amint_mpc.runlog.kept_frames import BLOCKS, FEATURES, FOLDER, MASKS, RECEIVED, SEED, file_of_masks
from amint_mpc.transport.channel import ChannelStats
from amint_mpc.transport.frames import JSON_LIMIT, JsonValue, Spec, data_length
from amint_mpc.transport.hashing import Digests, HashingChannel


class RawFile:
    """Tensors from a file of raw bytes, one after another.

    Args:
        path: of the file; messages name it.
    """

    def __init__(self, path: Path) -> None:
        check_regular(path)
        self._name = path.name
        try:
            self._file: BinaryIO = path.open("rb")
        except OSError as error:
            raise EvidenceError(f"replay: {path.name} cannot be read ({error.strerror})") from None

    def next(self, *specs: Spec) -> list[Tensor]:
        """The next tensors, of these dtypes and shapes.

        Raises:
            EvidenceError: the file ends before.
        """
        found = []
        for spec in specs:
            raw = bytearray(data_length((spec,)))
            try:
                size = self._file.readinto(raw)  # type: ignore[attr-defined]
            except OSError as error:
                raise EvidenceError(f"replay: {self._name} cannot be read ({error.strerror})") from None
            if size != len(raw):
                raise EvidenceError(f"replay: {self._name} ends too early", "A file was cut")
            dtype, shape = spec
            found.append(torch.frombuffer(raw, dtype=dtype).view(shape) if raw else torch.empty(shape, dtype=dtype))
        return found

    def ended(self) -> None:
        """Raises EvidenceError: there is more."""
        if self._file.read(1):
            raise EvidenceError(f"replay: {self._name} holds more than the run has")

    def close(self) -> None:
        self._file.close()


class _Played:
    """A link on which what came is played, and what is sent goes nowhere."""

    peer = "auditor"

    def __init__(self, file: RawFile) -> None:
        self.stats = ChannelStats()
        self._file = file

    def send(self, tag: str, step: int, *tensors: Tensor) -> None:
        """See `Channel.send`."""

    def receive(self, tag: str, step: int, *specs: Spec) -> list[Tensor]:
        """See `Channel.receive`."""
        return self._file.next(*specs)

    def send_json(self, tag: str, value: JsonValue) -> None:
        """See `Channel.send_json`."""

    def receive_json(self, tag: str, limit: int = JSON_LIMIT) -> JsonValue:
        """A head receives none."""
        raise EvidenceError("replay: a head receives no JSON")

    def flush(self) -> None:
        """See `Channel.flush`."""

    def close(self) -> None:
        """See `Channel.close`."""

    def abort(self, code: str) -> None:
        """See `Channel.abort`."""


class _PlayedSupply(Supply):
    """Passes over the blocks that were checked: the auditor's keys of them are not kept."""

    def _check(self, plan: Plan) -> None:
        self._receive(plan)


class _PlayedMasks:
    """The masks of a run as the developer kept them, step by step. Args: file: of them."""

    def __init__(self, file: RawFile) -> None:
        self._file = file

    def take(self, step: int, plan: Plan) -> dict[str, dict[str, Tensor]]:
        """See `MaskSource`."""
        found: dict[str, dict[str, Tensor]] = {name: {} for name in plan}
        for name, key, dtype, shape in held(plan, DEVELOPER):
            (found[name][key],) = self._file.next((dtype, shape))
        return found

    def skip(self, step: int, plan: Plan) -> None:
        """See `MaskSource`: a run that is replayed has no early stop."""
        raise EvidenceError("replay: steps were passed over")


class _Checked(NullRunLog):
    """Compares the frames with the log's digests, where the run wrote them down."""

    def __init__(self, link: HashingChannel, log: Path) -> None:
        super().__init__(link)
        self._hashing = link
        self._entries = (entry for entry in read(log) if entry.kind in ("step", "score", "sealed", "end"))

    def step(self) -> None:
        """See `RunLog`."""
        self.compare("step")

    def scored(self) -> None:
        """See `RunLog`."""
        self.compare("score")

    def sealed(self) -> None:
        """See `RunLog`."""
        self.compare("sealed")

    def compare(self, kind: str) -> None:
        """Raises EvidenceError: it names the entry whose frames are not those that were kept."""
        found: list[Digests] = []
        self._hashing.mark(found.append)
        self._hashing.drain()
        entry = next(self._entries, None)
        if entry is None or entry.kind != kind:
            raise EvidenceError(f"replay: the log has no {kind} there")
        (sent, received), place = found[0], _place(entry)
        if received != entry.record["frames"]["auditor"]:
            raise EvidenceError(
                f"replay: {place}: what was kept in {RECEIVED} is not what the auditor sent", "A file was changed"
            )
        if sent != entry.record["frames"]["developer"]:
            raise EvidenceError(
                f"replay: {place}: with the features that were kept, the head sends other frames than the log names",
                f"Other features went into the head, or {FEATURES} or the coin was changed",
            )


class PlayedHead:
    """The secure head of a run on the frames that were kept: a `replay.ReplayHead`.

    Args:
        secret: the coin of the run. log: compares the frames. link: on which the auditor's part is played.
        supply: of masks. features: that the head was given.

    Attributes:
        order: of the rows of a scoring.
        exact: whether all features were, bit for bit, those that were kept. difference: the largest, as a share.
    """

    def __init__(
        self, experiment: Experiment, secret: bytes, log: _Checked, link: _Played, supply: MaskSource, features: RawFile
    ) -> None:
        self.exact, self.difference = True, 0.0
        self._experiment, self._log, self._features = experiment, log, features
        self._inputs = head_kind(experiment).inputs
        self._shared = shared_head(experiment, log.channel, DEVELOPER, supply)
        with _named("the first head"):
            self._shared.share_weights(None, None)
        self._secure = SecureMintHead(self._shared, link, experiment, secret, None, log)
        self.order = self._secure.order
        self._steps = 0

    def pass_over(self, steps: int) -> None:
        """Do what the head did before joint step `steps`, on the features that were kept."""
        for item in schedule(self._experiment):
            if isinstance(item, ShareFeatures) or (isinstance(item, TrainStep) and item.index == steps):
                return
            if isinstance(item, TrainStep):
                self._take(self._kept(2 * self._experiment.training.batch), self._experiment.training.batch)
            else:
                self._give(self._kept(item.count))

    def step(self, features: Tensor, members: int) -> Tensor:
        """See `MintHead.step`."""
        return self._take(self._compared(features, f"step {self._steps}"), members)

    def seal(self, features: Tensor) -> None:
        """See `MintHead.seal`."""
        kept = self._compared(features, "the sealed phase", 2.0**-TABLE_BITS)
        with _named("the sealed phase"):
            self._secure.seal(kept.double())

    def fit(self, rows: MixedRows) -> None:
        """See `MintHead.fit`."""
        with _named("the sealed phase"):
            self._secure.fit(rows)

    def score(self, features: Tensor) -> None:
        """See `MintHead.score`."""
        self._give(self._compared(features, f"the scoring after step {self._steps - 1}"))

    def expect(self, before: Point, point: Point) -> None:
        """See `ReplayHead.expect`."""

    def end(self) -> None:
        """See `ReplayHead.end`: the head was opened, and nothing more was kept."""
        with _named("the end"):
            self._shared.open_weights()
            self._log.compare("end")
        self._features.ended()

    def _take(self, features: Tensor, members: int) -> Tensor:
        with _named(f"step {self._steps}"):
            gradient = self._secure.step(features, members)
        self._steps += 1
        return gradient

    def _give(self, features: Tensor) -> None:
        with _named(f"the scoring after step {self._steps - 1}"):
            self._secure.score(features)
            self._log.scored()

    def _kept(self, rows: int) -> Tensor:
        return self._features.next((torch.float32, (rows, self._inputs)))[0]

    def _compared(self, features: Tensor, place: str, slack: float = 0.0) -> Tensor:
        """The features that were kept, [n, F] float32, which those that were computed again must be.

        Args:
            slack: how much of a difference is rounding.

        Raises:
            EvidenceError: they differ by more than `TOLERANCE`.
        """
        kept, mine = self._kept(len(features)), features.detach().cpu().float()
        if torch.equal(kept, mine):
            return kept
        self.exact = False
        apart, largest = float((kept - mine).abs().max()), float(kept.abs().max().clamp(min=1e-6))
        self.difference = max(self.difference, apart / largest)  # told in full, whatever is allowed
        apart = (apart - slack) / largest
        if not apart <= TOLERANCE:
            raise EvidenceError(
                f"replay: {place}: the features that went into the head are not the classifier's: they differ by up to "
                f"{apart:.2g} of the largest",
                ELSEWHERE,
            )
        return kept


@contextmanager
def played(run: Path, found: Verified) -> Iterator[PlayedHead]:
    """The head of a run at its beginning.

    Args:
        run: the developer's folder. found: its evidence, which holds; `checkpoints.has_frames`.

    Raises:
        EvidenceError: what was kept is not what the log and the dealer's signature name.
    """
    experiment, files = found.experiment, []
    secret = coin.kept(run)
    if found.log.made is None:
        stream = SecretStream(_seed(run, found), DEALT)
        check_blocks(run, found)
    else:
        check_masks(run, found)
    try:
        for name in (RECEIVED, file_of_masks(experiment), FEATURES):
            files.append(RawFile(run / FOLDER / name))
        received, source, features = files
        link = _Played(received)
        hashing = HashingChannel(link)
        try:
            supply: MaskSource = _PlayedMasks(source)
            if found.log.made is None:
                order = blocks(stretches_of(experiment), secret)
                supply = _PlayedSupply(stream, DEVELOPER, _Played(source), order, link)
            yield PlayedHead(experiment, secret, _Checked(hashing, run / LOG), link, supply, features)
        finally:
            hashing.end()
    finally:
        for file in files:
            file.close()


def check_blocks(run: Path, found: Verified) -> None:
    """All blocks of a run, one at a time, against the dealer's signature.

    Raises:
        EvidenceError: they are others, or some are missing.
    """
    signed: dict[str, Any] | None = found.log.dealt
    assert signed is not None
    file, chain = RawFile(run / FOLDER / BLOCKS), BlockChain()
    try:
        for plan in dealt(stretches_of(found.experiment)):
            chain.add(file.next(*block_specs(plan)))
        file.ended()
    finally:
        file.close()
    if (chain.blocks, chain.hex()) != (signed["blocks"], signed["chain"]):
        raise EvidenceError(f"replay: {BLOCKS} does not hold the blocks that the dealer has signed")


def check_masks(run: Path, found: Verified) -> None:
    """All masks of a run, one step at a time, against the digest in its log.

    Raises:
        EvidenceError: they are others, or some are missing.
    """
    made: dict[str, Any] | None = found.log.made
    assert made is not None
    file, chain, plans = RawFile(run / FOLDER / MASKS), BlockChain(), UsedPlans(stretches_of(found.experiment))
    try:
        for step in range(len(plans)):
            chain.add(file.next(*((dtype, shape) for _, _, dtype, shape in held(plans[step], DEVELOPER))))
        file.ended()
    finally:
        file.close()
    if chain.hex() != made["kept"]:
        raise EvidenceError(f"replay: {MASKS} does not hold the masks that the developer named for the log")


def _seed(run: Path, found: Verified) -> bytes:
    seed = read_secret(run / FOLDER / SEED, SEED_BYTES, f"replay: {SEED} is not a seed")
    if sha256(seed).hexdigest() != found.log.begin["dealer"]["seeds"]["developer"]:
        raise EvidenceError(f"replay: {SEED} is not the one that the dealer gave the developer")
    return seed


@contextmanager
def _named(place: str) -> Iterator[None]:
    """Whatever a head makes of frames that no auditor sent is evidence that does not hold."""
    try:
        yield
    except EvidenceError:
        raise
    except (AmintError, ArithmeticError, LookupError, RuntimeError, ValueError) as error:
        raise EvidenceError(
            f"replay: {place}: the head cannot do it with what was kept ({type(error).__name__})",
            f"{RECEIVED}, {FEATURES} or the coin was changed, or other features went into the head",
        ) from None


def _place(entry: Entry) -> str:
    if entry.kind == "step":
        return f"step {entry.record['step']}"
    if entry.kind == "score":
        return f"the scoring of epoch {entry.record['epoch']}"
    return "the sealed phase" if entry.kind == "sealed" else "the end"
