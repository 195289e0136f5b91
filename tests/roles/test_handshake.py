"""Two parties agree on terms, or learn exactly why not. Both run over a memory link; a forger writes its own hello."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from amint_mpc.config import Data, Experiment, Model, Role, Security, Training
from amint_mpc.errors import AmintError, PeerError, ProtocolError
from amint_mpc.evidence.software_digests import Software, software
from amint_mpc.roles.handshake import AgreedSession, handshake
from amint_mpc.transport.channel import memory_pair

Outcome = AgreedSession | AmintError


def meet(
    mine: Experiment,
    theirs: Experiment,
    claims: Role = "auditor",
    software: tuple[Software | None, Software | None] = (None, None),
) -> tuple[Outcome, Outcome]:
    def attempt(*terms: Any) -> Outcome:
        try:
            return handshake(*terms)
        except AmintError as error:
            return error

    here, there = memory_pair()
    with here, there, ThreadPoolExecutor(2) as pool:
        other = pool.submit(attempt, there, claims, "developer", theirs, software[1])
        return attempt(here, "developer", "auditor", mine, software[0]), other.result()


def forged(change: Callable[[dict[str, Any]], object]) -> AmintError:
    """What the developer says to an auditor's good hello after `change`."""
    experiment = Experiment()
    here, there = memory_pair()
    probe, echo = memory_pair()
    with here, there, probe, echo:
        probe.send_json("hello", None)
        with pytest.raises(ProtocolError):
            handshake(echo, "auditor", "developer", experiment)
        hello: Any = probe.receive_json("hello")
        change(hello)
        there.send_json("hello", hello)
        with pytest.raises(AmintError) as caught:
            handshake(here, "developer", "auditor", experiment)
    assert (caught.value.message + caught.value.hint).isprintable()
    assert (caught.value.message + caught.value.hint).isascii()
    assert len(caught.value.message) < 2000
    return caught.value


def test_same_terms_give_the_same_session() -> None:
    one, other = meet(Experiment(), Experiment())
    assert isinstance(one, AgreedSession)
    assert isinstance(other, AgreedSession)
    assert one.id == other.id
    assert len(one.id) == 32
    assert (one.peer, other.peer) == ("auditor", "developer")


def test_no_two_sessions_are_the_same() -> None:
    first, _ = meet(Experiment(), Experiment())
    second, _ = meet(Experiment(), Experiment())
    assert isinstance(first, AgreedSession)
    assert isinstance(second, AgreedSession)
    assert first.id != second.id


def test_handshake_is_one_round() -> None:
    here, there = memory_pair()
    with here, there, ThreadPoolExecutor(1) as pool:
        other = pool.submit(handshake, there, "auditor", "developer", Experiment())
        handshake(here, "developer", "auditor", Experiment())
        other.result()
        assert here.stats.rounds <= 2  # 1 if both speak first; threads may take turns
        assert here.stats.frames_sent == 1


def test_other_experiment_names_every_key_with_both_values() -> None:
    mine = Experiment(training=Training(epochs=40), model=Model(backbone="a"))
    here, there = meet(mine, Experiment(training=Training(epochs=30), model=Model(backbone="b")))
    assert isinstance(here, PeerError)
    assert isinstance(there, PeerError)
    assert "training.epochs: here 40, auditor 30" in here.message
    assert 'model.backbone: here "a", auditor "b"' in here.message
    assert "training.epochs: here 30, developer 40" in there.message


def test_many_differences_are_counted_not_listed() -> None:
    def other(hello: dict[str, Any]) -> None:
        hello["digest"] = "0" * 64
        hello["experiment"] = {f"key{n}": n for n in range(500)}

    assert " more" in forged(other).message


def test_other_role_is_refused() -> None:
    here, _ = meet(Experiment(), Experiment(), claims="dealer")
    assert isinstance(here, PeerError)
    assert "expected the auditor and met a party with the role dealer" in here.message


@pytest.mark.parametrize("package", ["amint_mpc", "crypten", "torch"])
def test_other_version_is_refused(package: str) -> None:
    error = forged(lambda hello: hello["versions"].update({package: "0.0.9"}))
    assert isinstance(error, PeerError)
    assert f"{package}: here" in error.message
    assert "auditor 0.0.9" in error.message


def test_torchs_patch_and_python_may_differ() -> None:
    from amint_mpc.roles import handshake as module

    ours = module.compared_versions()
    minor = ".".join(ours.torch.split(".")[:2])
    module._check_versions(ours, ours.model_copy(update={"torch": f"{minor}.99+cpu", "python": "3.99"}), "auditor")


def test_other_protocol_is_refused_before_anything_else() -> None:
    def newer(hello: dict[str, Any]) -> None:
        hello.clear()
        hello.update(protocol=6, something="new")

    assert "protocol: here 5, auditor 6" in forged(newer).message


