"""A private query leaves its trace before anything is opened, and its frames are bound to the log that both sign."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from amint_mpc.afterwards import canaries, query
from amint_mpc.afterwards.common import QuerySide
from amint_mpc.errors import AmintError, PeerError, ProtocolError, UsageError
from amint_mpc.evidence.files import LOG
from amint_mpc.random_order import drawn
from amint_mpc.runlog.countersigning import SIGNED
from amint_mpc.transport.channel import Channel, FramedChannel, memory_pair
from tests.afterwards.pair import Pair, mixed

Change = Callable[[str, int, list[Tensor]], object]


class Between:
    """The developer's end of the link, with something between the two programs.

    Args:
        received, sent: are given the tag, how many frames of tensors came before, and the tensors, which they change.
    """

    def __init__(self, link: FramedChannel, received: Change | None = None, sent: Change | None = None) -> None:
        self._link, self._received, self._sent = link, received, sent
        self.tags: list[str] = []
        self._frames = [0, 0]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)

    def receive(self, tag: str, step: int, *specs: Any) -> list[Tensor]:
        found = self._link.receive(tag, step, *specs)
        if self._received is not None:
            self._received(tag, self._frames[0], found)
        self._frames[0] += 1
        return found

    def send(self, tag: str, step: int, *tensors: Tensor) -> None:
        self.tags.append(tag)
        changed = [tensor.clone() for tensor in tensors]
        if self._sent is not None:
            self._sent(tag, self._frames[1], changed)
        self._frames[1] += 1
        self._link.send(tag, step, *changed)


def kinds(pair: Pair) -> list[list[str]]:
    """Of what each party's log has after the run."""
    return [[entry["kind"] for entry in bundle.entries[19:]] for bundle in pair.folders.values()]


def logs(pair: Pair) -> list[bytes]:
    return [(bundle.path / LOG).read_bytes() for bundle in pair.folders.values()]


def watched(pair: Pair, **more: Any) -> tuple[Callable[[FramedChannel], Between], list[Between]]:
    made: list[Between] = []

    def watch(link: FramedChannel) -> Between:
        made.append(Between(link, **more))
        return made[-1]

    return watch, made


# ---- no member is opened before the query is signed


