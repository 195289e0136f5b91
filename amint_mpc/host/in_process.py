"""All parties in one process: for studies and teaching. IT PROTECTS NOTHING.

Developer, auditor and, where there is one, the dealer are threads of one program, joined by memory channels: no
sockets, no party files, no keys to make. They exchange the messages of a secure run and compute what it computes, so
figures, rounds and bytes are those of a secure run; but whoever runs the program can read every image, share, mask and
weight in it.

1. Memory links: developer and auditor, and those that masks come on: from the dealer, whose seeds are handed out
   beforehand, or between the threads of both parties that make them.
2. Each party does its part, as it would on a machine of its own: `roles.developer.take_part`, `roles.auditor.take_part`
   and the dealer's `serve`.
3. Where the experiment keeps a log, both sign it with keys that were made for this run and are deleted at its end.

Guarantees
    The first error of a party, of `on_event` or of the user (Ctrl-C) ends all of them, and is the one that is raised.
    Each file of the run folders says that the run was made in one process; the evidence by itself does not.

Edge cases
    A log that is kept here shows which steps were taken and that no file was changed since. It does not show who
    took them: one program held both keys.
    Two runs at once share torch's generator: where a backbone has dropout, their results are not reproducible.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from amint_mpc import identity
from amint_mpc.amint.audit import Audit
from amint_mpc.config import PARTIES, ROLES, Experiment, Party, Role
from amint_mpc.errors import PeerError, UsageError
from amint_mpc.eventlines import epoch_line
from amint_mpc.events import EpochEvent, Event, Notice
from amint_mpc.evidence import software_digests
from amint_mpc.evidence.commitments import DataCommitment
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.checking import blocks, dealt
from amint_mpc.mpc.correlations.prg import SecretStream
from amint_mpc.mpc.correlations.supply import BlockChain, Supply, serve
from amint_mpc.printable import shown
from amint_mpc.results import Figure, Summary, figures_table
from amint_mpc.roles import auditor, coin, developer, seeds
from amint_mpc.roles.backends import Backing, at_work
from amint_mpc.roles.developer import keep_frames, receive_head
from amint_mpc.roles.handshake import handshake
from amint_mpc.roles.heads import check_experiment, head_kind, shared_head
from amint_mpc.roles.masks import Dealt
from amint_mpc.roles.plans import stretches_of
from amint_mpc.roles.secure_head import SecureMintHead
from amint_mpc.roles.seeds import DEALT, both_seeds
from amint_mpc.runfolder import RunFolder, make_new_folder
from amint_mpc.runlog.interface import RunLog
from amint_mpc.runlog.kept_frames import KeptFrames
from amint_mpc.runlog.recorder import keep_log
from amint_mpc.transport.channel import Channel, abort_code, memory_pair

IN_PROCESS = (
    "IN ONE PROCESS: all parties were threads of one program, which could read everything. "
    "Nothing was protected from whoever ran it"
)
OnEvent = Callable[[str, Event], None]
"""Is told a party's role and what it says; one call at a time."""


@dataclass(frozen=True)
class InProcessRun:
    """A finished run in one process, which protected nothing; see `run_in_process`.

    Args:
        folder: the run folders of both parties lie in it; folders: they, by role.
        developer, auditor: summary of each, as in its summary.json.
        scores: membership probabilities of the five sets (`amint_mpc.data.SETS`), float64 [count] each: the auditor's.
    """

    experiment: Experiment = field(repr=False)
    folder: Path
    folders: Mapping[str, Path]
    developer: Summary = field(repr=False)
    auditor: Summary = field(repr=False)
    scores: Mapping[str, Tensor] = field(repr=False)
    note: str = IN_PROCESS

    @property
    def figures(self) -> dict[str, Figure]:
        """The auditor's figures of membership and the developer's of the task, each with its 95 % interval."""
        return {**self.auditor.figures, "task_accuracy": self.developer.figures["task_accuracy"]}

    def _repr_html_(self) -> str:
        return figures_table(self.figures, (self.note,))


