"""The digest of the code is of the code alone: the same wherever it lies, another one for any change."""

import json
import shutil
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import amint_mpc
from amint_mpc.cli import main
from amint_mpc.config import experiments_folder
from amint_mpc.errors import UsageError
from amint_mpc.evidence import attestation, canonical, software_digests
from amint_mpc.host.checks import examine

PACKAGE = Path(amint_mpc.__file__).parent


@pytest.fixture
def as_installed(tmp_path: Path) -> Path:
    """The package as a wheel lays it out: configs/ inside, no bytecode, no kernel."""
    place = tmp_path / "site" / "amint_mpc"
    shutil.copytree(PACKAGE, place, ignore=shutil.ignore_patterns("__pycache__", "_native.so"))
    shutil.copytree(experiments_folder(), place / "configs", dirs_exist_ok=True)
    return place


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(software_digests.IMAGE_VARIABLE, raising=False)
    software_digests.software.cache_clear()
    yield
    software_digests.software.cache_clear()


def digest_of(place: Path) -> str:
    return software_digests.code_digest(software_digests.code_files(place, place / "configs"))


def test_a_checkout_and_an_installed_copy_have_one_digest(as_installed: Path) -> None:
    assert digest_of(as_installed) == software_digests.software().code
    files = software_digests.code_files()
    assert {"__init__.py", "mpc/ring/_ring.c", "pages/templates/style.css", "configs/quickstart.yaml"} <= files.keys()
    assert software_digests.KERNEL not in files
    assert list(files) == sorted(files)


def test_what_a_machine_adds_changes_nothing(as_installed: Path) -> None:
    before = digest_of(as_installed)
    (as_installed / "mpc" / "__pycache__").mkdir()
    (as_installed / "mpc" / "__pycache__" / "head.cpython-311.pyc").write_bytes(b"bytecode")
    (as_installed / "mpc" / "ring" / "_native.so").write_bytes(b"another compiler")
    (as_installed / ".mypy_cache").mkdir()
    (as_installed / ".mypy_cache" / "x.json").write_text("{}")
    assert digest_of(as_installed) == before


def _append(place: Path) -> None:
    with (place / "roles" / "auditor.py").open("ab") as file:
        file.write(b"\n")


