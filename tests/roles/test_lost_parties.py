"""One party dies or is stopped in mid-training: the two others end soon, say who it was, and keep what there is."""

import re
import signal
from collections.abc import Callable
from typing import Any

import pytest
from safetensors.torch import load_file

from amint_mpc.config import ROLES, Role
from tests.roles.party_processes import Child, Site, joint_epochs, records, wait_until

pytestmark = pytest.mark.timeout(240)

MakeSite = Callable[..., Site]


def training(site: MakeSite, **dealer: Any) -> tuple[Site, dict[str, Child]]:
    """Three parties that have finished two joint epochs of a long run. The dealer cannot run far ahead.

    Args:
        dealer: settings for its party file.
    """
    place = site("training.epochs=2000", dealer_memory_mb=1)
    place.change("dealer", **dealer)
    children = {role: place.fork(role) for role in ROLES}
    folder = place.run_folder("developer")

    def trained() -> bool:
        return joint_epochs(folder) >= 2

    def ended() -> bool:
        return any(child.code() is not None for child in children.values())

    def told() -> str:
        return "\n".join(child.out + child.err for child in children.values())

    wait_until(lambda: trained() or ended(), 120, lambda: f"two epochs\n{told()}")
    assert not ended(), told()
    return place, children


def assert_kept(place: Site) -> None:
    folder = place.run_folder("developer")
    assert joint_epochs(folder) >= 2
    assert load_file(folder / "backbone.safetensors")
    assert not (folder / "summary.json").exists()
    assert any(record["event"] == "step" for record in records(place.run_folder("auditor")))
    assert not (place.run_folder("auditor") / "head.safetensors").exists()


@pytest.mark.parametrize("lost", ROLES)
def test_a_killed_party(site: MakeSite, lost: Role) -> None:
    place, children = training(site)
    children[lost].send(signal.SIGKILL)
    named = re.compile(rf"the {lost} was lost|the \w+ lost the {lost}")  # own link, or what a peer said last
    for role in set(ROLES) - {lost}:
        assert children[role].wait(30) == 3
        assert named.search(children[role].err), children[role].err
        assert f"Look at the {lost}'s screen" in children[role].err
        assert named.search((place.run_folder(role) / "log.txt").read_text())
    assert_kept(place)


def test_the_dealer_gives_up_a_frozen_developer(site: MakeSite) -> None:
    _, children = training(site, idle_timeout_s=8)
    children["developer"].send(signal.SIGSTOP)
    assert children["dealer"].wait(40) == 3
    assert "the developer was lost: silent for 8 s" in children["dealer"].err


@pytest.mark.parametrize(
    "stopped",
    ["developer", pytest.param("auditor", marks=pytest.mark.long), pytest.param("dealer", marks=pytest.mark.long)],
)
def test_ctrl_c_at_one_party(site: MakeSite, stopped: Role) -> None:
    place, children = training(site)
    children[stopped].send(signal.SIGINT)
    assert children[stopped].wait(30) == 130
    assert "interrupted" in children[stopped].err
    others = {role: child for role, child in children.items() if role != stopped}
    assert {role: child.wait(30) for role, child in others.items()} == dict.fromkeys(others, 3)
    for child in others.values():
        assert re.search(rf"the {stopped} was stopped by its user|the \w+ lost the {stopped}", child.err), child.err
    assert any(f"the {stopped} was stopped by its user" in child.err for child in others.values())
    assert_kept(place)
