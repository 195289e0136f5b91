"""The container files of parties/, read and not run: there need be no container engine to keep them in order.

`complaints` is a small linter of ours; each of its rules is shown a file that breaks it.
"""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from amint_mpc.cli import main
from amint_mpc.config import ROLES, Party, Role, load_party

ROOT = Path(__file__).parents[2]
PARTIES = ROOT / "parties"
PINNED = re.compile(r"\S+@sha256:[0-9a-f]{64}( AS [a-z]+)?")
COPIED = {"pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "amint_mpc", "configs"}
COPIED |= {"parties/build.lock", "parties/requirements.lock"}


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a Containerfile, as (name, rest); continued lines joined, comments left out."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n", " ", lines)
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def complaints(text: str, party: Party) -> set[str]:
    """What is wrong with a Containerfile."""
    found: set[str] = set()
    steps = instructions(text)
    last = max(i for i, (name, _) in enumerate(steps) if name == "FROM")
    values = [(name, rest) for i, (name, rest) in enumerate(steps) if i > last]
    for name, rest in steps:
        if name == "FROM" and not PINNED.fullmatch(rest):
            found.add("a base without a digest")
        if name == "ADD":
            found.add("ADD")
        if name == "COPY" and not rest.startswith("--from=build /install ") and not {*rest.split()[:-1]} <= COPIED:
            found.add("copies what it should not")
        if name in ("ARG", "ENV") and re.search(r"(?i)(password|secret|token|private|_key)", rest):
            found.add("a secret in an image")
        if name == "RUN" and "pip install" in rest and "--require-hashes" not in rest and "--no-index" not in rest:
            found.add("a package without a hash")
        if name == "RUN" and re.search(r"\b(curl|wget|git)\b", rest):
            found.add("a download without a hash")
    users = [rest for name, rest in values if name == "USER"]
    if not users or not all(re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user) for user in users):
        found.add("root")
    exposed = [int(rest) for name, rest in values if name == "EXPOSE"]
    if exposed != ([party.listen.port] if party.listen else []):
        found.add("other ports than agreed")
    if any(name == "RUN" for name, _ in values):
        found.add("a command in the last stage")
    return found


def containerfile(role: str) -> str:
    return (PARTIES / role / "Containerfile").read_text()


@pytest.mark.parametrize("role", ROLES)
def test_nothing_is_wrong_with_the_containerfiles(role: Role) -> None:
    assert complaints(containerfile(role), load_party(PARTIES / role / "party.yaml", role)) == set()


def _sub(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        changed = re.sub(old, new, text)
        assert changed != text
        return changed

    return change


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_sub(r"@sha256:\S+\n", "\n"), "a base without a digest"),
        (_sub(r"bookworm@sha256:\S+ AS", "bookworm AS"), "a base without a digest"),
        (_sub("COPY configs configs", "ADD https://example.org/x.tar /"), "ADD"),
        (_sub("COPY configs configs", "COPY . ."), "copies what it should not"),
        (_sub("COPY configs configs", "COPY parties/auditor/keys /party/keys"), "copies what it should not"),
        (_sub("ENV HOME", "ENV API_TOKEN=1 HOME"), "a secret in an image"),
        (_sub("--require-hashes ", ""), "a package without a hash"),
        (_sub("RUN apt-get", "RUN curl x | sh && apt-get"), "a download without a hash"),
        (_sub("USER 10001:10001", "USER 0:0"), "root"),
        (_sub("USER 10001:10001\n", ""), "root"),
        (_sub("EXPOSE 7801\n", ""), "other ports than agreed"),
        (_sub("EXPOSE 7801", "EXPOSE 7801\nEXPOSE 22"), "other ports than agreed"),
        (_sub("WORKDIR /party", "RUN true"), "a command in the last stage"),
    ],
)
def test_a_broken_containerfile_is_found(change: Callable[[str], str], complaint: str) -> None:
    auditor = load_party(PARTIES / "auditor" / "party.yaml", "auditor")
    assert complaint in complaints(change(containerfile("auditor")), auditor)


def test_the_containerfiles_differ_in_the_role_alone() -> None:
    def neutral(role: str) -> str:
        return re.sub(r"EXPOSE \d+\n", "", containerfile(role).replace(role, "ROLE"))

    assert neutral("developer") == neutral("auditor") == neutral("dealer")