CHANGES: dict[str, Callable[[Path], object]] = {
    "a byte more in the code": _append,
    "a file more": lambda place: (place / "mpc" / "extra.py").touch(),
    "a library more": lambda place: (place / "mpc" / "other.so").touch(),
    "bytecode without a source": lambda place: (place / "mpc" / "other.pyc").touch(),
    "a file less": lambda place: (place / "pages" / "templates" / "style.css").unlink(),
    "another name": lambda place: (place / "mpc" / "crypten_compat.py").rename(place / "mpc" / "crypten_compat2.py"),
    "another experiment": lambda place: (place / "configs" / "smoke.yaml").write_text("seed: 2\n"),
    "two files exchanged": lambda place: [
        (place / "mpc" / "a").write_bytes((place / "mpc" / "crypten_compat.py").read_bytes()),
        (place / "mpc" / "shared_head.py").replace(place / "mpc" / "crypten_compat.py"),
        (place / "mpc" / "a").replace(place / "mpc" / "shared_head.py"),
    ],
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_the_code_changes_the_digest(as_installed: Path, change: str) -> None:
    before = digest_of(as_installed)
    CHANGES[change](as_installed)
    assert digest_of(as_installed) != before


def test_the_record_is_whole_and_canonical() -> None:
    record = software_digests.attest()
    assert canonical.encode(record)
    assert record == software_digests.software().record()
    assert record["version"] == amint_mpc.__version__
    assert record["image"] is None
    assert str(PACKAGE) not in json.dumps(record)


def test_the_dependencies_are_all_that_is_needed_in_turn() -> None:
    found = software_digests.needed()
    assert found["torch"][0] == metadata.version("torch")
    assert found["torch"][1] != found["numpy"][1]
    assert "markupsafe" in found  # through jinja2
    assert not {"amint-mpc", "pytest", "ruff", "mypy"} & found.keys()  # itself, and what tests alone need
    assert all(name == name.lower() and "_" not in name for name in found)


def write_package(site: Path, name: str, requires: tuple[str, ...] = (), record: str = "") -> None:
    folder = site / f"{name}-1.0.dist-info"
    folder.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0", *[f"Requires-Dist: {line}" for line in requires]]
    (folder / "METADATA").write_text("\n".join(lines) + "\n")
    (folder / "RECORD").write_text(record)


def test_markers_extras_and_circles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_package(tmp_path, "top_a", ('B-b[Fast]>=1; python_version>"3"', 'other; sys_platform == "nowhere"', "absent"))
    write_package(
        tmp_path, "b_b", ('c; extra == "fast"', "d", 'e; extra == "slow"', 'top-a; extra == "x" or python_version>"3"')
    )
    for name in "cde":
        write_package(tmp_path, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = software_digests.dependencies("Top.A")
    assert {name: version for name, (version, _) in found.items()} == {
        "absent": "missing",
        "b-b": "1.0",
        "c": "1.0",
        "d": "1.0",
    }


def test_the_digest_of_a_wheel_is_of_its_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = "p/__init__.py,sha256=abc,3\np-1.0.dist-info/METADATA,sha256=def,9\n"
    added = (
        "../../bin/p,sha256=xyz,9\np/__pycache__/__init__.cpython-311.pyc,,\n"
        "p-1.0.dist-info/INSTALLER,sha256=pip,4\np-1.0.dist-info/direct_url.json,sha256=url,4\n"
        "p-1.0.dist-info/RECORD,,\n"
    )
    records = {"one": own, "two": added + own, "three": own.replace("abc", "abd")}
    found = []
    for folder, record in records.items():
        write_package(tmp_path / folder, "top", ("p",))
        write_package(tmp_path / folder, "p", record=record)
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(tmp_path / folder))
            found.append(software_digests.dependencies("top")["p"][1])
    assert found[0] == found[1] != found[2]


def test_the_image_is_what_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = ("sha256:" + letter * 64 for letter in "ab")
    file = tmp_path / "image-digest"
    monkeypatch.setattr(software_digests, "IMAGE_FILE", file)
    assert software_digests.image_digest() is None
    file.write_text(one + "\n")
    assert software_digests.attest()["image"] == one
    monkeypatch.setenv(software_digests.IMAGE_VARIABLE, two)
    assert software_digests.image_digest() == two
    monkeypatch.setenv(software_digests.IMAGE_VARIABLE, "")
    assert software_digests.image_digest() == one
    file.write_bytes(b"\xff" * 5000)
    with pytest.raises(UsageError, match="no digest of an image"):
        software_digests.image_digest()
    monkeypatch.setenv(software_digests.IMAGE_VARIABLE, "latest")
    with pytest.raises(UsageError, match="no digest of an image"):
        software_digests.image_digest()


def command(*arguments: str) -> Any:
    return CliRunner().invoke(main, ["attest", *arguments])


def test_the_command_prints_the_record_and_compares_it(tmp_path: Path) -> None:
    shown = command()
    assert shown.exit_code == 0, shown.output
    assert software_digests.software().code in shown.output
    assert "image         none told" in shown.output
    written = command("--json")
    record = json.loads(written.stdout)
    assert record["files"] == software_digests.code_files()
    assert record["packages"]["torch"] == metadata.version("torch")
    file = tmp_path / "software.json"
    file.write_text(written.stdout)
    same = command("--check", str(file))
    assert (same.exit_code, "All of it is as in" in same.output) == (0, True)

    file.write_text(json.dumps({**record, "python": "CPython 3.10.1", "native": None}))
    other = command("--check", str(file))
    assert other.exit_code == 0
    assert "python differs: here CPython 3." in other.output
    assert ", there none" in other.output

    files = {**record["files"], "roles/auditor.py": "0" * 64}
    del files["mpc/protocols/sign.py"]
    file.write_text(json.dumps({**record, "files": files, "code": software_digests.code_digest(files)}))
    wrong = command("--check", str(file))
    assert wrong.exit_code == 3
    assert "code: mpc/protocols/sign.py, roles/auditor.py" in wrong.output
    assert [each["what"] for each in json.loads(command("--check", str(file), "--json").stdout)["differences"]] == [
        "code"
    ]


def test_files_that_differ_in_line_endings_alone_are_told_from_others(as_installed: Path, tmp_path: Path) -> None:
    record, file = attestation.full().model_dump(), tmp_path / "software.json"

    def checked() -> str:
        files = software_digests.code_files(as_installed, as_installed / "configs")
        file.write_text(json.dumps({**record, "files": files, "code": software_digests.code_digest(files)}))
        return command("--check", str(file)).output

    for path in as_installed.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert " more (line endings alone)" in checked()
    assert "changed by git (core.autocrlf): clone again" in checked()
    with (as_installed / "errors.py").open("ab") as one:
        one.write(b"# another line\r\n")
    assert "line endings alone)" not in checked()


def test_doctor_says_beforehand_what_an_experiment_would_refuse(tmp_path: Path) -> None:
    def found(**security: list[str]) -> dict[str, bool]:
        file = tmp_path / "own.yaml"
        file.write_text(json.dumps({"security": security}))
        return {check.what: check.ok for check in examine("dealer", str(file), None)}

    own = software_digests.software().code
    assert found()["code"]
    assert "image" not in found()
    assert found(required_code=["0" * 64, own])["code"]
    refused = found(required_code=["0" * 64], required_image=["sha256:" + "0" * 64])
    assert not refused["code"]
    assert not refused["image"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[" * 100_000,
        b"{}",
        b"\xff\xfe",
        b" " * (attestation.MAX_BYTES + 1),
    ],
    ids=["empty", "deep", "no record", "not text", "long"],
)
def test_what_is_no_record_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "software.json"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"not a software record|longer than"):
        attestation.read(file)


@pytest.mark.parametrize(
    "change",
    [
        {"code": "0" * 64},
        {"dependencies": "0" * 64},
        {"files": {"\x1b[2J": "0" * 64}},
        {"packages": {"torch": 2}},
        {"python": "3\n4"},
        {"more": 1},
    ],
    ids=str,
)
def test_a_record_that_does_not_hold_together_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    file = tmp_path / "software.json"
    file.write_text(json.dumps({**attestation.full().model_dump(), **change}))
    with pytest.raises(UsageError, match="not a software record"):
        attestation.read(file)
    file.write_text(json.dumps(attestation.full().model_dump()))
    assert attestation.differences(attestation.full(), attestation.read(file)) == []


def test_there_is_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        attestation.read(tmp_path / "none.json")
