"""`amint-mpc keys`: this party's key pair, and whose certificates it trusts."""

from __future__ import annotations

from pathlib import Path

import click

from amint_mpc import identity
from amint_mpc.cli import options
from amint_mpc.cli.terminal import echo
from amint_mpc.config import ROLES, Role, load_party
from amint_mpc.errors import IdentityError

_folder = click.option(
    "--keys",
    "folder",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="AMINT_MPC_KEYS",
    help="Folder of the keys.  [default: as the party file says]",
)


@click.group()
def keys() -> None:
    """Make keys, show fingerprints, trust a peer.

    \b
    Once on each machine:
      1. amint-mpc keys new --role ROLE
      2. hand ROLE.pem (never ROLE.key) to the two others
      3. amint-mpc keys trust --role ROLE PEER PEER.pem, and compare the
         fingerprint with the peer by voice or in person
    """


@keys.command()
@options.role
@options.party
@_folder
def new(role: Role, party_file: Path | None, folder: Path | None) -> None:
    """Make a key pair; an existing one is never overwritten."""
    made = identity.create(_where(role, party_file, folder), role)
    echo(f"private   {made.key_file}   (stays on this machine)")
    echo(f"public    {made.certificate_file}   (hand it to the other parties)")
    echo(f"print     {made.fingerprint}")


@keys.command()
@options.role
@options.party
@_folder
def show(role: Role, party_file: Path | None, folder: Path | None) -> None:
    """Show this party's fingerprint and those that it trusts."""
    folder = _where(role, party_file, folder)
    echo(f"{role:10} {identity.load(folder, role).fingerprint}   (own)")
    for peer in ROLES:
        if peer == role:
            continue
        try:
            echo(f"{peer:10} {identity.fingerprint(identity.trusted(folder, peer))}   (trusted)")
        except IdentityError:
            echo(f"{peer:10} not trusted yet")


@keys.command()
@options.role
@click.argument("peer", type=click.Choice(ROLES))
@click.argument("certificate", type=click.Path(path_type=Path))
@options.party
@_folder
def trust(role: Role, peer: Role, certificate: Path, party_file: Path | None, folder: Path | None) -> None:
    """Trust PEER's certificate, a .pem file that it handed over."""
    if peer == role:
        raise click.UsageError(f"the {role} need not trust itself; name another role")
    mark = identity.trust(_where(role, party_file, folder), peer, certificate)
    echo(f"{peer} is trusted now, by the print")
    echo(f"  {mark}")
    echo(f"Compare it with what `amint-mpc keys show --role {peer}` prints on the {peer}'s machine.")


@keys.command()
def local() -> None:
    """For trials: keys for all three roles on this machine, each trusting the others."""
    folders = {role: load_party(None, role).keys for role in ROLES}
    identity.create_for_one_machine(folders)
    for role, folder in folders.items():
        echo(f"{role:10} {folder}")
    echo("One machine now holds the keys of all three: for trials, not for an audit.")


def _where(role: Role, party_file: Path | None, folder: Path | None) -> Path:
    return folder or load_party(party_file, role).keys
