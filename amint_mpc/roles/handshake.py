"""Two parties agree on terms before anything else crosses their link.

    1. Both send a hello: protocol version, role, experiment and its digest, versions and digests of the software, a
       fresh nonce.
    2. Each checks the other's: same protocol, the expected role, fitting versions, the same digest; then that both
       run software which the experiment allows.
    3. Both derive the session id: HKDF-SHA256 (RFC 5869), salt = digest, input = both nonces, info = both roles.

One round. The hello holds nothing secret; that it comes from the peer is TLS's part (`amint_mpc.transport.tls`).

Guarantees
    Two runs never share a session id, for each party contributes 32 random bytes.
    Who does not agree learns which settings differ, both values beside each other.
    What the peer wrote is shown cut to a bounded length, and escaped.
    Where the experiment requires certain software (`security.required_code`, `required_image`), both ends refuse when
    either end has another, and both see both digests. They are each party's own word
    (`amint_mpc.evidence.software_digests`).
"""

from __future__ import annotations

import json
import platform
import secrets
from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import Annotated, Final, Literal

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from amint_mpc.config import ROLES, Experiment, Role, Security
from amint_mpc.errors import PeerError, ProtocolError
from amint_mpc.evidence import software_digests
from amint_mpc.evidence.session import AgreedSession
from amint_mpc.evidence.software_digests import Software
from amint_mpc.printable import excerpt
from amint_mpc.transport.channel import Channel
from amint_mpc.transport.frames import JsonValue

PROTOCOL: Final = 5
_SHOWN_KEYS = 8
_SHOWN_CHARACTERS = 40
_SHOWN_DIGESTS = 3
_Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Versions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    amint_mpc: str = Field(max_length=64)
    crypten: str = Field(max_length=64)
    torch: str = Field(max_length=64)
    python: str = Field(max_length=64)


