"""A secure run of three roles in one process (`host.in_process`), with hooks that only tests need."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from amint_mpc import identity
from amint_mpc.config import ROLES, Evidence, Experiment
from amint_mpc.events import Event
from amint_mpc.host import in_process
from amint_mpc.mpc import DEVELOPER
from amint_mpc.mpc.correlations.base import Plan
from amint_mpc.mpc.correlations.supply import BlockChain, Supply
from amint_mpc.results import Summary
from amint_mpc.roles.heads import head_kind
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

    summaries: Mapping[str, Summary] = field(default_factory=dict)
    events: dict[str, list[Event]] = field(default_factory=lambda: {"developer": [], "auditor": []})
    folders: Mapping[str, Path] = field(default_factory=dict)
    supplies: dict[str, Noted] = field(default_factory=dict)
    blocks: int = 0


def secure_run(
    experiment: Experiment,
    root: Path,
    first: Mapping[str, Tensor],
    wrap: Callable[[Any], Any] = lambda head: head,
    logged: bool = False,
) -> Secure:
    """`run_in_process` in `root`.

    Args:
        first: the auditor's first weights by name, so that a twin can start from them, too.
        wrap: is given the developer's head and gives what its trainer gets.
        logged: both keep the log, with keys that stay in `root`/keys; else as if the experiment wanted none.
    """
    if not logged:
        experiment = experiment.model_copy(update={"evidence": Evidence(log=False)})
    found = Secure()

    @contextmanager
    def kept_keys() -> Iterator[Path]:
        keys = root / "keys"
        identity.create_for_one_machine({role: keys / role for role in ROLES})
        yield keys

    def noted(stream: Any, party: int, *source: Any) -> Noted:
        supply = Noted(stream, party, *source)
        found.supplies["developer" if party == DEVELOPER else "auditor"] = supply
        return supply

    def counted(*args: Any) -> BlockChain:
        chain = serve(*args)
        found.blocks = chain.blocks
        return chain

    received, serve = in_process.receive_head, in_process.serve
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(in_process, "throw_away_keys", kept_keys)
        patch.setattr(in_process, "receive_head", lambda *args: wrap(received(*args)))
        patch.setattr(in_process, "serve", counted)
        patch.setattr(in_process, "Supply", noted)
        patch.setattr(type(head_kind(experiment)), "first_weights", lambda *_: dict(first))
        run = in_process.run_in_process(
            experiment, root, device=DEVICE, on_event=lambda role, event: found.events[role].append(event)
        )
    found.summaries, found.folders = {"developer": run.developer, "auditor": run.auditor}, run.folders
    return found
