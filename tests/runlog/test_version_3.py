"""The entry of version 3 of the log: masks that the two parties made, and everything wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from amint_mpc.errors import AmintError
from amint_mpc.evidence.export import export
from amint_mpc.runlog.interface import RunLog
from amint_mpc.runlog.recorder import LogRecorder
from tests.evidence.bundles import Bundle, deep, flipped
from tests.runlog import both_logs
from tests.runlog.both_logs import SEALED, SMALL, BothLogs

PAIR = "security.correlations=two-party"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> BothLogs:
    return BothLogs(tmp_path_factory.mktemp("both"), [*SEALED, PAIR, "evidence.replay=true"], dealer=False)


@pytest.fixture
def made(written: BothLogs, tmp_path: Path) -> Bundle:
    """The auditor's evidence, to be changed."""
    export(written.root / "auditor", tmp_path / "copy")
    return Bundle(tmp_path / "copy", written.keys)


def test_it_stands_right_before_the_end(written: BothLogs) -> None:
    bundle = written.folders["auditor"]
    assert [entry["kind"] for entry in bundle.entries][-4:] == ["score", "made", "end", "signed"]
    found = bundle.verify().log
    assert found.made is not None
    assert found.made["kept"] == both_logs.KEPT  # the developer's word


def test_parties_that_saw_other_frames_do_not_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(both_logs, "MADE", ("a" * 64, "a" * 64))
    BothLogs(tmp_path / "alike", [*SMALL, PAIR], dealer=False)
    told = iter([("a" * 64, "b" * 64), ("c" * 64, "a" * 64)])

    def other(log: RunLog, links: int, frames: tuple[str, str], kept: str | None) -> None:
        made(log, links, next(told), kept)

    made = LogRecorder.made
    monkeypatch.setattr(LogRecorder, "made", other)
    with pytest.raises(AmintError, match="the logs differ"):
        BothLogs(tmp_path / "different", [*SMALL, PAIR], dealer=False)


def test_with_a_dealer_there_is_none(tmp_path: Path) -> None:
    def wrong(log: RunLog, *_: Any) -> None:
        log.made(2, ("a" * 64, "b" * 64), None)

    with pytest.raises(ValueError, match="a dealer makes the masks of this experiment"):
        BothLogs(tmp_path, SMALL, dealt=wrong)


CHANGED: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "no links": ("links", lambda _: 0, "made: links is not as"),
    "other frames": ("frames.auditor", lambda x: x + "0", "made: frames.auditor is not as"),
    "no frames": ("frames", lambda _: None, "made: frames is not as"),
    "a key more": ("frames", lambda x: {**x, "dealer": "0" * 64}, "made: frames.dealer is not as"),
    "no digest": ("kept", lambda _: "all", "made: kept is not as"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_changed_value_is_found_though_both_have_signed_it(name: str, made: Bundle) -> None:
    field, change, said = CHANGED[name]
    made.edit(made.at("made"), lambda entry: deep(entry, field, change))
    made.resign("developer", "auditor")
    made.refused(said)


def test_a_digest_that_one_changes_is_found_by_the_signatures(made: Bundle) -> None:
    made.edit(made.at("made"), lambda entry: deep(entry, "frames.developer", flipped))
    made.rechain()
    made.refused("the signed head of the end: what was signed is not the log before it")


def test_a_missing_entry(made: Bundle) -> None:
    at = made.at("made")
    made.lines = made.lines[:at] + made.lines[at + 1 :]
    made.resign("developer", "auditor")
    made.refused(f"entry {at}, should be what the two parties made")


def test_a_log_of_version_2_has_none(made: Bundle) -> None:
    """Of that time are runs whose head was under SPU."""
    made.edit(0, lambda entry: entry.update(version=2))
    made.resign("developer", "auditor")
    made.refused("is of the unknown kind 'made'")
    at = made.at("made")
    made.lines = made.lines[:at] + made.lines[at + 1 :]
    made.resign("developer", "auditor")
    assert made.verify().log.made is None