def run_in_process(
    experiment: Experiment,
    folder: Path | str | None = None,
    *,
    data: Path | str | None = None,
    device: str = "auto",
    on_event: OnEvent | None = None,
    progress: bool = False,
    loop: Callable[[Audit], object] | None = None,
) -> InProcessRun:
    """All parties in this process: the whole secure computation, and NO PROTECTION from its user.

    For studies and teaching. A run that protects anybody has each party on a machine of its own (`amint-mpc run`).

    Args:
        experiment: with `security.correlations: two-party` or `dealer`.
        folder: where the folders `developer` and `auditor` go; None: a new one under runs/.
        data: the developer's folder of images; data sets that come with a package need none.
        device: of the classifier.
        on_event: told each event of developer and auditor, in their threads.
        progress: print a line an epoch.
        loop: a training loop of one's own, which is given the `Audit` that `amint_mpc.join` would give it.

    Raises:
        UsageError: the experiment gives up a security claim, is for a loop of one's own and has none, or does not fit;
            or the folder is taken.
        AmintError: as a run of three processes would, from the party that met it first.
    """
    check_experiment(experiment)
    if experiment.insecure:
        raise UsageError(
            "an in-process run computes what a secure run does, and this experiment gives up a security claim",
            "Set security.correlations to two-party or dealer",
        )
    home = make_new_folder(f"{experiment.name}-in-process") if folder is None else Path(folder)
    folders: dict[str, Path] = {role: home / role for role in PARTIES}
    try:
        taken = [str(path) for path in folders.values() if path.exists()]
    except (OSError, ValueError) as error:  # a name that no folder can have
        raise UsageError(f"cannot use the folder {shown(str(folder))}: {error}", "Give another folder") from None
    if taken:
        raise UsageError(f"{taken[0]} exists already", "Give another folder; a run never writes over another")
    party = Party(role="developer", data=None if data is None else Path(data), device=device)
    with throw_away_keys() as keys:
        found = _Run(experiment, home, party, keys, on_event, progress, loop).to_its_end()
    scores = load_file(folders["auditor"] / "scores.safetensors")
    return InProcessRun(experiment, home, folders, found["developer"], found["auditor"], scores)


