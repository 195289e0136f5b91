"""`amint-mpc doctor`: is this machine ready, and if not, what to do."""

from __future__ import annotations

from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from amint_mpc.cli import options
from amint_mpc.cli.terminal import console, echo
from amint_mpc.config import ROLES, Role
from amint_mpc.errors import UsageError
from amint_mpc.eventlines import json_line


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
        rows = [{"what": check.what, "ok": check.ok, "found": check.found, "do": check.do} for check in checks]
        echo(json_line({"ok": all(check.ok for check in checks), "checks": rows}))
    else:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for check in checks:
            mark = Text("ok", style="green") if check.ok else Text("--", style="red")
            table.add_row(mark, check.what, Text(check.found))  # Text: what was found is no markup
            if not check.ok:
                table.add_row("", "", Text(check.do, style="cyan"))
        screen = console()
        screen.print(table)
        wrong = sum(not check.ok for check in checks)
        screen.print(f"\n{wrong} to do" if wrong else "\nAll is well.")
    ctx.exit(0 if all(check.ok for check in checks) else 2)
