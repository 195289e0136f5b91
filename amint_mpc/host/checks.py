"""What must hold before a party can run: the checks behind `amint-mpc doctor`."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from amint_mpc import identity
from amint_mpc.amint.trainer import pick_device
from amint_mpc.config import ROLES, Address, Experiment, Party, Role, load_experiment, load_party
from amint_mpc.config import party_file as usual_party_file
from amint_mpc.data.registry import dataset
from amint_mpc.errors import AmintError, UsageError
from amint_mpc.evidence import software_digests
from amint_mpc.mpc.ring import native
from amint_mpc.roles.backends import backend_of
from amint_mpc.roles.heads import check_experiment, needs_dealer

NEEDED = ("torch", "torchvision", "crypten", "cryptography", "numpy")


@dataclass(frozen=True)
class Check:
    """Args: what: the thing looked at; found: what was there; do: the next step when it is not ok.
    warning: it works, and could be better: `do` says how."""

    what: str
    ok: bool
    found: str
    do: str = ""
    warning: bool = False


def examine(
    role: Role | None,
    experiment: str | None,
    party_file: Path | None,
    on_notice: Callable[[str], None] = lambda _: None,
    data: Path | None = None,
) -> list[Check]:
    """Check the machine, then the party named, or each party whose file lies here (see `config.party_file`).

    The developer's images are all read, from `data` or where its party file says; `on_notice` is told how far it is.
    """
    checks = [*_machine(), *_software(experiment)]
    roles = [role] if role else [each for each in _roles(experiment) if usual_party_file(each)]
    if not roles:
        hint = "Say which party this machine is: amint-mpc doctor --role developer"
        checks.append(Check("party", False, "no party file under parties/ or here", hint))
    for each in roles:
        checks += _party(each, experiment, party_file, data, on_notice)
    return checks


def _machine() -> Iterator[Check]:
    yield Check("python", sys.version_info >= (3, 10), platform.python_version(), "install Python 3.10 or newer")
    for package in NEEDED:
        try:
            yield Check(package, True, importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            yield Check(package, False, "not installed", "pip install amint-mpc")
    yield kernel()


def kernel() -> Check:
    """The C kernel of the secure computation: without it torch computes the same, slower."""
    if native.USED and native.best() == native.KERNELS[0]:
        do = "Take a machine whose processor has AVX2 or AVX-512, if there is one"
        found = f"{native.LIBRARY.name}, no AVX2: masks of two parties take two to four times as long"
        return Check("C kernel", True, found, do, warning=True)
    if native.USED:
        return Check("C kernel", True, f"{native.LIBRARY.name}, {native.best()}")
    if native.left_unused():
        return Check("C kernel", True, "left unused, as AMINT_MPC_NO_NATIVE says")
    do = "Install this program again on a machine with a C compiler; pip install -v shows what the compiler says"
    found = "the C kernel is not here: the secure computation runs at about half its speed"
    return Check("C kernel", True, found, do, warning=True)


def _software(experiment: str | None) -> Iterator[Check]:
    """What the peers will be told, against what the experiment requires of every party."""
    try:
        found, required = software_digests.software(), load_experiment(experiment).security
    except AmintError as error:
        yield Check("software", False, error.message, error.hint)
        return
    do = "install what was agreed; amint-mpc attest shows what is here"
    yield Check("code", not required.required_code or found.code in required.required_code, found.code, do)
    if found.image or required.required_image:
        fits = not required.required_image or found.image in required.required_image
        yield Check("image", fits, found.image or "none told", do)


def _party(
    role: Role,
    experiment: str | None,
    party_file: Path | None,
    data: Path | None,
    on_notice: Callable[[str], None],
) -> Iterator[Check]:
    try:
        party = load_party(party_file, role, data)
    except AmintError as error:
        yield Check(f"{role} file", False, error.message, error.hint)
        return
    named = f" --party {shlex.quote(str(party_file))}" if party_file else ""
    agreed_roles = _roles(experiment)
    yield _own_keys(party, named)
    for peer in agreed_roles:
        if peer != role:
            yield _trusted(party, peer, named)
    if role in agreed_roles:
        yield from _masks(experiment, party)
    if party.listen is not None:
        yield _port(role, party.listen)
    if role == "developer":
        yield _device(party)
        yield _data(party, experiment, on_notice)


def _roles(experiment: str | None) -> tuple[Role, ...]:
    try:
        return load_experiment(experiment).roles
    except AmintError:
        return ROLES  # what is wrong with it is told elsewhere


def _masks(experiment: str | None, named: Party) -> Iterator[Check]:
    """Who makes the masks, what this party brings for it, and whether the other way would suit better."""
    try:
        agreed = load_experiment(experiment)
        check_experiment(agreed)
    except AmintError:
        return  # told elsewhere
    try:
        backend_of(agreed).check(named)
    except UsageError as error:
        yield Check("masks", False, error.message, error.hint)
        return
    if agreed.two_party:
        yield _made_here(agreed, named)
        return
    needed = needs_dealer(agreed.head)
    why = f"{needed} needs one" if needed else "two-party would do without, for more processor time and bytes"
    yield Check("masks", True, f"{agreed.security.correlations}: {why}")


def _made_here(agreed: Experiment, named: Party) -> Check:
    threads, cores, kernel = named.generator_threads, os.cpu_count() or 1, native.best()
    found = f"two-party on a {agreed.security.link}, {threads} threads on {cores} cores, {kernel}"
    do = "it works, but a dealer suits better; amint-mpc estimate shows what both take"
    if cores < threads or kernel == native.KERNELS[0]:
        return Check("masks", True, found, do, warning=True)
    return Check("masks", True, f"{found}: suits. A dealer is quicker, and somebody else to trust")


def _device(party: Party) -> Check:
    try:
        device = pick_device(party.device)
    except AmintError as error:
        return Check("developer device", False, error.message, error.hint)
    name = f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
    return Check("developer device", True, f"{name}, threads: {party.threads or torch.get_num_threads()}")


def _own_keys(party: Party, named: str) -> Check:
    what = f"{party.role} keys"
    try:
        return Check(what, True, identity.load(party.keys, party.role).fingerprint[:23])
    except AmintError as error:
        missing = not (party.keys / f"{party.role}.key").exists()
        make = f"amint-mpc keys new --role {party.role}{named}"
        return Check(what, False, error.message, make if missing else error.hint)


def _trusted(party: Party, peer: Role, named: str) -> Check:
    what = f"{party.role} trusts"
    try:
        return Check(what, True, f"{peer} {identity.fingerprint(identity.trusted(party.keys, peer))[:23]}")
    except AmintError:
        do = f"get {peer}.pem, then: amint-mpc keys trust --role {party.role}{named} {peer} {peer}.pem"
        return Check(what, False, f"{peer}: no certificate", do)


def _port(role: Role, address: Address) -> Check:
    what, where = f"{role} port", str(address)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the role itself listens
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            return Check(what, False, f"{where}: {error.strerror}", "end what uses it, or set another listen.port")
    return Check(what, True, f"{where} is free")


def _data(party: Party, experiment: str | None, on_notice: Callable[[str], None]) -> Check:
    try:
        agreed = load_experiment(experiment)
        check_experiment(agreed)
        if agreed.head.features is not None:
            return Check("developer data", True, f"{agreed.data.dataset}, read by your own training loop")
        kind = dataset(agreed.data)
        if kind.to_download(party.data):
            return Check("developer data", True, f"{kind.name} would be downloaded into {party.data}")
        count = len(kind.read(party.data, on_notice).labels)
    except AmintError as error:
        return Check("developer data", False, error.message, error.hint)
    needed = agreed.data.members + agreed.data.external + agreed.data.unseen
    found = f"{agreed.data.dataset}, {count} images, {needed} needed"
    return Check("developer data", count >= needed, found, "lower data.members, data.external or data.unseen")
