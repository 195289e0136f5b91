"""`amint-mpc doctor`: is this machine ready, and if not, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table
from rich.text import Text

from amint_mpc.cli import options
from amint_mpc.cli.terminal import console, echo
from amint_mpc.config import ROLES, Role
from amint_mpc.errors import UsageError
from amint_mpc.eventlines import json_line

if TYPE_CHECKING:
    from amint_mpc.host.checks import Check


@click.command()
@click.option(
    "--role", type=click.Choice(ROLES), help="Which party to check.  [default: each that has a party file here]"
)
@options.config
@options.party
@options.data
@options.as_json
@click.pass_context
def doctor(
    ctx: click.Context,
    role: Role | None,
    source: str | None,
    party_file: Path | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Check versions, device, keys, trusted peers, ports and data.

    Ends with code 0 only when everything is well.
    """
    if party_file and not role:
        raise UsageError("--party names one party's file", "Say whose: add --role")

    from amint_mpc.host.checks import examine  # loads torch

    checks = examine(role, source, party_file, lambda text: echo(text, err=True), data)
    if as_json:
        echo(json_line({"ok": all(check.ok for check in checks), "checks": [vars(check) for check in checks]}))
    else:
        _show(checks)
    ctx.exit(0 if all(check.ok for check in checks) else 2)


def _show(checks: Sequence[Check]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        sign, colour = ("--", "red") if not check.ok else ("!!", "yellow") if check.warning else ("ok", "green")
        table.add_row(Text(sign, style=colour), check.what, check.found)
        if sign != "ok":
            table.add_row("", "", Text(check.do, style="cyan"))
    screen = console()
    screen.print(table)
    wrong, slow = sum(not check.ok for check in checks), any(check.warning for check in checks)
    end = f"{wrong} to do" if wrong else "Ready; what is marked !! could be better." if slow else "All is well."
    screen.print(f"\n{end}")
