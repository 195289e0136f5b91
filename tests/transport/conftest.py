"""Keys of three parties, and links of every kind between the developer and the auditor."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from amint_mpc import identity
from amint_mpc.config import ROLES, Address
from amint_mpc.identity import Identity
from amint_mpc.transport.channel import FramedChannel
from amint_mpc.transport.connect import connect
from amint_mpc.transport.listener import Listener
from amint_mpc.transport.wire import memory_wires

KINDS = ("memory", "memory-ahead", "tls", "tls-ahead")
Pair = tuple[FramedChannel, FramedChannel]


class MakePair(Protocol):
    def __call__(self, **options: Any) -> Pair: ...


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Identity]:
    """Each role with a folder of its own that trusts the two others."""
    root = tmp_path_factory.mktemp("parties")
    made: dict[str, Identity] = {role: identity.create(root / role, role) for role in ROLES}
    for mine in made.values():
        for other in made.values():
            if mine is not other:
                identity.trust(mine.folder, other.role, other.certificate_file)
    return made


@pytest.fixture
def stranger(tmp_path: Path, keys: dict[str, Identity]) -> Identity:
    """Calls itself the developer and trusts the auditor, with keys that nobody trusts."""
    mine = identity.create(tmp_path / "stranger", "developer")
    identity.trust(mine.folder, "auditor", keys["auditor"].certificate_file)
    return mine


@pytest.fixture(params=KINDS)
def make_pair(request: pytest.FixtureRequest, keys: dict[str, Identity]) -> Iterator[MakePair]:
    """Builds (the developer's end, the auditor's end); `-ahead`: both ends read ahead."""
    kind: str = request.param
    open_now = ExitStack()

    def make(**options: Any) -> Pair:
        options = {"idle_timeout_s": 20.0, "send_timeout_s": 20.0, "heartbeat_s": None, **options}
        if kind.endswith("ahead"):
            options["prefetch_bytes"] = 64 << 20
        ends = tls_pair(keys, **options) if kind.startswith("tls") else _memory_pair(**options)
        for end in ends:
            open_now.callback(end.close)
        return ends

    with open_now:
        yield make


def _memory_pair(**options: Any) -> Pair:
    left, right = memory_wires()
    return FramedChannel(left, "auditor", **options), FramedChannel(right, "developer", **options)


def tls_pair(keys: dict[str, Identity], **options: Any) -> Pair:
    with Listener(Address(port=0), keys["auditor"], ["developer"]) as listener, ThreadPoolExecutor(1) as pool:
        there = pool.submit(connect, listener.address, keys["developer"], "auditor", 10, **options)
        here = listener.accept("developer", 10, **options)
        return there.result(), here


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(2)  # one that greeted a peer may be about to end
    assert [thread.name for thread in threading.enumerate() if thread not in before] == []
