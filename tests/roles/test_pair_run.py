"""A run without a dealer: the two parties make their masks ahead, on links of their own, and the log binds them.

What makes a plan is a double that protects nothing (`tests.mpc.pair.insecure_maker`); all around it is the product's.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from amint_mpc import identity
from amint_mpc.afterwards import parties
from amint_mpc.afterwards.replay import last_step, replay
from amint_mpc.config import PARTIES, Address, Experiment, Party, load_experiment
from amint_mpc.errors import EvidenceError, PeerError, ProtocolError, UsageError
from amint_mpc.events import Event, Notice, StepEvent
from amint_mpc.evidence.verify import compare_logs, verify
from amint_mpc.host.in_process import run_in_process
from amint_mpc.host.processes import free_ports
from amint_mpc.mpc import AUDITOR
from amint_mpc.mpc.correlations.base import Plan
from amint_mpc.mpc.pair.terms import terms
from amint_mpc.mpc.rlwe import parameters
from amint_mpc.results import Summary
from amint_mpc.roles import auditor, developer
from amint_mpc.roles.backends import pair
from amint_mpc.roles.heads import check_experiment
from amint_mpc.runfolder import RunFolder
from amint_mpc.runlog.expected import ExpectedEntries
from amint_mpc.runlog.kept_frames import FOLDER, MASKS
from amint_mpc.transport.channel import FramedChannel
from tests.mpc.native_only import native_only
from tests.mpc.pair.insecure_maker import Double

pytestmark = native_only
TINY = [
    *("data.members=48", "data.external=48", "data.unseen=40", "training.batch=24", "model.width=2", "head.hidden=2"),
    *("training.epochs=3", "training.evaluate_every=1", "training.sealed_epochs=1"),
]


class Failing(Double):
    """Meets something wrong in plan 4, at the auditor."""

    def make(self, number: int, plan: Plan) -> Any:
        if number == 4 and self._party == AUDITOR:
            raise ProtocolError("a made-up refusal", "Say so")
        return super().make(number, plan)


@pytest.fixture(autouse=True)
def _double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(pair, "PairMaker", Double)
    torch.set_num_threads(1)
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("masks ")]


def experiment(*more: str) -> Experiment:
    return load_experiment("smoke", [*TINY, *more])


class Pair:
    """Developer and auditor over TLS on this machine, each in a thread."""

    def __init__(self, folder: Path, agreed: Experiment, **settings: dict[str, Any]) -> None:
        self.folder, self.agreed = folder, agreed
        self.events: dict[str, list[Event]] = {role: [] for role in PARTIES}
        if not (folder / "keys").exists():
            identity.create_for_one_machine({role: folder / "keys" / role for role in PARTIES})
        port = free_ports(1)[0]
        at = {"developer": {"auditor": Address(port=port)}, "auditor": {"listen": Address(port=port)}}
        self.parties = {
            role: Party(role=role, keys=folder / "keys" / role, device="cpu", **at[role], **settings.get(role, {}))
            for role in PARTIES
        }

    def each(self, work: dict[str, Callable[[Party], Any]]) -> tuple[Any, Any]:
        """What each returned, or raised."""

        def one(role: str) -> Any:
            try:
                return work[role](self.parties[role])
            except BaseException as error:
                return error

        with ThreadPoolExecutor(2) as pool:
            found = [pool.submit(one, role) for role in PARTIES]
            return found[0].result(90), found[1].result(90)

    def run(self) -> tuple[Any, Any]:
        def part(module: Any, role: Any) -> Callable[[Party], Summary]:
            def work(party: Party) -> Any:
                with RunFolder.create(self.folder, self.agreed, role, role) as place:
                    return module.run(self.agreed, party, place, self.events[role].append)

            return work

        return self.each({"developer": part(developer, "developer"), "auditor": part(auditor, "auditor")})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    made = Pair(tmp_path_factory.mktemp("pair"), experiment("evidence.replay=true"), developer={"generator_threads": 5})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair, "PairMaker", Double)
        for result in made.run():
            assert isinstance(result, Summary), result
    return made


def test_both_logs_bind_what_the_masks_were_made_with(finished: Pair) -> None:
    folders = [finished.folder / role for role in PARTIES]
    compare_logs(*folders)
    for folder in folders:
        found = verify(folder, ExpectedEntries).log
        assert (found.version, found.begin["dealer"], found.dealt) == (3, None, None)
        assert found.made is not None
        assert found.made["links"] == 2  # the fewer threads of the two
        assert found.made["frames"]["developer"] != found.made["frames"]["auditor"]


def test_a_step_says_how_far_ahead_the_masks_are(finished: Pair) -> None:
    for role in PARTIES:
        steps = [event for event in finished.events[role] if isinstance(event, StepEvent) and event.phase != "warm-up"]
        assert steps[-1].ahead is not None
        assert any(event.ahead for event in steps)


def test_the_steps_can_be_done_again_with_the_masks_that_were_kept(finished: Pair, tmp_path: Path) -> None:
    run = finished.folder / "developer"
    found = replay(run, None, 0, last_step(run))
    assert found.exact
    assert found.frames_matched
    assert found.assumes == "the masks that the developer kept are those that the two parties made"


@pytest.mark.parametrize("at", [0.0, 0.5, 1.0])
def test_other_masks_are_not_those_of_the_log(finished: Pair, at: float) -> None:
    run = finished.folder / "developer"
    file = run / FOLDER / MASKS
    kept = file.read_bytes()
    changed = bytearray(kept)
    changed[int(at * (len(kept) - 1))] ^= 1
    try:
        for data, said in (
            (bytes(changed), "does not hold the masks"),
            (kept[:-1], "ends too early"),
            (kept + b"0", "more than"),
        ):
            file.write_bytes(data)
            with pytest.raises(EvidenceError, match=said):
                replay(run, None, 0, 1)
    finally:
        file.write_bytes(kept)


def test_a_query_makes_masks_of_its_own(finished: Pair) -> None:
    images = torch.randint(0, 256, (5, 1, 28, 28), dtype=torch.uint8)
    again = Pair(finished.folder, finished.agreed)
    quiet: Any = lambda *_: None  # noqa: E731
    answered, asked = again.each(
        {
            "developer": lambda party: parties.developer(again.folder / "developer", party, 10, quiet, quiet),
            "auditor": lambda party: parties.auditor(again.folder / "auditor", party, images, 2, quiet, quiet),
        }
    )
    assert answered == 7, answered
    result, _ = asked
    assert (result.canaries, len(result.scores)) == (2, 5)
    backbone = finished.folder / "developer" / "backbone.safetensors"
    plain = parties.plaintext_scores(finished.agreed, finished.folder / "auditor", backbone, images)
    assert torch.allclose(result.scores, plain, atol=0.01)


def test_an_error_in_a_thread_of_masks_ends_both_parties(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair, "PairMaker", Failing)
    developers, auditors = Pair(tmp_path, experiment("training.sealed_epochs=0")).run()
    assert str(auditors).startswith("a made-up refusal")
    assert isinstance(auditors, ProtocolError)
    assert isinstance(developers, PeerError)
    assert developers.peer == "auditor"
    assert developers.reason == "protocol"


def test_a_party_with_another_link_in_its_experiment_is_refused(tmp_path: Path) -> None:
    two = Pair(tmp_path, experiment("security.link=wan"))
    there = experiment()

    def other(party: Party) -> Any:
        with RunFolder.create(tmp_path, there, "developer", "developer") as place:
            return developer.run(there, party, place, lambda _: None)

    def auditors(party: Party) -> Any:
        with RunFolder.create(tmp_path, two.agreed, "auditor", "auditor") as place:
            return auditor.run(two.agreed, party, place, lambda _: None)

    for error in two.each({"developer": other, "auditor": auditors}):
        assert isinstance(error, PeerError)
        assert "security.link" in str(error)


def test_other_parameters_of_the_masks_are_named_at_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of another build of the same version: the flood, and something that this one does not know."""
    made: list[dict[str, Any]] = []

    def one_has_others(link: str) -> dict[str, Any]:
        made.append(terms(link) | ({"RLWE flood bits": 3, "more": [1]} if made else {}))
        return made[-1]

    flood = str(parameters.FLOOD_BITS)
    monkeypatch.setattr(pair, "terms", one_has_others)
    errors = [str(error) for error in Pair(tmp_path, experiment("training.sealed_epochs=0")).run()]
    for here, there in ((flood, "3"), ("3", flood)):
        (error,) = (error for error in errors if f"RLWE flood bits: here {here}, " in error)
        assert re.search(
            rf"the parameters of the masks differ: RLWE flood bits: here {here}, \w+ {there}; more: ", error
        )