class _Hello(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    protocol: Literal[5] = PROTOCOL
    role: Role
    experiment: dict[str, object]
    digest: _Hex32
    versions: _Versions
    software: Software
    nonce: _Hex32


def handshake(
    channel: Channel, role: Role, peer: Role, experiment: Experiment, software: Software | None = None
) -> AgreedSession:
    """Agree with `peer` on protocol, roles, software and experiment; `role` is ours.

    Args:
        software: our own record; None: as it is measured here.

    Raises:
        PeerError: the peer has another role, version or experiment, or one of both ends has software that the
            experiment does not allow; the message says which.
        ProtocolError: what came is not a hello.
    """
    ours = _Hello(
        role=role,
        experiment=experiment.model_dump(mode="json"),
        digest=experiment.digest(),
        versions=compared_versions(),
        software=software or software_digests.software(),
        nonce=secrets.token_hex(32),
    )
    channel.send_json("hello", ours.model_dump(mode="json"))
    theirs = _read_hello(channel.receive_json("hello"), peer)
    if theirs.role != peer:
        raise PeerError(
            f"expected the {peer} and met a party with the role {theirs.role}", "Check the addresses in the party file"
        )
    _check_versions(ours.versions, theirs.versions, peer)
    _check_experiments(ours, theirs, peer)
    _check_software(ours.software, theirs.software, peer, experiment.security)
    return AgreedSession(_session_id(ours, theirs), peer, {role: ours.software, peer: theirs.software})


def compared_versions() -> _Versions:
    """The software that this party runs."""
    return _Versions(
        amint_mpc=metadata.version("amint-mpc"),
        crypten=metadata.version("crypten"),
        torch=metadata.version("torch"),
        python=platform.python_version(),
    )


def _read_hello(value: JsonValue, peer: Role) -> _Hello:
    if not isinstance(value, dict):
        raise ProtocolError(f"the {peer}'s hello is malformed")
    if (protocol := value.get("protocol")) != PROTOCOL:  # first, for another version's hello may look different
        raise PeerError(
            f"protocol: here {PROTOCOL}, {peer} {excerpt(json.dumps(protocol), _SHOWN_CHARACTERS)}",
            "Install the same version on both machines",
        )
    try:
        return _Hello.model_validate(value)
    except ValidationError:
        raise ProtocolError(f"the {peer}'s hello is malformed") from None


def _check_versions(ours: _Versions, theirs: _Versions, peer: Role) -> None:
    """Our own package and CrypTen define the messages and must be the same. Ring arithmetic is exact in every torch,
    so its patch release and build may differ; operators change between minor releases, so those must not. Python is
    free."""
    rows = [
        ("amint_mpc", ours.amint_mpc, theirs.amint_mpc, ours.amint_mpc == theirs.amint_mpc),
        ("crypten", ours.crypten, theirs.crypten, ours.crypten == theirs.crypten),
        ("torch", ours.torch, theirs.torch, ours.torch.split(".")[:2] == theirs.torch.split(".")[:2]),
    ]
    wrong = [f"{name}: here {a}, {peer} {excerpt(b, _SHOWN_CHARACTERS)}" for name, a, b, fits in rows if not fits]
    if wrong:
        raise PeerError("versions differ: " + "; ".join(wrong), "Install the same version on both machines")


def _check_experiments(ours: _Hello, theirs: _Hello, peer: Role) -> None:
    if ours.digest == theirs.digest:
        return
    here, there = dict(_flat(ours.experiment)), dict(_flat(theirs.experiment))
    different = [key for key in sorted({*here, *there}) if here.get(key) != there.get(key)]
    if not different:
        raise ProtocolError(f"the {peer}'s digest does not belong to the experiment it sent")
    said = {key: excerpt(there.get(key, "nothing"), _SHOWN_CHARACTERS) for key in different[:_SHOWN_KEYS]}
    shown = [f"{excerpt(key)}: here {here.get(key, 'nothing')}, {peer} {value}" for key, value in said.items()]
    more = [f"and {len(different) - _SHOWN_KEYS} more"] if len(different) > _SHOWN_KEYS else []
    raise PeerError(
        "the experiments differ: " + "; ".join(shown + more),
        "Agree on one experiment file and start all parties with it",
    )


def _check_software(ours: Software, theirs: Software, peer: Role, security: Security) -> None:
    """Both records against what the experiment requires: the one that does not fit is refused at both ends."""
    rows = [
        ("code", ours.code, theirs.code, security.required_code),
        ("image", ours.image or "none", theirs.image or "none", security.required_image),
    ]
    wrong = [
        f"{name}: here {here}{_mark(here, allowed)}, {peer} {there}{_mark(there, allowed)}, "
        f"required {' or '.join(allowed[:_SHOWN_DIGESTS])}{' or others' if len(allowed) > _SHOWN_DIGESTS else ''}"
        for name, here, there, allowed in rows
        if allowed and not {here, there} <= {*allowed}
    ]
    if wrong:
        raise PeerError(
            "the experiment requires certain software\n" + "\n".join(wrong),
            "Install what was agreed (amint-mpc attest shows what is here), or agree on another digest",
        )


def _mark(digest: str, allowed: Sequence[str]) -> str:
    return "" if digest in allowed else " (refused)"


def _flat(value: object, key: str = "") -> Iterator[tuple[str, str]]:
    """`{"training": {"epochs": 40}}` as `("training.epochs", "40")`; values as JSON, so that 1 is not true."""
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _flat(item, f"{key}.{name}" if key else str(name))
    else:
        yield key, json.dumps(value)


def _session_id(ours: _Hello, theirs: _Hello) -> bytes:
    first, second = sorted((ours, theirs), key=lambda hello: ROLES.index(hello.role))
    info = f"amint-mpc {PROTOCOL} session {first.role} {second.role}".encode()
    hkdf = HKDF(algorithm=SHA256(), length=32, salt=bytes.fromhex(ours.digest), info=info)
    return hkdf.derive(bytes.fromhex(first.nonce + second.nonce))
