"""What keeps a run from starting: each party ends with the right code, and says what to do."""

import re
import shutil
import socket
from collections.abc import Callable

import pytest

from amint_mpc.evidence.software_digests import software
from tests.roles.party_processes import Site

pytestmark = pytest.mark.timeout(120)

MakeSite = Callable[..., Site]
INSECURE = "--insecure-embedded-dealer"


def test_different_experiments_name_the_key_at_both(site: MakeSite) -> None:
    place = site()
    auditor, developer = place.fork("auditor"), place.fork("developer", "--set", "training.epochs=3")
    for child, mine, theirs in ((auditor, 2, "developer 3"), (developer, 3, "auditor 2")):
        assert child.wait(60) == 3
        assert f"training.epochs: here {mine}, {theirs}" in child.err
        assert "hint:" in child.err


def test_software_that_the_experiment_does_not_allow(site: MakeSite) -> None:
    place = site(f"security.required_code=['{'a' * 64}']")
    auditor, developer = place.fork("auditor"), place.fork("developer")
    for child, peer in ((auditor, "developer"), (developer, "auditor")):
        assert child.wait(60) == 3
        code = software().code
        assert f"code: here {code} (refused), {peer} {code} (refused), required {'a' * 64}" in child.err
        assert "amint-mpc attest" in child.err


@pytest.mark.parametrize("insecure", ["developer", "auditor"])
def test_one_party_alone_cannot_do_without_a_dealer(site: MakeSite, insecure: str) -> None:
    place = site()
    flags = {role: [INSECURE] if role == insecure else [] for role in ("auditor", "developer")}
    for child in [place.fork("auditor", *flags["auditor"]), place.fork("developer", *flags["developer"])]:
        assert child.wait(60) == 3
        assert "security.correlations" in child.err
        assert "insecure-embedded-dealer" in child.err


def test_a_dealer_with_another_experiment(site: MakeSite) -> None:
    """The dealer names the key. The two others name it or point to the dealer's screen, as far as they got with it."""
    place = site()
    auditor, dealer, developer = place.fork("auditor"), place.fork("dealer", "--set", "seed=2"), place.fork("developer")
    assert [child.wait(60) for child in (auditor, dealer, developer)] == [3, 3, 3]
    assert "seed: here 2, auditor 1" in dealer.err
    seen = "seed: here 1, dealer 2|the dealer's (own )?screen"
    assert re.search(seen, auditor.err), auditor.err
    assert re.search(seen + "|The auditor's own screen", developer.err), developer.err


def test_no_dealer(site: MakeSite) -> None:
    place = site(connect_timeout_s=8)
    for child in [place.fork("auditor"), place.fork("developer")]:
        assert child.wait(60) == 3
        assert f"no dealer at 127.0.0.1:{place.port('dealer')} within 8 s" in child.err
        assert "Start the dealer there" in child.err


def test_no_auditor_and_no_developer(site: MakeSite) -> None:
    developers, auditors, dealers = (site(connect_timeout_s=1) for _ in range(3))
    developer, auditor, dealer = developers.fork("developer"), auditors.fork("auditor"), dealers.fork("dealer")
    assert [child.wait(60) for child in (developer, auditor, dealer)] == [3, 3, 3]
    assert f"no auditor at 127.0.0.1:{developers.port('auditor')} within 1 s" in developer.err
    assert "Start the auditor there" in developer.err
    assert "the developer did not connect" in auditor.err
    assert "Start the developer" in auditor.err
    assert "the auditor did not connect" in dealer.err


def test_the_auditors_key_does_not_make_a_developer(site: MakeSite) -> None:
    place = site()
    developer, auditor = (place.folder / role / "keys" for role in ("developer", "auditor"))
    shutil.copy(auditor / "auditor.key", developer / "developer.key")
    shutil.copy(auditor / "auditor.pem", developer / "developer.pem")
    waiting, child = place.fork("auditor"), place.fork("developer")
    assert child.wait(60) == 2
    assert "one certificate is trusted for two roles" in child.err
    # Even if it does not know that it is the auditor's: the auditor lets in nobody but its developer.
    shutil.copy(place.folder / "dealer" / "keys" / "dealer.pem", developer / "trusted" / "auditor.pem")
    again = place.fork("developer", "--name", "again")
    assert again.wait(60) == 3
    assert waiting.code() is None


def test_mistakes_on_one_machine(site: MakeSite) -> None:
    """A taken port, a run that exists, a wrong key: code 2 at once, and nothing is written over."""
    place = site()
    taken = place.run_folder("developer")
    taken.mkdir(parents=True)
    (taken / "summary.json").write_text("of an earlier run")
    with socket.create_server(("127.0.0.1", place.port("auditor"))):
        port = place.fork("auditor")
        name = place.fork("developer")
        key = place.fork("dealer", "--set", "training.epochz=3")
        assert [child.wait(60) for child in (port, name, key)] == [2, 2, 2]
    assert "the port is taken" in port.err
    assert "exists already" in name.err
    assert (taken / "summary.json").read_text() == "of an earlier run"
    assert [path.name for path in taken.iterdir()] == ["summary.json"]
    assert "training.epochz" in key.err
    assert "training.epochs?" in key.err
    assert all("hint:" in child.err for child in (port, name, key))
