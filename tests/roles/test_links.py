"""What peers tell each other beside the computation: figures and the number of a session."""

from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import pytest
import torch

from amint_mpc.config import Experiment
from amint_mpc.errors import PeerError, ProtocolError
from amint_mpc.evidence import software_digests
from amint_mpc.evidence.session import AgreedSession
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.checking import Block
from amint_mpc.mpc.correlations.prg import SecretStream
from amint_mpc.mpc.correlations.supply import Supply
from amint_mpc.results import Figure
from amint_mpc.roles import links, seeds
from amint_mpc.roles.backends.with_dealer import WatchedSupply
from amint_mpc.roles.told_figures import check_figures, check_values
from amint_mpc.transport.channel import memory_pair

GOOD = {"value": 0.5, "low": 0.4, "high": 0.6}


def test_figures_are_taken_as_they_are() -> None:
    assert check_figures({}) == {}
    assert check_figures({"mint_auc": GOOD, "mint_accuracy_at_half": {"value": 0, "low": 0, "high": 1}}) == {
        "mint_auc": Figure.model_validate(GOOD),
        "mint_accuracy_at_half": Figure(value=0, low=0, high=1),
    }


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        "0.5",
        {"mint_auc": 0.5},
        {"mint_auc": {**GOOD, "value": "0.5"}},
        {"mint_auc": {**GOOD, "value": None}},
        {"mint_auc": {**GOOD, "value": 1.01}},
        {"mint_auc": {**GOOD, "low": -0.1}},
        {"mint_auc": {**GOOD, "high": float("nan")}},
        {"mint_auc": {**GOOD, "high": 10**400}},
        {"mint_auc": {"value": 0.5, "low": 0.4}},
        {"mint_auc": {"value": 0.5}},
        {"mint_auc": {"value": 0.5, "low": 0.6, "high": 0.4}},
        {"mint_accuracy": GOOD},  # which one?
        {"mint_auc": {**GOOD, "more": 0.5}},
        {"task_accuracy": GOOD},  # the developer's own
        {"\x1b[31mred": GOOD},
        {"x": GOOD},
        {1: GOOD},
    ],
)
def test_malformed_figures_are_refused(told: object) -> None:
    with pytest.raises(ProtocolError, match="not what was agreed") as caught:
        check_figures(told)
    assert "\x1b" not in caught.value.message


def test_values_of_an_epoch_are_shares_without_an_interval() -> None:
    assert check_values({"mint_auc": 0.5, "mint_accuracy_at_half": 1}) == {
        "mint_auc": 0.5,
        "mint_accuracy_at_half": 1.0,
    }


@pytest.mark.parametrize(
    "told", [None, [], {"mint_auc": GOOD}, {"mint_auc": "0.5"}, {"mint_auc": True}, {"mint_auc": 1.01}, {"x": 0.5}]
)
def test_malformed_values_are_refused(told: object) -> None:
    with pytest.raises(ProtocolError, match="not what was agreed"):
        check_values(told)


UNCHECKED = repeat(Block({}, checked=False))
SEEDS = b"d" * 32, b"a" * 32
SESSION = seeds.new_session(SEEDS)


def pair_of_numbers(mine: seeds.Session, theirs: seeds.Session) -> list[BaseException | None]:
    ends = memory_pair()
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(seeds.check_same_session, end, n) for end, n in zip(ends, (mine, theirs), strict=True)]
    for end in ends:
        end.close()
    return [future.exception() for future in futures]


def test_one_session_of_one_dealer() -> None:
    assert pair_of_numbers(SESSION, SESSION) == [None, None]


@pytest.mark.parametrize("other", [seeds.new_session(SEEDS), SESSION._replace(seeds=(b"x" * 32, SESSION.seeds[1]))])
def test_another_session_of_a_dealer_is_refused_at_both(other: seeds.Session) -> None:
    errors = pair_of_numbers(SESSION, other)
    for error, peer in zip(errors, ("auditor", "developer"), strict=True):
        assert isinstance(error, PeerError)
        assert error.message.startswith(f"the {peer} is connected to another dealer")


