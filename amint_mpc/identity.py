"""A role's key pair, and the certificates of the other roles that it trusts.

    keys/ROLE.key            private key (Ed25519, PKCS #8), readable by its owner alone
    keys/ROLE.pem            self-signed certificate, to be handed to the other parties
    keys/trusted/OTHER.pem   a peer's certificate, pinned to its role

There is no authority: two people compare a fingerprint once, by any channel they already trust.

Guarantees
    A private key is never overwritten, never readable by others, and appears in no message and no repr.
    A pinned certificate is never replaced, and one certificate is never pinned to two roles.
"""

from __future__ import annotations

import datetime
import os
import shlex
import stat
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from amint_mpc.config import ROLES, Role
from amint_mpc.errors import IdentityError, UsageError

# The pin, not a date, ends the trust in a certificate. RFC 5280 4.1.2.5: 9999-12-31 stands for "no date known".
# The fixed first day spares two machines whose clocks differ.
_FIRST_DAY = datetime.datetime(2025, 1, 1, tzinfo=datetime.timezone.utc)
_LAST_DAY = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.timezone.utc)
_MAX_PEM = 65536


@dataclass(frozen=True)
class Identity:
    """This party's own certificate, and where its private key lies; the key itself is not held."""

    role: Role
    folder: Path
    certificate: x509.Certificate

    @property
    def key_file(self) -> Path:
        return self.folder / f"{self.role}.key"

    @property
    def certificate_file(self) -> Path:
        return self.folder / f"{self.role}.pem"

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.certificate)

    def sign(self, message: bytes) -> bytes:
        """Ed25519 signature, 64 bytes. What is signed must say what it is for (`evidence.signing`), as TLS 1.3 does.

        Raises:
            IdentityError: the key has gone, can be read by others, or is another one.
        """
        return _own_key(self).sign(message)

    def __repr__(self) -> str:
        return f"Identity({self.role}, {self.fingerprint})"


def create(folder: Path, role: Role) -> Identity:
    """Make a new key pair.

    Raises:
        UsageError: there already is one for this role, or the folder cannot be written.
        IdentityError: others can write to the folder.
    """
    key_file, certificate_file = folder / f"{role}.key", folder / f"{role}.pem"
    for file in (key_file, certificate_file):
        if file.exists():
            raise UsageError(f"{file} exists already", "Keys are never overwritten; move the old ones away first")
    key = Ed25519PrivateKey.generate()
    certificate = _self_signed(key, role)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True, mode=0o700)
        _check_folder(folder)
        _write_new(key_file, secret, 0o600)
        _write_new(certificate_file, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    except OSError as error:
        raise UsageError(f"cannot write keys to {folder}: {error.strerror}") from None
    return Identity(role, folder, certificate)


def load(folder: Path, role: Role) -> Identity:
    """This role's own identity.

    Raises:
        IdentityError: no key, a key that others can read or a folder that they can write to, or a certificate of
            another key.
    """
    identity = Identity(role, folder, _own_certificate(folder, role))
    _own_key(identity)
    return identity


def fingerprint(certificate: x509.Certificate) -> str:
    """`sha256:` and the SHA-256 of the DER certificate in hex."""
    return f"sha256:{certificate.fingerprint(hashes.SHA256()).hex()}"


def trust(folder: Path, role: Role, certificate_file: Path, show: Callable[[str], None] = lambda _: None) -> str:
    """Pin a peer's certificate to its role. Calls `show` with the fingerprint first; `show` may raise to refuse.

    Returns:
        the fingerprint.

    Raises:
        UsageError: no certificate of that role, or one that collides with a pinned or an own one.
    """
    certificate = read_certificate(certificate_file, role)
    mark = fingerprint(certificate)
    target = folder / "trusted" / f"{role}.pem"
    pinned = _read_certificate(target)
    if pinned is not None and fingerprint(pinned) == mark:
        return mark
    if target.exists():
        raise UsageError(
            f"another certificate of the {role} is trusted already",
            f"If the {role} really has new keys, compare fingerprints and remove {target} first",
        )
    show(mark)
    try:
        if not target.parent.is_dir():
            target.parent.mkdir(parents=True, mode=0o700)
        _write_new(target, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}") from None
    return mark


def read_certificate(file: Path, role: Role) -> x509.Certificate:
    """A role's certificate from a file; it is trusted only once its fingerprint has been compared.

    Raises:
        UsageError: no certificate of that role.
    """
    certificate = _read_certificate(file)
    if certificate is None:
        raise UsageError(f"{file} is not a certificate", "Take the .pem file that the peer's keys came with")
    try:
        names = [name.value for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):  # parsed only when asked for
        raise UsageError(f"{file} is not a certificate that can be read") from None
    if names != [role] or not isinstance(key, Ed25519PublicKey):
        raise UsageError(f"{file} was not made for the role {role}")
    return certificate


def create_for_one_machine(folders: Mapping[Role, Path]) -> None:
    """Make a key pair for each role in its own folder, each trusting all others: for trials on one machine.

    Raises:
        UsageError: one of them has keys already; nothing is made then.
    """
    for role, folder in folders.items():
        if (folder / f"{role}.key").exists():
            raise UsageError(f"there are keys of the {role} in {folder}", "Use them, or move them away first")
    for role, folder in folders.items():
        create(folder, role)
    for role, folder in folders.items():
        for peer in folders.keys() - {role}:
            trust(folder, peer, folders[peer] / f"{peer}.pem")


def trusted(folder: Path, role: Role) -> x509.Certificate:
    """The certificate pinned to a peer's role.

    Raises:
        IdentityError: none is pinned.
    """
    certificate = _read_certificate(folder / "trusted" / f"{role}.pem")
    if certificate is None:
        raise IdentityError(
            f"no certificate of the {role} is trusted in {folder}",
            f"Ask the {role} for its {role}.pem, then: amint-mpc keys trust --role {_owner(folder, role)} "
            f"--keys {shlex.quote(str(folder))} {role} {role}.pem, and compare the fingerprint",
        )
    return certificate


def _self_signed(key: Ed25519PrivateKey, role: Role) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, role)])
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_FIRST_DAY)
        .not_valid_after(_LAST_DAY)
        # It signs no other certificate, so that nobody can be let in by it but the holder of its key.
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=False)
        .sign(key, None)
    )


