"""What is printed, in a terminal and in a pipe."""

import io

import pytest
from rich.console import Console

from amint_mpc.cli import figures
from amint_mpc.cli.screen import Progress, Screen
from amint_mpc.events import EpochEvent, Event, Notice, StepEvent
from amint_mpc.results import Figure
from amint_mpc.runfolder import INSECURE

EVENTS: list[Event] = [
    Notice("waiting for the auditor"),
    StepEvent(1, 2, 1, "joint", 0.5, {"task": 0.25}, 0.125, 9, 2_500_000),
    StepEvent(2, 2, 1, "joint", 0.5, {"task": 0.25}, 0.125, 9, 2_500_000),
    EpochEvent(1, 1, "joint", 0.5, {"mint_auc": 0.75}),
]


def printed(terminal: bool, warning: str) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=80, color_system="standard" if terminal else None)
    with Screen(console, ["developer", "auditor"], warning) as screen:
        for event in EVENTS:
            screen.show("developer", event)
    return out.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_shows_steps_time_rounds_and_bytes(terminal: bool) -> None:
    text = printed(terminal, "")
    for part in ("developer", "2/2", "500 ms a step", "9 rounds", "2.5 MB"):
        assert part in text
    assert "INSECURE" not in text
    assert ("\x1b[" in text) == terminal


WARM: list[Event] = [
    StepEvent(1, 2, 1, "warm-up", 0.5),
    StepEvent(2, 2, 1, "warm-up", 0.5),
    EpochEvent(1, 2, "warm-up", 1.0),
    StepEvent(1, 2, 2, "joint", 0.5),
]


@pytest.mark.parametrize("live", [True, False])
def test_the_warm_up_is_counted_by_itself(live: bool) -> None:
    out = io.StringIO()
    with Screen(Console(file=out, force_terminal=live, width=80), ["developer"]) as screen:
        for event in WARM[:3]:
            screen.show("developer", event)
    assert "warm-up 2/2" in out.getvalue()
    assert "epoch 1 of 2" in out.getvalue()


def test_the_epoch_that_is_shown_is_the_one_that_goes_on() -> None:
    progress = Progress("developer")
    for event in WARM:
        progress.take(event)
    assert (progress.counted, progress.story) == ("1/2", "training, epoch 2 of 2")


def test_who_stopped_early_is_told_how_far() -> None:
    out = io.StringIO()
    with Screen(Console(file=out, width=200), ["auditor"]) as screen:
        screen.show("auditor", EpochEvent(1, 9, "joint", 1.0))
        screen.show("auditor", StepEvent(4, 18, 2, "joint", 0.5))
        screen.show("auditor", EpochEvent(2, 9, "score", 1.0, {"mint_auc": 0.75}))
    assert out.getvalue().splitlines()[-1].startswith("auditor 4/18 steps, ")
    assert "scoring, epoch 2 of 9, MINT AUC 0.750" in out.getvalue()


def test_an_insecure_run_stays_marked_in_red() -> None:
    assert f"\x1b[1;31m{INSECURE[:60]}" in printed(True, INSECURE)
    assert printed(False, INSECURE).startswith(INSECURE + "\n")


def test_a_pipe_gets_whole_lines_without_control_characters() -> None:
    text = printed(False, "")
    assert text.splitlines()[0] == "developer waiting for the auditor"
    assert all(c.isprintable() or c == "\n" for c in text)


def test_the_table_of_four_runs_fits_80_columns() -> None:
    figure = Figure(value=0.951, low=0.938, high=0.963)
    known = dict.fromkeys([*figures.MEMBERSHIP, *figures.SCORES, *figures.TASK], figure)
    runs = {
        "\nsecure": known,
        "\nplaintext": known,
        "task\nalone": {"task_accuracy": figure},
        "task +\ndistillation": {},
    }
    out = io.StringIO()
    Console(file=out, width=80).print(figures.table(runs))
    assert figures.intervals({"a": figure, "b": Figure(value=0.5)}) == {"a": [0.938, 0.963]}
    lines = out.getvalue().splitlines()
    assert sum("0.951" in line for line in lines) == 8
    assert sum("0.938-0.963" in line for line in lines) == 8
    assert not any("…" in line for line in lines)