@pytest.mark.parametrize("said", [{"threads": 0}, {"threads": True}, {"threads": "2"}, {}, [2], None])
def test_a_peer_without_threads_is_refused(said: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    send = FramedChannel.send_json

    def lie(channel: FramedChannel, tag: str, value: Any) -> None:
        lies = (tag, channel.peer) == (pair.TERMS, "auditor") and value != "agreed"
        send(channel, tag, said if lies else value)

    monkeypatch.setattr(FramedChannel, "send_json", lie)
    developers, auditors = Pair(tmp_path, experiment("training.sealed_epochs=0")).run()
    assert isinstance(auditors, ProtocolError)
    assert "does not say how many threads" in str(auditors)
    assert isinstance(developers, PeerError)
    assert developers.reason == "protocol"


def test_a_party_without_avx2_is_said_at_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair, "best_kernel", lambda: "portable")
    two = Pair(tmp_path, experiment("training.sealed_epochs=0"))
    two.run()
    for role in PARTIES:
        told = [event.text for event in two.events[role] if isinstance(event, Notice)]
        assert any("instructions: portable here, portable at the" in text for text in told)
        assert len([text for text in told if "has no AVX2" in text]) == 2


def test_a_run_that_is_too_long_for_the_flood_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameters, "DISTANCE", 2.0**-90)
    for error in Pair(tmp_path, experiment()).run():
        assert isinstance(error, UsageError), error
        assert "too long for the masks" in str(error)
        assert "security.correlations to dealer" in error.hint


