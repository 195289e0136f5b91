"""A whole secure run of three roles in one process: memory links, a dealer that deals, no sockets and no keys."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from amint_mpc import identity
from amint_mpc.config import Evidence, Experiment, Party, Role
from amint_mpc.events import Event
from amint_mpc.evidence import software_digests
from amint_mpc.evidence.session import AgreedSession
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.base import Plan
from amint_mpc.mpc.correlations.prg import SEED_BYTES, SecretStream
from amint_mpc.mpc.correlations.supply import Supply, serve
from amint_mpc.roles import auditor, developer, stopping
from amint_mpc.roles.heads import head_kind
from amint_mpc.roles.secure_head import SecureMintHead, plans
from amint_mpc.runfolder import RunFolder
from amint_mpc.runlog.interface import NullRunLog, RunLog
from amint_mpc.runlog.recorder import keep_log
from amint_mpc.transport.channel import Channel, memory_pair
from tests.device import DEVICE


class Noted(Supply):
    """Keeps which steps were taken and which were passed over."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.taken: list[int] = []
        self.skipped: list[int] = []

    def take(self, step: int, plan: Plan) -> Any:
        self.taken.append(step)
        return super().take(step, plan)

    def skip(self, step: int, plan: Plan) -> None:
        self.skipped.append(step)
        super().skip(step, plan)


@dataclass
class Secure:
    """What the parties returned, told and stored."""

    summaries: dict[str, Any] = field(default_factory=dict)
    events: dict[str, list[Event]] = field(default_factory=lambda: {"developer": [], "auditor": []})
    folders: dict[str, Path] = field(default_factory=dict)
    supplies: dict[str, Noted] = field(default_factory=dict)
    blocks: int = 0


def secure_run(
    experiment: Experiment,
    root: Path,
    first: Mapping[str, Tensor],
    wrap: Callable[[Any], Any] = lambda head: head,
    logged: bool = False,
) -> Secure:
    """`roles.developer.run`, `roles.auditor.run` once connected, and the dealer's `serve`, as three threads.

    Args:
        first: the auditor's first weights by name, so that a twin can start from them, too.
        wrap: is given the developer's head and gives what its trainer gets.
        logged: both keep the log, with keys in `root`/keys; else as if the experiment wanted none.
    """
    keys: dict[Role, Path] = {"developer": root / "keys" / "developer", "auditor": root / "keys" / "auditor"}
    number = os.urandom(32)
    if logged:
        identity.create_for_one_machine(keys)
    else:
        experiment = experiment.model_copy(update={"evidence": Evidence(log=False)})
    found, kind = Secure(), head_kind(experiment)
    to_auditor, to_developer = memory_pair()
    from_dealer, dealers_end = memory_pair("developer", "dealer", prefetch_bytes=1 << 22)
    seeds = os.urandom(SEED_BYTES), os.urandom(SEED_BYTES)

    def stream(party: int) -> SecretStream:
        return SecretStream(seeds[party], "test")

    found.supplies = {
        "developer": Noted(stream(DEVELOPER), DEVELOPER, from_dealer),
        "auditor": Noted(stream(AUDITOR), AUDITOR),
    }

    @contextmanager
    def run_log(role: Role, peer: Role, channel: Channel, folder: RunFolder, data: Any = None) -> Iterator[RunLog]:
        if not logged:
            yield NullRunLog(channel)
            return
        software = dict.fromkeys((role, peer), software_digests.software())
        session, own = AgreedSession(number, peer, software), identity.load(keys[role], role)
        with keep_log(experiment, own, keys[role], session, channel, folder, data) as found:
            yield found

    @contextmanager
    def joined(*args: Any) -> Iterator[Any]:
        with run_log("developer", "auditor", to_auditor, *args[3:]) as own:
            head = kind.secure(own.channel, DEVELOPER, found.supplies["developer"])
            head.share_weights(None, None)
            stopper = stopping.developers(head, to_auditor, experiment, lambda _: None)
            yield wrap(SecureMintHead(head, to_auditor, experiment, stopper, own))

    def developers() -> Any:
        with RunFolder.create(root, experiment, "developer", "developer") as folder:
            found.folders["developer"] = folder.path
            party = Party(role="developer", device=DEVICE)
            return developer.run(experiment, party, folder, found.events["developer"].append)

    def auditors() -> Any:
        with RunFolder.create(root, experiment, "auditor", "auditor") as folder:
            found.folders["auditor"] = folder.path
            told = found.events["auditor"].append
            with run_log("auditor", "developer", to_developer, folder) as own:
                head = kind.secure(own.channel, AUDITOR, found.supplies["auditor"])
                return auditor.take_part(experiment, folder, told, to_developer, head, own)

    def dealers() -> Any:
        found.blocks = serve(dealers_end, (stream(DEVELOPER), stream(AUDITOR)), plans(experiment))

    def one(body: Callable[[], Any]) -> Any:
        try:
            return body()
        except BaseException:
            for channel in (to_auditor, to_developer, dealers_end):
                channel.abort("failed")
            raise

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(developer, "joined", joined)
        patch.setattr(type(kind), "first_weights", lambda *_: dict(first))
        with ThreadPoolExecutor(3) as pool:
            futures = {
                name: pool.submit(one, body) for name, body in zip("dar", (developers, auditors, dealers), strict=True)
            }
        found.summaries = {"developer": futures["d"].result(), "auditor": futures["a"].result()}
        futures["r"].result()
    for channel in (to_auditor, to_developer, from_dealer, dealers_end):
        channel.close()
    return found
