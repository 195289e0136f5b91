"""Both parties' logs of a run that computes nothing: every entry of an experiment, with a dealer that signs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from amint_mpc import identity
from amint_mpc.config import PARTIES, Experiment, Role, load_experiment
from amint_mpc.evidence import signing
from amint_mpc.evidence.commitments import DataCommitment
from amint_mpc.evidence.entries import DEALT_TYPE, FILES, dealt_payload
from amint_mpc.evidence.session import AgreedSession
from amint_mpc.evidence.software_digests import software
from amint_mpc.identity import Identity
from amint_mpc.runfolder import RunFolder
from amint_mpc.runlog.expected import ExpectedEntries
from amint_mpc.runlog.interface import NamedDealer, RunLog
from amint_mpc.runlog.recorder import keep_log
from amint_mpc.transport.channel import Channel, memory_pair
from tests.evidence.bundles import Bundle

SMALL = [
    "security.correlations=dealer",
    "data.members=24",
    "data.external=24",
    "data.unseen=16",
    "training.batch=12",
    "training.epochs=2",
]
SEALED = [*SMALL, "training.sealed_epochs=3", "training.sealed_batch=12", "training.evaluate_every=1"]
BLOCKS, CHAIN, CHECKED = 40, "c" * 64, 7
KEPT = "9" * 64
MADE = ("a" * 64, "b" * 64)
"""What developer and auditor sent each other for their masks, where they made them."""
WEIGHTS = {"w": torch.ones(2)}

Dealt = Callable[[RunLog, Role, bytes], None]


def says_what_it_dealt(log: RunLog, role: Role, signature: bytes) -> None:
    log.dealt(BLOCKS, CHAIN, CHECKED, signature)


class BothLogs:
    """Writes them below a folder.

    Args:
        settings: of the experiment `smoke`. dealer: whether one is named.
        dealt: what each party does at that place.
    """

    def __init__(
        self,
        root: Path,
        settings: list[str],
        dealer: bool = True,
        dealt: Dealt = says_what_it_dealt,
    ) -> None:
        self.root, self.experiment = root, load_experiment("smoke", settings)
        self.keys, self._dealt = root / "keys", dealt
        roles: tuple[Role, ...] = ("developer", "auditor", "dealer")
        identity.create_for_one_machine({role: self.keys / role for role in roles})
        self.dealer = self.named_dealer() if dealer else None
        ends = memory_pair()
        with ThreadPoolExecutor(2) as pool:
            parts = [pool.submit(self._party, role, end) for role, end in zip(PARTIES, ends, strict=True)]
            for part in parts:
                part.result(60)
        self.folders = {role: Bundle(root / role, self.keys) for role in PARTIES}

    @property
    def signer(self) -> Identity:
        return identity.load(self.keys / "dealer", "dealer")

    def named_dealer(self) -> NamedDealer:
        seeds: dict[Role, str] = {role: hashlib.sha256(role.encode()).hexdigest() for role in PARTIES}
        return NamedDealer(self.signer.certificate, bytes(range(16)), seeds)

    def signature(self, blocks: int = BLOCKS, chain: str = CHAIN) -> bytes:
        named = self.named_dealer()
        payload = dealt_payload(named.session.hex(), self.experiment.digest(), named.seeds, blocks, chain)
        return signing.sign(self.signer, DEALT_TYPE, payload)

    def _party(self, role: Role, link: Channel) -> None:
        peer: Role = "auditor" if role == "developer" else "developer"
        session = AgreedSession(bytes(32), peer, {role: software(), peer: software()})
        own, keys = identity.load(self.keys / role, role), self.keys / role
        try:
            with RunFolder.create(self.root, self.experiment, role, role) as folder:
                data = _commitment(self.experiment) if role == "developer" else None
                with keep_log(self.experiment, own, keys, session, link, folder, data, self.dealer) as log:
                    self._write(role, log)
        except BaseException:
            link.abort("failed")
            raise

    def _write(self, role: Role, log: RunLog) -> None:
        mine = WEIGHTS if role == "developer" else None
        kept = KEPT if self.experiment.evidence.replay and role == "developer" else None
        for expected in ExpectedEntries(self.experiment):
            if expected.kind == "step":
                log.step()
            elif expected.kind == "sealed":
                log.sealed()
            elif expected.kind == "score":
                log.scored()
            elif expected.kind == "checkpoint":
                log.checkpoint(mine, {}, replay=kept)
            elif expected.kind == "made":
                frames = MADE if role == "developer" else (MADE[1], MADE[0])
                log.made(2, frames, kept)
            elif expected.kind == "end":
                self._dealt(log, role, self.signature())
                log.end(WEIGHTS, {}, kept, files=dict.fromkeys(FILES[role], "f" * 64))


def _commitment(experiment: Experiment) -> DataCommitment:
    sizes = {name: getattr(experiment.data, name) for name in ("members", "external", "unseen")}
    sets = {name: {"size": n, "root": "0" * 64, "keys": n, "index": "0" * 64} for name, n in sizes.items()}
    return DataCommitment.model_validate({**sets, "salt": "0" * 64})