def test_the_dealer_gives_each_a_seed_of_its_own_and_both_one_number() -> None:
    (to_developer, developer), (to_auditor, auditor) = memory_pair("dealer", "x"), memory_pair("dealer", "y")
    told, streams = seeds.hand_out_seeds(to_developer, to_auditor)
    (first, mine), (second, theirs) = seeds.receive_seed(developer, DEVELOPER), seeds.receive_seed(auditor, AUDITOR)
    assert told == first
    assert first == second
    own = [SecretStream(seed, seeds.DEALT) for seed in (mine, theirs)]
    drawn = [stream.draw(0, [(torch.int64, (4,))])[0].tolist() for stream in (*streams, *own)]
    assert drawn[:2] == drawn[2:]
    assert drawn[0] != drawn[1]
    _, again = seeds.hand_out_seeds(to_developer, to_auditor)
    assert seeds.receive_seed(developer, DEVELOPER)[0] != first
    with pytest.raises(ProtocolError, match="another seed than it gave"):
        seeds.receive_seed(auditor, DEVELOPER)
    assert again[0].draw(0, [(torch.int64, (4,))])[0].tolist() != drawn[0]
    for end in (to_developer, developer, to_auditor, auditor):
        end.close()


def test_a_loss_that_a_peer_reports_names_the_third() -> None:
    with (
        pytest.raises(PeerError, match=r"^the developer lost the dealer$") as caught,
        links.name_lost_third_party("auditor"),
    ):
        raise PeerError("whatever the text is", peer="developer", reason="peer")
    assert caught.value.hint.startswith("Look at the dealer's screen")
    with pytest.raises(PeerError, match=r"^the developer was lost$"), links.name_lost_third_party("auditor"):
        raise PeerError("the developer was lost")


def test_the_auditor_takes_no_masks_once_the_dealer_is_lost() -> None:
    ours, dealers = memory_pair("auditor", "dealer", prefetch_bytes=4096)
    supply = WatchedSupply(SecretStream(b"s" * 32, seeds.DEALT), ours, UNCHECKED, memory_pair()[0])
    assert supply.party == AUDITOR
    assert supply.take(0, {}) == {}
    dealers.abort("interrupted")

    def go_on() -> None:
        for step in range(1, 1_000_000):
            supply.take(step, {})

    with pytest.raises(PeerError, match="the dealer was stopped by its user"):
        go_on()
    ours.close()


def test_the_auditor_goes_on_when_the_dealer_has_dealt_everything() -> None:
    ours, dealers = memory_pair("auditor", "dealer", prefetch_bytes=4096)
    supply = WatchedSupply(SecretStream(b"s" * 32, seeds.DEALT), ours, UNCHECKED, memory_pair()[0])
    dealers.close()
    assert [supply.take(step, {}) for step in range(1000)] == [{}] * 1000
    ours.close()


def test_supplies_say_whose_they_are() -> None:
    with pytest.raises(ValueError, match="the auditor has none"):
        Supply(SecretStream(b"s" * 32, seeds.DEALT), AUDITOR, memory_pair()[0])


def test_other_code_comes_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    own = software_digests.software()
    other = own.model_copy(update={"code": "b" * 64})
    said: list[str] = []
    for theirs in (own, other):
        session = AgreedSession(bytes(32), "auditor", {"developer": own, "auditor": theirs})
        monkeypatch.setattr(links, "handshake", lambda *_, session=session: session)
        with links.Links(Experiment(), "developer", said.append) as mine:
            mine.add(memory_pair()[0])
    same, differs = said
    assert f"same code {own.code[:12]}" in same
    assert "attest" not in same
    assert "OTHER CODE bbbbbbbbbbbb (amint-mpc attest --json" in differs
    assert "attest --check" in differs
    assert "line endings" in differs
