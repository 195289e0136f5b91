"""Who gets in over TLS and who does not. Refusals are real: every stranger connects over loopback."""

import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from amint_mpc import identity
from amint_mpc.config import Address
from amint_mpc.errors import IdentityError, PeerError, UsageError
from amint_mpc.identity import Identity
from amint_mpc.transport import listener as listeners
from amint_mpc.transport.connect import _connect_once, connect
from amint_mpc.transport.listener import Listener
from amint_mpc.transport.tls import make_context

Keys = dict[str, Identity]


@pytest.fixture
def notices() -> list[str]:
    return []


@pytest.fixture
def listener(keys: Keys, notices: list[str]) -> Iterator[Listener]:
    """The auditor waits for the developer. Whatever a test does, the developer still gets in afterwards."""
    with Listener(Address(port=0), keys["auditor"], ["developer"], notices.append) as listening:
        yield listening
        with ThreadPoolExecutor(1) as pool:
            there = pool.submit(connect, listening.address, keys["developer"], "auditor", 10)
            with listening.accept("developer", 10) as here, there.result() as end:
                end.send("x", 0, torch.ones(3))
                assert here.receive("x", 0, (torch.float32, (3,)))[0].sum() == 3


def said(notices: list[str], count: int) -> str:
    """The notices, once there are `count`: the listener's thread may report after the stranger has read its refusal."""
    deadline = time.monotonic() + 5
    while len(notices) < count and time.monotonic() < deadline:
        time.sleep(0.005)
    assert len(notices) == count
    return "\n".join(notices)


def dial(address: Address) -> socket.socket:
    return socket.create_connection((address.host, address.port), timeout=5)


def until_closed(sock: socket.socket) -> None:
    """The other end closes or resets without a word of its own protocol."""
    try:
        while sock.recv(4096):
            pass
    except ConnectionResetError:
        pass