def _check_folder(folder: Path) -> None:
    """Who can write to the folder can exchange a certificate."""
    if os.name == "posix" and stat.S_IMODE(folder.stat().st_mode) & 0o022:
        raise IdentityError(f"others can write to the folder of keys {folder}", f"Chmod 700 {folder}")


def _write_new(file: Path, data: bytes, mode: int) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
        out.write(data)


def _own_certificate(folder: Path, role: Role) -> x509.Certificate:
    certificate = _read_certificate(folder / f"{role}.pem")
    if certificate is None:
        raise _no_keys(folder, role)
    return certificate


def _no_keys(folder: Path, role: Role) -> IdentityError:
    command = f"amint-mpc keys new --role {role} --keys {shlex.quote(str(folder))}"
    return IdentityError(f"no keys of the {role} in {folder}", f"Make them: {command}")


def _own_key(identity: Identity) -> Ed25519PrivateKey:
    """The private key, checked; nobody keeps it."""
    _check_folder(identity.folder)
    try:
        # Open once, then ask about what was opened: the file cannot be exchanged between look and use.
        with identity.key_file.open("rb") as file:
            if os.name == "posix" and stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise IdentityError(
                    f"the private key {identity.key_file} can be read by others", f"Run chmod 600 {identity.key_file}"
                )
            key = serialization.load_pem_private_key(file.read(_MAX_PEM), password=None)
    except OSError:
        raise _no_keys(identity.folder, identity.role) from None
    except (ValueError, TypeError):
        raise IdentityError(
            f"{identity.key_file} is not a private key", f"Make new keys for the {identity.role}"
        ) from None
    if not isinstance(key, Ed25519PrivateKey) or key.public_key() != identity.certificate.public_key():
        raise IdentityError(f"{identity.certificate_file} belongs to another key than {identity.key_file}")
    return key


def _owner(folder: Path, peer: Role) -> str:
    """Whose folder of keys it is, for a hint."""
    return next((role for role in ROLES if role != peer and (folder / f"{role}.key").is_file()), "ROLE")


def _read_certificate(file: Path) -> x509.Certificate | None:
    """None where there is no readable certificate, or one that `cryptography` reads with a warning alone."""
    try:
        with file.open("rb") as opened, warnings.catch_warnings():
            warnings.simplefilter("error")
            return x509.load_pem_x509_certificate(opened.read(_MAX_PEM))
    except (OSError, ValueError, x509.InvalidVersion, UnsupportedAlgorithm, Warning):
        return None