MALFORMED: dict[str, Callable[[dict[str, Any]], object]] = {
    "missing": lambda hello: hello.pop("nonce"),
    "extra": lambda hello: hello.update(more=1),
    "short nonce": lambda hello: hello.update(nonce="00"),
    "role": lambda hello: hello.update(role="root"),
    "types": lambda hello: hello.update(experiment=[]),
    "long version": lambda hello: hello["versions"].update(torch="2" * 1000),
    "digest of something else": lambda hello: hello.update(digest="0" * 64),
    "no software": lambda hello: hello.pop("software"),
    "software: a digest": lambda hello: hello["software"].update(code="0" * 63),
    "software: an image": lambda hello: hello["software"].update(image="latest"),
    "software: extra": lambda hello: hello["software"].update(more="0" * 64),
    "software: long": lambda hello: hello["software"].update(python="3" * 65),
    "software: unprintable": lambda hello: hello["software"].update(machine="\x1b[2J"),
    "software: type": lambda hello: hello["software"].update(native=7),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_hello_is_a_protocol_error(name: str) -> None:
    assert isinstance(forged(MALFORMED[name]), ProtocolError)


def test_what_the_peer_wrote_is_shown_short_and_printable() -> None:
    def nasty(hello: dict[str, Any]) -> None:
        hello["digest"] = "0" * 64
        hello["experiment"] = {"\x1b[2J\u202e" + "k" * 500: "\x1b]0;\x07\x7f" + "v" * 5000}

    error = forged(nasty)
    assert isinstance(error, PeerError)
    assert "vvv..." in error.message


GOOD, BAD, IMAGE = "a" * 64, "b" * 64, "sha256:" + "c" * 64


def running(code: str, image: str | None = None) -> Software:
    return software().model_copy(update={"code": code, "image": image})


def test_both_learn_what_the_other_says_it_runs() -> None:
    one, other = meet(Experiment(), Experiment(), software=(running(GOOD), running(BAD, IMAGE)))
    assert isinstance(one, AgreedSession)
    assert isinstance(other, AgreedSession)
    assert one.software == other.software == {"developer": running(GOOD), "auditor": running(BAD, IMAGE)}
    assert not one.same_code
    measured, _ = meet(Experiment(), Experiment())
    assert isinstance(measured, AgreedSession)
    assert measured.software == {"developer": software(), "auditor": software()}
    assert measured.same_code


@pytest.mark.parametrize("wrong", ["developer", "auditor"])
def test_software_that_is_not_required_is_refused_at_both_ends(wrong: Role) -> None:
    agreed = Experiment(security=Security(required_code=(GOOD, "d" * 64)))
    ends = (running(BAD), running(GOOD)) if wrong == "developer" else (running(GOOD), running(BAD))
    here, there = meet(agreed, agreed, software=ends)
    for error, peer in ((here, "auditor"), (there, "developer")):
        assert isinstance(error, PeerError)
        whose = peer if peer == wrong else "here"
        assert f"{whose} {BAD} (refused)" in error.message
        assert f"{'here' if peer == wrong else peer} {GOOD}, " in error.message
        assert f"required {GOOD} or {'d' * 64}" in error.message


def test_any_of_the_required_codes_will_do() -> None:
    agreed = Experiment(security=Security(required_code=(GOOD, BAD)))
    assert all(isinstance(end, AgreedSession) for end in meet(agreed, agreed, software=(running(GOOD), running(BAD))))


def test_a_required_image_must_be_told() -> None:
    agreed = Experiment(security=Security(required_image=(IMAGE,)))
    assert all(isinstance(end, AgreedSession) for end in meet(agreed, agreed, software=(running(GOOD, IMAGE),) * 2))
    here, there = meet(agreed, agreed, software=(running(GOOD, IMAGE), running(GOOD)))
    assert isinstance(here, PeerError)
    assert isinstance(there, PeerError)
    assert f"image: here {IMAGE}, auditor none (refused), required {IMAGE}" in here.message
    assert f"image: here none (refused), developer {IMAGE}" in there.message


def test_one_party_cannot_drop_the_requirement() -> None:
    """It is part of the experiment, whose digests are compared first."""
    here, there = meet(Experiment(security=Security(required_code=(GOOD,))), Experiment())
    assert isinstance(here, PeerError)
    assert isinstance(there, PeerError)
    assert "security.required_code" in here.message


def test_session_depends_on_the_terms() -> None:
    """Known answer: HKDF-SHA256 over the two nonces, salted with the digest."""
    from amint_mpc.roles import handshake as module

    def hello(role: Role, nonce: str) -> Any:
        digest = Experiment(data=Data(members=100, external=100)).digest()
        found = {"versions": module.compared_versions(), "software": software()}
        return module._Hello(role=role, experiment={}, digest=digest, nonce=nonce * 64, **found)

    one, other = hello("developer", "1"), hello("auditor", "2")
    assert module._session_id(one, other) == module._session_id(other, one)
    assert module._session_id(one, other) != module._session_id(hello("developer", "2"), hello("auditor", "1"))
    assert module._session_id(one, other) != module._session_id(one, hello("dealer", "2"))
