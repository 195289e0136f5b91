"""What must hold before a party can run: the checks behind `amint-mpc doctor`."""

from __future__ import annotations

import importlib.metadata
import platform
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from amint_mpc import identity
from amint_mpc.config import ROLES, Address, Party, Role, load_experiment, load_party
from amint_mpc.data.registry import dataset
from amint_mpc.errors import AmintError

NEEDED = ("torch", "torchvision", "crypten", "cryptography", "numpy")
PEERS: dict[Role, tuple[Role, ...]] = {
    "developer": ("auditor", "dealer"),
    "auditor": ("developer", "dealer"),
    "dealer": ("developer", "auditor"),
}


@dataclass(frozen=True)
class Check:
    """Args: what: the thing looked at; found: what was there; do: the next step when it is not ok."""

    what: str
    ok: bool
    found: str
    do: str = ""


def examine(role: Role | None, experiment: str | None, party_file: Path | None) -> list[Check]:
    """Check the machine, then the party named, or each party whose file lies under ./parties."""
    checks = list(_machine())
    roles = [role] if role else [each for each in ROLES if (Path("parties") / each / "party.yaml").is_file()]
    if not roles:
        hint = "say which party this machine is: amint-mpc doctor --role developer"
        checks.append(Check("party", False, "no party file under parties/", hint))
    for each in roles:
        checks += _party(each, experiment, party_file)
    return checks


def _machine() -> Iterator[Check]:
    yield Check("python", sys.version_info >= (3, 10), platform.python_version(), "install Python 3.10 or newer")
    for package in NEEDED:
        try:
            yield Check(package, True, importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            yield Check(package, False, "not installed", "pip install amint-mpc")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    yield Check("device", True, f"{device}, threads: {torch.get_num_threads()}")


def _party(role: Role, experiment: str | None, party_file: Path | None) -> Iterator[Check]:
    try:
        party = load_party(party_file, role)
    except AmintError as error:
        yield Check(f"{role} file", False, error.message, error.hint)
        return
    yield _own_keys(party)
    for peer in PEERS[role]:
        yield _trusted(party, peer)
    if party.listen is not None:
        yield _port(role, party.listen)
    if role == "developer":
        yield _data(party, experiment)


def _own_keys(party: Party) -> Check:
    what = f"{party.role} keys"
    try:
        return Check(what, True, identity.load(party.keys, party.role).fingerprint[:23])
    except AmintError as error:
        missing = not (party.keys / f"{party.role}.key").exists()
        return Check(what, False, error.message, f"amint-mpc keys new --role {party.role}" if missing else error.hint)


def _trusted(party: Party, peer: Role) -> Check:
    what = f"{party.role} trusts"
    try:
        return Check(what, True, f"{peer} {identity.fingerprint(identity.trusted(party.keys, peer))[:23]}")
    except AmintError:
        do = f"get {peer}.pem, then: amint-mpc keys trust --role {party.role} {peer} {peer}.pem"
        return Check(what, False, f"{peer}: no certificate", do)


def _port(role: Role, address: Address) -> Check:
    what, where = f"{role} port", f"{address.host}:{address.port}"
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the role itself listens
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            return Check(what, False, f"{where}: {error.strerror}", "end what uses it, or set another listen.port")
    return Check(what, True, f"{where} is free")


def _data(party: Party, experiment: str | None) -> Check:
    try:
        agreed = load_experiment(experiment)
        count = len(dataset(agreed.data.dataset).read(party.data).labels)
    except AmintError as error:
        return Check("developer data", False, error.message, error.hint)
    needed = agreed.data.members + agreed.data.external + agreed.data.unseen
    found = f"{agreed.data.dataset}, {count} images, {needed} needed"
    return Check("developer data", count >= needed, found, "lower data.members, data.external or data.unseen")