def test_no_member_is_opened_before_the_query_is_signed(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """An auditor that has the canaries and hangs up has left its query, signed, in both logs."""
    seen: list[Tensor] = []

    def hangs_up(side: QuerySide, link: Channel, positions: list[int]) -> Tensor:
        seen.append(canaries.open_members(side, link, positions))
        assert kinds(pair) == [["query", "signed"]] * 2
        raise AmintError("cut", "")

    monkeypatch.setattr(query, "open_members", hangs_up)
    with pytest.raises(AmintError, match="cut"):
        pair.ask(pair.images.unseen[:1], canaries=10)
    assert len(seen[0]) == 10
    assert kinds(pair) == [["query", "signed"]] * 2
    for bundle in pair.folders.values():
        found = bundle.verify().log
        assert (found.queried, found.answered) == (11, 0)
    opened = pair.folders["developer"].entries[19]["canaries"]
    assert torch.equal(seen[0], pair.images.members[opened])


def test_a_broken_off_query_counts(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: object) -> Tensor:
        raise AmintError("cut", "")

    with monkeypatch.context() as patch:
        patch.setattr(query, "open_members", cut)
        with pytest.raises(AmintError, match="cut"):
            pair.ask(pair.images.unseen[:2], canaries=3)
    with pytest.raises(UsageError, match="of 6 that the experiment allows, 5 are used up"):
        pair.ask(pair.images.unseen[:2], limits=(6, 6))
    pair.ask(pair.images.unseen[:1], limits=(6, 6))


def test_positions_of_the_auditors_choice_are_not_accepted(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, before = QuerySide.write_query, logs(pair)

    def wishes(side: QuerySide, images: int, digest: str, positions: list[int]) -> None:
        honest(side, images, digest, list(range(10)) if side.own.role == "auditor" else positions)

    monkeypatch.setattr(QuerySide, "write_query", wishes)
    watch, made = watched(pair)
    with pytest.raises(ProtocolError, match="the logs differ"):
        pair.ask(pair.images.unseen[:1], canaries=10, watch=watch)
    assert isinstance(pair.answered, ProtocolError)
    assert canaries.CANARIES not in made[0].tags
    assert logs(pair) == before


def test_canaries_and_order_come_from_a_coin(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    tossed: list[bytes] = []
    honest = query.toss

    def noted(*args: Any) -> bytes:
        tossed.append(honest(*args))
        return tossed[-1]

    monkeypatch.setattr(query, "toss", noted)
    for _ in range(2):
        pair.ask(mixed(pair.images), canaries=10)
    assert len(tossed) == 4
    assert len(set(tossed)) == 2, "the same at both, another one each time"
    chosen = [entry["canaries"] for entry in pair.folders["developer"].entries if entry["kind"] == "query"]
    assert chosen == [drawn(secret, "canaries", 48, 10) for secret in dict.fromkeys(tossed)]


def test_other_images_than_those_that_were_logged(pair: Pair) -> None:
    def other(tag: str, _: int, tensors: list[Tensor]) -> None:
        if tag == query.PIXELS:
            tensors[0][0, 0, 0, 0] ^= 1

    watch, made = watched(pair, received=other)
    with pytest.raises(AmintError):
        pair.ask(mixed(pair.images), watch=watch)
    assert isinstance(pair.answered, ProtocolError)
    assert "other images than those that it had named in the log" in pair.answered.message
    assert kinds(pair) == [["query", "signed"]] * 2
    assert canaries.EXTERNAL not in made[0].tags


# ---- the frames of a query are bound to the log


def test_one_changed_bit_in_a_share_of_a_querys_first_round_is_accepted_by_neither(pair: Pair) -> None:
    shares = 0

    def counted(tag: str, _: int, tensors: list[Tensor]) -> None:
        nonlocal shares
        shares += any(tensor.dtype == torch.int64 for tensor in tensors) and tag != SIGNED

    watch, _ = watched(pair, received=counted, sent=counted)
    pair.ask(mixed(pair.images), watch=watch)
    assert shares >= 3
    for which in range(shares):
        left = which

        def flipped(tag: str, _: int, tensors: list[Tensor]) -> None:
            nonlocal left
            share = next((tensor for tensor in tensors if tensor.dtype == torch.int64 and tag != SIGNED), None)
            if share is not None:
                if left == 0:
                    share.view(-1)[0] ^= 1 << 40
                left -= 1

        watch, _ = watched(pair, received=flipped, sent=flipped)
        with pytest.raises(ProtocolError, match=CAUGHT):
            pair.ask(mixed(pair.images), watch=watch)
        assert isinstance(pair.answered, ProtocolError | PeerError)  # of the auditor, which sees it in its logits
        assert re.search(CAUGHT + "|an error of its own", pair.answered.message)
    answered, broken_off = ["query", "signed", "answer", "signed"], ["query", "signed"]
    assert kinds(pair) == [answered + broken_off * shares] * 2
    for bundle in pair.folders.values():
        found = bundle.verify().log
        assert (found.queries, found.answered) == (1 + shares, 1)


@pytest.mark.parametrize("tag", [canaries.CANARIES, canaries.EXTERNAL])
def test_neither_is_a_changed_bit_in_what_the_developer_opens(tag: str, pair: Pair) -> None:
    def flipped(at: str, _: int, tensors: list[Tensor]) -> None:
        if at == tag:
            tensors[0].view(-1)[-1] ^= 1

    watch, _ = watched(pair, sent=flipped)
    with pytest.raises(AmintError):
        pair.ask(mixed(pair.images), canaries=2, watch=watch)
    assert kinds(pair) == [["query", "signed"]] * 2


# ---- canaries


def test_no_number_passes_for_a_canary() -> None:
    """A comparison with NaN is false: it must not be the one that finds what is wrong."""
    good = torch.tensor([0.5, 0.9, 0.1], dtype=torch.float64)
    canaries.check_canaries(good, good)
    for value in (float("nan"), float("inf"), -float("inf"), 2.0, -1.0):
        for place in range(2):
            pair = [good.clone(), good.clone()]
            pair[place][1] = value
            with pytest.raises(ProtocolError, match="1 of 3 canaries do not score as they did"):
                canaries.check_canaries(*pair)


def test_canaries_that_the_head_is_certain_of_are_compared_as_well() -> None:
    sure = torch.tensor([0.0, 1.0, 1 - 1e-16], dtype=torch.float64)
    canaries.check_canaries(sure, sure)
    with pytest.raises(ProtocolError, match="3 of 3 canaries"):
        canaries.check_canaries(sure, torch.tensor([1e-9, 1 - 1e-9, 0.5], dtype=torch.float64))


# ---- old runs, and messages that are none


def test_a_run_of_version_1_can_still_be_queried(pair: Pair) -> None:
    for bundle in pair.folders.values():
        bundle.of_version_1()
    assert len(set(logs(pair))) == 1
    found = pair.ask(mixed(pair.images), canaries=3)
    assert len(found.scores) == 12
    for bundle in pair.folders.values():
        log = bundle.verify().log
        assert (log.begin["version"], log.queries, log.queried, log.answered) == (1, 1, 15, 1)


def test_a_log_of_version_1_may_have_queries_of_both_forms(pair: Pair) -> None:
    old = {"kind": "query", "session": "1" * 64, "images": 5, "digest": "2" * 64, "index": 0, "previous": ""}
    signed = {"kind": "signed", "size": 0, "root": "", "signatures": {}, "index": 0, "previous": ""}
    for bundle in pair.folders.values():
        bundle.of_version_1()
        statement = (bundle.path / "evidence" / "statement.json").read_bytes()
        bundle.entries = [*bundle.entries, old, signed]
        bundle.resign("developer", "auditor")
        (bundle.path / "evidence" / "statement.json").write_bytes(statement)
    pair.ask(mixed(pair.images))
    for bundle in pair.folders.values():
        log = bundle.verify().log
        assert (log.queries, log.queried, log.answered) == (2, 17, 1)


CAUGHT = "is not what the other received|left the range in which the secure head is exact"
ASKED: dict[str, Any] = {"images": 3, "canaries": 1, "digest": "0" * 64}
MALFORMED: dict[str, Any] = {
    "nothing": None,
    "a list": [],
    "no digest": {key: value for key, value in ASKED.items() if key != "digest"},
    "a key more": {**ASKED, "more": 1},
    "a number as text": {**ASKED, "images": "3"},
    "half an image": {**ASKED, "images": 2.5},
    "no image": {**ASKED, "images": 0},
    "fewer canaries than none": {**ASKED, "canaries": -1},
    "huge": {**ASKED, "images": 10**12},
    "a digest with a line break": {**ASKED, "digest": "0" * 63 + "\n"},
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_question_is_refused(name: str, pair: Pair) -> None:
    near, far = memory_pair()
    side, value = pair.side("developer", near, None), MALFORMED[name]
    far.send_json(query.ASK, {**value, "run": side.run_id} if isinstance(value, dict) else value)
    with pytest.raises(ProtocolError, match="a malformed query came"):
        query.answer(side, pair.classifier, pair.prover, 10, lambda _: None)


@pytest.mark.parametrize(
    "value",
    [
        *(None, 7, {}, {"refused": 1}, {"refused": None, "more": ""}, {"refused": "x" * 301}),
    ],
)
def test_a_malformed_reply_is_refused(value: Any, pair: Pair) -> None:
    near, far = memory_pair()
    far.send_json(query.ANSWER, value)
    with pytest.raises(ProtocolError, match="a malformed answer came"):
        query.ask(pair.side("auditor", near, None), mixed(pair.images), pair.head, pair.recorded, 0)


def test_more_canaries_than_a_log_holds_are_refused_before_anything_is_asked(pair: Pair) -> None:
    before = logs(pair)
    with pytest.raises(UsageError, match="49 canaries are asked for, this developer opens 48"):
        pair.ask(pair.images.unseen[:1], canaries=49, opens=1000)
    assert logs(pair) == before


def test_who_is_stopped_before_the_signature_leaves_the_log_as_it_was(pair: Pair, tmp_path: Path) -> None:
    """Nothing is written until both signatures are there: not even a kill leaves half a query."""
    near, far = memory_pair()
    side, before = pair.side("auditor", near, None), logs(pair)
    far.abort("failed")
    with pytest.raises(AmintError):
        side.write_query(3, "0" * 64, [1])
    assert logs(pair) == before