@contextmanager
def throw_away_keys() -> Iterator[Path]:
    """A folder with a folder of keys for each role, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="amint-mpc-keys-") as made:
        folder = Path(made)
        identity.create_for_one_machine({role: folder / role for role in ROLES})
        yield folder


class _Run:
    """One run: its links, and what each party does with them.

    Args:
        home: of the run folders. party: the developer's settings. keys: with a folder of keys for each role.
    """

    def __init__(
        self,
        experiment: Experiment,
        home: Path,
        party: Party,
        keys: Path,
        on_event: OnEvent | None,
        progress: bool,
        loop: Callable[[Audit], object] | None = None,
    ) -> None:
        self._loop = loop
        self._experiment, self._home, self._party, self._keys = experiment, home, party, keys
        self._on_event, self._progress = on_event, progress
        self._software = software_digests.software()  # both are found out before two threads would do it
        head_kind(experiment)
        # Nobody is lost inside a process: waits have no limit, and an error aborts every link.
        ahead = int(party.dealer_memory_mb * 2**20)
        self._to_auditor, self._to_developer = memory_pair(idle_timeout_s=None)
        self._from_dealer, self._dealers = memory_pair("developer", "dealer", idle_timeout_s=None, prefetch_bytes=ahead)
        self._auditors_dealer, self._dealers_auditor = memory_pair("auditor", "dealer", idle_timeout_s=None)
        threads = party.generator_threads if experiment.two_party else 0
        self._for_masks = [memory_pair(idle_timeout_s=None) for _ in range(threads)]
        self._ends = (
            *(self._to_auditor, self._to_developer, self._from_dealer),
            *(self._dealers, self._auditors_dealer, self._dealers_auditor),
            *(end for pair in self._for_masks for end in pair),
        )
        self._seeds, self._coin = both_seeds(), os.urandom(coin.SIZE)  # both parties are here: nothing to be tossed
        self._session, self._dealer_certificate = (
            seeds.new_session(self._seeds),
            identity.trusted(keys / "developer", "dealer"),
        )
        self._failed: list[BaseException] = []
        self._failing, self._telling = threading.Lock(), threading.Lock()

    def to_its_end(self) -> dict[Role, Any]:
        """What each party returned; or the first error."""
        bodies: dict[Role, Callable[[], Any]] = {
            "developer": self._developer,
            "auditor": self._auditor,
            "dealer": self._dealer,
        }
        bodies = {role: bodies[role] for role in self._experiment.roles}
        try:
            with ThreadPoolExecutor(len(bodies), "party") as pool:
                parts = {role: pool.submit(self._unless_it_fails, body) for role, body in bodies.items()}
                try:
                    wait(parts.values())
                except BaseException as error:  # Ctrl-C
                    self._fail(error)
                    raise
        finally:
            for end in self._ends:
                end.close()
        if self._failed:
            raise self._failed[0]
        return {role: part.result() for role, part in parts.items()}

    def _unless_it_fails(self, body: Callable[[], Any]) -> Any:
        try:
            return body()
        except BaseException as error:
            self._fail(error)
            raise

    def _fail(self, error: BaseException) -> None:
        """End the others, who wait at their links or will come to them."""
        with self._failing:
            self._failed.append(error)
        for end in self._ends:
            end.abort(abort_code(error))

    def _developer(self) -> Summary:
        experiment, party = self._experiment, self._party
        with self._folder("developer") as folder:
            on_event = self._told("developer", folder)
            if self._loop is not None:
                connect = partial(self._developers_head, folder, on_event)
                with developer.audited(experiment, party, folder, on_event, connect) as audit:
                    self._loop(audit)
                return Summary.model_validate_json((folder.path / "summary.json").read_bytes())
            images, committed = developer.prepare(experiment, party, folder, on_event)
            with (
                keep_frames(experiment, folder) as kept,
                self._developers_head(folder, on_event, committed, kept) as head,
            ):
                return developer.take_part(experiment, party, folder, on_event, images, head, kept)

    @contextmanager
    def _developers_head(
        self,
        folder: RunFolder,
        on_event: Callable[[Event], None],
        committed: DataCommitment | None,
        kept: KeptFrames | None,
    ) -> Iterator[SecureMintHead]:
        experiment, link = self._experiment, self._to_auditor
        with (
            self._masks(DEVELOPER, kept) as backing,
            self._log("developer", "auditor", link, folder, committed) as log,
        ):
            made = backing.make_head(log.channel if kept is None else kept.link(log.channel))
            yield receive_head(made, link, experiment, lambda text: on_event(Notice(text)), log, self._coin, backing)

    def _auditor(self) -> Summary:
        experiment, link = self._experiment, self._to_developer
        with (
            self._folder("auditor") as folder,
            self._masks(AUDITOR, None) as backing,
            self._log("auditor", "developer", link, folder) as log,
        ):
            on_event = self._told("auditor", folder)
            head = backing.make_head(log.channel)
            return auditor.take_part(experiment, folder, on_event, link, head, log, self._coin, backing)

    @contextmanager
    def _masks(self, party: int, kept: KeptFrames | None) -> Iterator[Backing]:
        """Where the masks of a party come from, as in a run of processes."""
        experiment = self._experiment
        if experiment.two_party:
            with at_work(experiment, party, [pair[party] for pair in self._for_masks], self._party, kept) as backing:
                yield backing
            return
        order = blocks(stretches_of(experiment), self._coin)
        if party == DEVELOPER:
            if kept is not None:
                kept.seed(self._seeds[DEVELOPER])
            source = self._from_dealer if kept is None else kept.source(self._from_dealer)
            supply = Supply(self._stream(DEVELOPER), DEVELOPER, source, order, self._to_auditor)
            finish = self._signed_off(self._from_dealer, supply)
        else:
            supply = Supply(self._stream(AUDITOR), AUDITOR, None, order, self._to_developer)
            finish = self._signed_off(self._auditors_dealer, supply)
        yield Backing(lambda channel: shared_head(experiment, channel, party, supply), finish=finish)

    def _dealer(self) -> BlockChain:
        plans = dealt(stretches_of(self._experiment))
        chain = serve(self._dealers, (self._stream(DEVELOPER), self._stream(AUDITOR)), plans)
        own, links = identity.load(self._keys / "dealer", "dealer"), (self._dealers, self._dealers_auditor)
        seeds.sign_off(own, self._experiment, self._session, chain, links)
        return chain

    def _signed_off(self, link: Channel, supply: Supply) -> Callable[[], Dealt]:
        """What a party calls after its last step."""
        return lambda: seeds.receive_sign_off(link, self._experiment, self._session, self._dealer_certificate, supply)

    def _stream(self, party: int) -> SecretStream:
        return SecretStream(self._seeds[party], DEALT)

    def _folder(self, role: Role) -> RunFolder:
        return RunFolder.create(self._home, self._experiment, role, role, {"in_process": IN_PROCESS})

    def _log(
        self, role: Role, peer: Role, link: Channel, folder: RunFolder | None, data: DataCommitment | None = None
    ) -> AbstractContextManager[RunLog]:
        session, keys = handshake(link, role, peer, self._experiment, self._software), self._keys / role
        dealt = "dealer" in self._experiment.roles
        dealer = seeds.named(self._session, self._dealer_certificate) if dealt else None
        return keep_log(
            self._experiment, identity.load(keys, role), keys, session, link, folder, data, dealer, self._coin
        )

    def _told(self, role: Role, folder: RunFolder) -> Callable[[Event], None]:
        """What a party's events go to: its folder, the caller, the screen."""

        def on_event(event: Event) -> None:
            if self._failed:  # a party that computes alone, as in the warm-up, would notice much later
                raise PeerError("another party of this process has ended")
            folder.record(event)
            with self._telling:
                if self._progress and isinstance(event, EpochEvent):
                    print(f"{role}: {epoch_line(event)}")
                if self._on_event is not None:
                    self._on_event(role, event)

        return on_event