def test_stranger_without_a_certificate_is_refused(listener: Listener, keys: Keys, notices: list[str]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with dial(listener.address) as raw, context.wrap_socket(raw) as sock, pytest.raises(ssl.SSLError):
        sock.recv(1)
    assert "it showed no certificate" in said(notices, 1)


def test_the_address_of_a_stranger_has_brackets_where_it_needs_them(keys: Keys, notices: list[str]) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with Listener(Address(host="::1", port=0), keys["auditor"], ["developer"], notices.append) as listening:
        assert str(listening.address).startswith("[::1]:")
        dial(listening.address).close()
        assert "refused a connection from [::1]:" in said(notices, 1)


def test_stranger_with_another_key_is_refused(listener: Listener, stranger: Identity, notices: list[str]) -> None:
    with pytest.raises(IdentityError, match="refused the certificate of this developer") as caught:
        connect(listener.address, stranger, "auditor", 5)
    assert stranger.fingerprint in caught.value.hint
    assert "its certificate is not the pinned one" in said(notices, 1)


def test_auditors_key_in_the_developers_place_is_refused(listener: Listener, keys: Keys, notices: list[str]) -> None:
    context, _ = make_context(ssl.PROTOCOL_TLS_CLIENT, keys["developer"], ["auditor"])
    context.load_cert_chain(keys["auditor"].certificate_file, keys["auditor"].key_file)
    with dial(listener.address) as raw, context.wrap_socket(raw) as sock, pytest.raises(ssl.SSLError):
        sock.recv(1)
    assert "its certificate is not the pinned one" in said(notices, 1)


def test_trusted_role_cannot_take_the_place_of_another(keys: Keys) -> None:
    """The dealer trusts both; the auditor, by its own key, claims to be the developer."""
    notices: list[str] = []
    with Listener(Address(port=0), keys["dealer"], ["developer", "auditor"], notices.append) as listening:
        posing = replace(keys["auditor"], role="developer")
        context, pins = make_context(ssl.PROTOCOL_TLS_CLIENT, keys["auditor"], ["dealer"])
        with pytest.raises(OSError, match="closed"):
            _connect_once(context, pins, listening.address, posing.role, "dealer", 1e12, {})
        with pytest.raises(PeerError, match="the developer did not connect"):
            listening.accept("developer", 0.05)
    assert "showed the certificate of the auditor and claims another role" in said(notices, 1)


def test_who_looks_for_another_party_is_refused(listener: Listener, keys: Keys, notices: list[str]) -> None:
    context, pins = make_context(ssl.PROTOCOL_TLS_CLIENT, keys["developer"], ["auditor"])
    with pytest.raises(OSError, match="closed"):
        _connect_once(context, pins, listener.address, "developer", "dealer", 1e12, {})
    assert "looks for another party than the auditor" in said(notices, 1)


def test_older_tls_is_refused(listener: Listener, keys: Keys, notices: list[str]) -> None:
    context, _ = make_context(ssl.PROTOCOL_TLS_CLIENT, keys["developer"], ["auditor"])
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    with dial(listener.address) as raw, pytest.raises(ssl.SSLError, match=r"(?i)alert protocol version"):
        context.wrap_socket(raw)
    with dial(listener.address) as raw:
        raw.sendall(b"GET / HTTP/1.0\r\n\r\n")
        until_closed(raw)
    assert said(notices, 2).count("no TLS 1.3 connection") == 2


def test_strangers_that_send_nothing_block_nobody(keys: Keys) -> None:
    with Listener(Address(port=0), keys["auditor"], ["developer"]) as listening:
        idle = [dial(listening.address) for _ in range(20)]
        with ThreadPoolExecutor(1) as pool:
            there = pool.submit(connect, listening.address, keys["developer"], "auditor", 5)
            listening.accept("developer", 5).close()
            there.result().close()
        for sock in idle:
            sock.close()


def test_strangers_in_every_place_keep_nobody_out(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "MAX_STRANGERS", 4)
    with Listener(Address(port=0), keys["auditor"], ["developer"]) as listening:
        idle = [dial(listening.address) for _ in range(10)]
        with ThreadPoolExecutor(1) as pool:
            there = pool.submit(connect, listening.address, keys["developer"], "auditor", 3)  # less than HANDSHAKE_S
            listening.accept("developer", 5).close()
            there.result().close()
        for sock in idle[:6]:
            until_closed(sock)
        for sock in idle:
            sock.close()


def test_impostor_that_listens_is_refused(keys: Keys, stranger: Identity, tmp_path: Path) -> None:
    impostor = identity.create(tmp_path / "impostor", "auditor")
    identity.trust(impostor.folder, "developer", keys["developer"].certificate_file)
    with (
        Listener(Address(port=0), impostor, ["developer"]) as listening,
        pytest.raises(IdentityError, match="did not show the certificate that is pinned to the auditor"),
    ):
        connect(listening.address, keys["developer"], "auditor", 5)


def test_second_link_of_the_same_role_is_refused(keys: Keys) -> None:
    with Listener(Address(port=0), keys["auditor"], ["developer"]) as listening, ThreadPoolExecutor(1) as pool:
        there = pool.submit(connect, listening.address, keys["developer"], "auditor", 5)
        with listening.accept("developer", 5), there.result(), pytest.raises(PeerError, match="no auditor at"):
            connect(listening.address, keys["developer"], "auditor", 0.2)


def test_port_that_is_taken_is_a_usage_error(listener: Listener, keys: Keys) -> None:
    with pytest.raises(UsageError, match="the port is taken") as caught:
        Listener(listener.address, keys["auditor"], ["developer"])
    assert "another port" in caught.value.hint


def test_nobody_there_says_where_and_what_to_start(keys: Keys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    notices: list[str] = []
    with pytest.raises(PeerError, match=f"no auditor at 127.0.0.1:{port} within 0.3 s") as caught:
        connect(Address(port=port), keys["developer"], "auditor", 0.3, notices.append)
    assert "Start the auditor" in caught.value.hint
    assert notices == [f"waiting for the auditor at 127.0.0.1:{port}"]


def test_connecting_side_may_start_first(keys: Keys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = Address(port=free.getsockname()[1])
    with ThreadPoolExecutor(1) as pool:
        there = pool.submit(connect, address, keys["developer"], "auditor", 10)
        with pytest.raises(TimeoutError):
            there.exception(timeout=0.2)  # still trying
        with Listener(address, keys["auditor"], ["developer"]) as listening:
            listening.accept("developer", 10).close()
            there.result().close()


def test_missing_or_shared_certificate_is_refused(keys: Keys, tmp_path: Path) -> None:
    alone = identity.create(tmp_path / "alone", "developer")
    with pytest.raises(IdentityError, match="no certificate of the auditor is trusted"):
        connect(Address(port=1), alone, "auditor", 1)
    trusted = alone.folder / "trusted"
    trusted.mkdir()
    (trusted / "auditor.pem").write_bytes(alone.certificate_file.read_bytes())
    with pytest.raises(UsageError, match="one certificate is trusted for two roles"):
        connect(Address(port=1), alone, "auditor", 1)


def test_killed_peer_is_noticed_at_once(keys: Keys) -> None:
    program = """
        import sys, time
        from pathlib import Path
        from amint_mpc import identity
        from amint_mpc.config import Address
        from amint_mpc.transport.connect import connect
        link = connect(Address(port=int(sys.argv[2])), identity.load(Path(sys.argv[1]), "developer"), "auditor", 20)
        link.send_json("ready", True)
        time.sleep(100)
    """
    with Listener(Address(port=0), keys["auditor"], ["developer"]) as listening:
        command = [sys.executable, "-c", textwrap.dedent(program)]
        command += [str(keys["developer"].folder), str(listening.address.port)]
        with subprocess.Popen(command) as peer, listening.accept("developer", 60) as link:
            try:
                assert link.receive_json("ready") is True
                with ThreadPoolExecutor(1) as pool:
                    waiting = pool.submit(link.receive, "x", 0)
                    peer.send_signal(signal.SIGKILL)
                    with pytest.raises(PeerError, match="the developer was lost"):
                        waiting.result(timeout=5)  # the idle timeout is 300 s
            finally:
                peer.kill()
