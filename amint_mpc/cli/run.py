"""`amint-mpc run`: one party of a secure run, on its own machine."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import click

from amint_mpc.cli import options, result, terminal
from amint_mpc.cli.failures import end_as_interrupted
from amint_mpc.cli.machine import warn_without_kernel
from amint_mpc.cli.screen import Screen
from amint_mpc.config import Experiment, Party, Role, load_experiment, load_party
from amint_mpc.errors import AmintError, UsageError
from amint_mpc.eventlines import json_line, to_line
from amint_mpc.events import Event
from amint_mpc.results import Summary

INSECURE_FLAG = "--insecure-embedded-dealer"


@click.command()
@options.role
@options.config
@options.overrides
@options.party
@options.data
@options.runs
@options.name
@click.option(
    INSECURE_FLAG,
    is_flag=True,
    help="For trials: the auditor deals all masks and COULD READ what the developer shares. Not needed to run "
    "without a dealer. Give it to developer and auditor alike.",
)
@options.as_json
@click.option("--events", "as_events", is_flag=True, hidden=True, help="JSON lines; ends when stdin closes.")
def run(
    role: Role,
    source: str | None,
    overrides: tuple[str, ...],
    party_file: Path | None,
    data: Path | None,
    runs: Path | None,
    name: str | None,
    insecure_embedded_dealer: bool,
    as_json: bool,
    as_events: bool,
) -> None:
    """Take part in a secure run as developer, auditor or dealer.

    All parties give the same experiment; they compare its digest before anything else happens.
    """
    extra = ("security.correlations=insecure-embedded-dealer",) if insecure_embedded_dealer else ()
    experiment = load_experiment(source, overrides + extra)
    if experiment.insecure and not insecure_embedded_dealer:
        raise UsageError("this experiment gives up a security claim", f"If that is what you want, add {INSECURE_FLAG}")
    if experiment.insecure and role == "dealer":
        raise UsageError("an insecure embedded dealer leaves nothing for a dealer to do", "Run developer and auditor")
    if experiment.two_party and role == "dealer":
        raise UsageError(
            "this experiment has no dealer (security.correlations: two-party)",
            "Run developer and auditor; with a dealer, give --set security.correlations=dealer to all three",
        )
    party = load_party(party_file, role, data)

    from amint_mpc.roles.heads import check_experiment  # loads torch

    check_experiment(experiment)
    end_as_interrupted()
    if as_events:
        _for_a_parent(role, experiment, party, runs, name)
    else:
        _for_a_person(role, experiment, party, runs, name, as_json)


def _for_a_person(
    role: Role, experiment: Experiment, party: Party, runs: Path | None, name: str | None, as_json: bool
) -> None:
    from amint_mpc.runfolder import INSECURE, RunFolder

    console = terminal.console(as_json)
    warn_without_kernel(console)
    with (
        RunFolder.create(runs or party.runs, experiment, role, name) as folder,
        Screen(console, [role], INSECURE if experiment.insecure else "") as screen,
    ):

        def on_event(event: Event) -> None:
            folder.record(event)
            screen.show(role, event)

        summary = _take_part(role, experiment, party, folder, on_event)
    result.show(console, summary, folder.path, as_json)


def _for_a_parent(role: Role, experiment: Experiment, party: Party, runs: Path | None, name: str | None) -> None:
    """The same, told to the process that started us: each event a line, at last the summary or the error."""
    from amint_mpc.runfolder import RunFolder

    threading.Thread(target=_end_with_parent, daemon=True).start()

    def tell_parent(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    try:
        with RunFolder.create(runs or party.runs, experiment, role, name) as folder:

            def on_event(event: Event) -> None:
                folder.record(event)
                tell_parent(to_line(event))

            summary = _take_part(role, experiment, party, folder, on_event)
        tell_parent(json_line({"event": "summary", "summary": summary.as_json(), "folder": str(folder.path)}))
    except AmintError as error:
        tell_parent(
            json_line({"event": "error", "message": error.message, "hint": error.hint, "code": error.exit_code})
        )
        raise


def _take_part(role: Role, experiment: Experiment, party: Party, folder: Any, on_event: Any) -> Summary:
    import torch

    from amint_mpc.host.checks import kernel

    if (found := kernel()).warning:
        folder.log(found.found)
    if party.threads:
        torch.set_num_threads(party.threads)
    # `role` is one of three fixed words (click.Choice).
    module = importlib.import_module(f"amint_mpc.roles.{role}")
    summary: Summary = module.run(experiment, party, folder, on_event)
    return summary


def _end_with_parent() -> None:
    """Whatever ends the parent closes our stdin: stop as on Ctrl-C, and for certain a little later."""
    while os.read(0, 4096):  # the bare descriptor: a thread inside sys.stdin would block our own end
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)
    os._exit(130)