@pytest.mark.parametrize("settings", [("training.patience=1", "training.learning_rate=1e-6", "training.epochs=9"), ()])
def test_in_one_process(settings: tuple[str, ...], tmp_path: Path) -> None:
    """With an early stop the steps that are left need no masks."""
    run = run_in_process(experiment(*settings), tmp_path / "run", device="cpu")
    for role in PARTIES:
        found = verify(run.folders[role], ExpectedEntries).log
        assert found.made is not None
        assert (found.stopped is not None) == bool(settings)


def test_without_the_functions_in_c_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a peer is asked, and in one process."""
    monkeypatch.setattr(pair, "library", lambda: None)
    for error in Pair(tmp_path, experiment()).run():
        assert isinstance(error, UsageError)
        assert "need the functions in C" in str(error)
    with pytest.raises(UsageError, match="need the functions in C") as caught:
        run_in_process(experiment(), tmp_path / "run", device="cpu")
    assert "security.correlations to dealer" in caught.value.hint


def test_what_needs_a_dealer_says_so() -> None:
    settings, what = ["head.optimizer=novograd", "head.learning_rate=0.05"], "head.optimizer novograd"
    with pytest.raises(UsageError, match=f"{what} needs masks that only a dealer makes") as caught:
        check_experiment(experiment("training.sealed_epochs=0", *settings))
    assert "security.correlations to dealer" in caught.value.hint
    check_experiment(experiment("training.sealed_epochs=0", "security.correlations=dealer", *settings))
