"""Keys and pinned certificates on disk."""

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from amint_mpc import identity
from amint_mpc.errors import IdentityError, UsageError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_private_key_is_its_owners_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        made = identity.create(tmp_path / "deep" / "keys", "developer")
    finally:
        os.umask(old)
    assert mode(made.folder) == 0o700
    assert mode(made.key_file) == 0o600
    assert identity.load(made.folder, "developer") == made


def test_no_key_is_ever_overwritten(tmp_path: Path) -> None:
    made = identity.create(tmp_path / "keys", "developer")
    before = made.key_file.read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        identity.create(made.folder, "developer")
    made.certificate_file.unlink()
    with pytest.raises(UsageError, match="exists already"):
        identity.create(made.folder, "developer")
    assert made.key_file.read_bytes() == before


def test_dangling_link_is_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    (folder / "developer.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError):
        identity.create(folder, "developer")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("open_to", [0o640, 0o604, 0o660])
def test_key_that_others_can_read_is_refused(tmp_path: Path, open_to: int) -> None:
    made = identity.create(tmp_path / "keys", "auditor")
    made.key_file.chmod(open_to)
    with pytest.raises(IdentityError, match="can be read by others") as caught:
        identity.load(made.folder, "auditor")
    assert caught.value.hint == f"Run chmod 600 {made.key_file}"


def test_folder_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    made = identity.create(tmp_path / "keys", "auditor")
    made.folder.chmod(0o770)
    with pytest.raises(IdentityError, match="others can write"):
        identity.load(made.folder, "auditor")


def test_missing_or_damaged_or_foreign_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="no keys of the dealer"):
        identity.load(tmp_path, "dealer")
    made = identity.create(tmp_path / "keys", "dealer")
    other = identity.create(tmp_path / "other", "dealer")
    made.key_file.write_bytes(other.key_file.read_bytes())
    with pytest.raises(IdentityError, match="belongs to another key"):
        identity.load(made.folder, "dealer")
    made.key_file.write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with pytest.raises(IdentityError, match="not a private key"):
        identity.load(made.folder, "dealer")
    made.key_file.unlink()
    with pytest.raises(IdentityError, match="no keys of the dealer"):
        identity.load(made.folder, "dealer")


def test_no_secret_in_repr_or_error(tmp_path: Path) -> None:
    made = identity.create(tmp_path / "keys", "developer")
    pem = made.key_file.read_text()
    key = load_pem_private_key(pem.encode(), None)
    secret = key.private_bytes_raw().hex()  # type: ignore[union-attr]
    made.key_file.chmod(0o644)
    with pytest.raises(IdentityError) as caught:
        identity.load(made.folder, "developer")
    for text in (repr(made), str(made), repr(caught.value), caught.value.hint):
        assert secret not in text
        assert pem.splitlines()[1] not in text
    assert made.fingerprint in repr(made)


def test_trust_pins_one_certificate_to_one_role(tmp_path: Path) -> None:
    mine = identity.create(tmp_path / "mine", "developer")
    auditor = identity.create(tmp_path / "auditor", "auditor")
    second = identity.create(tmp_path / "second", "auditor")
    shown: list[str] = []
    assert identity.trust(mine.folder, "auditor", auditor.certificate_file, shown.append) == auditor.fingerprint
    assert shown == [auditor.fingerprint]
    assert auditor.fingerprint.startswith("sha256:")
    assert len(auditor.fingerprint) == len("sha256:") + 64
    identity.trust(mine.folder, "auditor", auditor.certificate_file)  # the same again changes nothing
    with pytest.raises(UsageError, match="another certificate of the auditor is trusted already"):
        identity.trust(mine.folder, "auditor", second.certificate_file)
    assert identity.fingerprint(identity.trusted(mine.folder, "auditor")) == auditor.fingerprint
    with pytest.raises(UsageError, match="not made for the role dealer"):
        identity.trust(mine.folder, "dealer", auditor.certificate_file)
    with pytest.raises(UsageError, match="is not a certificate"):
        identity.trust(mine.folder, "dealer", auditor.key_file)
    with pytest.raises(IdentityError, match="no certificate of the dealer is trusted"):
        identity.trusted(mine.folder, "dealer")


def test_refusing_the_fingerprint_pins_nothing(tmp_path: Path) -> None:
    mine = identity.create(tmp_path / "mine", "developer")
    auditor = identity.create(tmp_path / "auditor", "auditor")

    def refuse(_: str) -> None:
        raise UsageError("not trusted")

    with pytest.raises(UsageError, match="not trusted"):
        identity.trust(mine.folder, "auditor", auditor.certificate_file, refuse)
    with pytest.raises(IdentityError):
        identity.trusted(mine.folder, "auditor")