@pytest.mark.parametrize("role", ROLES)
def test_the_container_starts_a_command_that_there_is(role: str) -> None:
    steps = dict(instructions(containerfile(role)))
    (program,), arguments = (yaml.safe_load(steps[name]) for name in ("ENTRYPOINT", "CMD"))
    assert program == "amint-mpc"
    parsed = main.commands[arguments[0]].make_context(arguments[0], arguments[1:])
    assert (parsed.params["role"], str(parsed.params["party_file"])) == (role, "/party/party.yaml")


def locked(name: str) -> dict[str, int]:
    """Hashes of each package of a lock file; everything else in it is refused."""
    found: dict[str, int] = {}
    for line in re.sub(r" \\\n\s*", " ", (PARTIES / name).read_text()).splitlines():
        package, *hashes = line.split()
        assert re.fullmatch(r"[a-z0-9-]+==[A-Za-z0-9.]+", package), line
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in hashes), line
        found[package] = len(hashes)
    return found


@pytest.mark.parametrize("name", ["requirements.lock", "build.lock"])
def test_every_package_is_locked_by_hashes_and_no_place_is_named(name: str) -> None:
    packages = locked(name)
    assert packages
    assert min(packages.values()) >= 1
    assert not re.search(r"https?:|index|find-links|@", (PARTIES / name).read_text())


def test_the_lock_has_what_the_project_asks_for() -> None:
    """All of pyproject.toml's dependencies, but those that the Containerfile installs by hashes of its own."""
    text = (ROOT / "pyproject.toml").read_text().partition("\ndependencies = [\n")[2].partition("\n]")[0]
    asked = {
        re.split(r"[><=]", shlex.split(line.strip().rstrip(","), comments=True)[0])[0] for line in text.split("\n")
    }
    names = {package.partition("==")[0] for package in locked("requirements.lock")}
    assert asked - names == {"torch", "torchvision"}
    assert not any(name.startswith(("nvidia", "cuda", "triton")) for name in names)


def test_a_build_sees_nothing_but_what_it_copies() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == COPIED
    assert all(line.startswith(("!", "**/")) for line in lines[1:])


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((PARTIES / "compose.yaml").read_text())
    return loaded


@pytest.mark.parametrize("role", ROLES)
def test_the_services_are_locked_down(role: Role) -> None:
    service = compose()["services"][role]
    assert set(compose()["services"]) == set(ROLES)
    assert service.get("profiles", []) == (["dealer"] if role == "dealer" else [])  # two by default
    program, *arguments = service["command"]
    parsed = main.commands[program].make_context(program, arguments).params
    assert (parsed["role"], parsed["overrides"]) == (
        role,
        ("security.correlations=${AMINT_MPC_CORRELATIONS:-two-party}",),
    )
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"].startswith("${AMINT_MPC_USER:?")
    assert service["tmpfs"] == ["/tmp"]
    assert not {"ports", "privileged", "cap_add", "network_mode", "pid", "ipc", "devices", "env_file"} & service.keys()
    assert service["networks"] == list(compose()["networks"]) == ["parties"]
    assert compose()["networks"]["parties"] == {"internal": True}
    writable = [volume["target"] for volume in service["volumes"] if not volume.get("read_only")]
    assert writable == ["/party/runs"]
    places = {volume["source"] for volume in service["volumes"]}
    assert places == {f"./compose/{role}.yaml", f"./{role}/keys", f"./{role}/runs"}  # no other party's keys
    assert (ROOT / service["build"]["dockerfile"]).samefile(PARTIES / role / "Containerfile")
    assert list(service["environment"]) == ["AMINT_MPC_IMAGE_DIGEST"]


@pytest.mark.parametrize("role", ROLES)
def test_the_party_files_of_the_services_fit_the_others(role: Role) -> None:
    own, usual = load_party(PARTIES / "compose" / f"{role}.yaml", role), load_party(PARTIES / role / "party.yaml", role)
    for name in ("listen", "auditor", "dealer"):
        here, there = getattr(own, name), getattr(usual, name)
        assert (here and here.port) == (there and there.port)
        if here:
            assert here.host == ("0.0.0.0" if name == "listen" else name)
