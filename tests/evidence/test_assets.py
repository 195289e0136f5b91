"""Bundles that were written down once: what was good stays good, what was bad stays bad, in every later version."""

from pathlib import Path

import pytest

from amint_mpc.errors import EvidenceError
from amint_mpc.evidence.verify import compare_logs
from amint_mpc.results import MEMBERSHIP
from tests.evidence.bundles import Bundle

ASSETS = Path(__file__).parent / "assets"

BAD = {
    "changed-byte": r"log: entry 8, step 2 \(epoch 3\): its batch is not the one of this run",
    "missing-step": r"log: entry 8, should be step 2 \(epoch 3\), and is step 3 \(epoch 3\)",
    "newer-version": "log: it is of version 99, this program reads 3",
    "one-party-alone": "log: entry 7, the signed head .*: the signature of the auditor is not by its certificate",
    "repeated-step": r"log: entry 9, should be step 3 \(epoch 3\), and is step 2 \(epoch 3\)",
    "statement-of-another-run": "statement: predicate.log.root is not what the log says",
    "swapped-order": r"log: entry 8, should be step 2 \(epoch 3\), and is step 3 \(epoch 3\)",
    "truncated": r"log: it ends after 8 entries, where step 2 \(epoch 3\) should follow",
    "wrong-key": "log: entry 2, the signed head .*: the signature of the auditor is not by its certificate",
}


def test_the_good_one() -> None:
    found = Bundle(ASSETS / "good", ASSETS).verify()
    assert (found.log.head.size, found.log.steps, found.log.signed, found.covered) == (18, 6, 4, ("experiment.yaml",))


@pytest.mark.parametrize(("name", "steps", "queried"), [("sealed", 10, 0), ("queried", 6, 26)])
def test_logs_of_version_1_hold_for_ever(name: str, steps: int, queried: int) -> None:
    """One has sealed epochs, whose steps are steps; one has queries, which say how many images and which."""
    bundle = Bundle(ASSETS / "version-1" / name, ASSETS)
    assert bundle.entries[0]["version"] == 1
    found = bundle.verify()
    assert (found.log.steps, found.log.sealed, found.log.queried, found.log.answered) == (steps, 0, queried, 0)
    assert found.log.dealt is None


def test_logs_of_version_2_hold_for_ever() -> None:
    sealed = Bundle(ASSETS / "version-2" / "dealt-and-sealed", ASSETS).verify().log
    assert (sealed.steps, sealed.sealed, sealed.dealt["blocks"], sealed.queries) == (10, 6, 40, 0)
    queried = Bundle(ASSETS / "version-2" / "queried", ASSETS).verify().log
    assert (queried.queries, queried.queried, queried.answered) == (2, 30, 1)
    assert queried.dealt["checked"] > 0


def test_logs_of_version_3_hold_for_ever() -> None:
    dealt = Bundle(ASSETS / "version-3" / "dealt-and-sealed", ASSETS).verify().log
    assert (dealt.steps, dealt.sealed, dealt.dealt["blocks"], dealt.made) == (10, 6, 40, None)
    made = Bundle(ASSETS / "version-3" / "made-by-two", ASSETS).verify().log
    assert (made.steps, made.sealed, made.dealt, made.made["links"]) == (10, 6, None, 2)
    queried = Bundle(ASSETS / "version-3" / "queried", ASSETS).verify().log
    assert (queried.queries, queried.queried, queried.answered) == (2, 30, 1)


@pytest.mark.parametrize("kind", ["sealed", "dealt"])
def test_a_log_of_version_1_has_no_entry_of_version_2(kind: str, tmp_path: Path) -> None:
    bundle = Bundle(ASSETS / "version-1" / "sealed", ASSETS).copy(tmp_path / "x")
    bundle.edit(bundle.at("step"), lambda entry: entry.update(kind=kind))
    bundle.refused(f"is of the unknown kind '{kind}'")


def test_the_good_one_has_an_old_name_and_new_logs_have_todays(folders: dict[str, Bundle]) -> None:
    def names(bundle: Bundle) -> list[set[str]]:
        return [set(each["figures"]) for each in bundle.entries if each.get("figures")]

    *epochs, end = names(Bundle(ASSETS / "good", ASSETS))
    assert epochs == [{"mint_auc", "mint_accuracy"}] * 2
    assert "mint_accuracy" in end
    *epochs, end = names(folders["auditor"])
    assert epochs == [{"mint_auc", "mint_accuracy_at_half"}] * 2
    assert end == set(MEMBERSHIP)
    folders["auditor"].verify()


@pytest.mark.parametrize("name", BAD)
def test_a_bad_one(name: str) -> None:
    Bundle(ASSETS / "bad" / name, ASSETS).refused(BAD[name])


def test_all_of_them_are_tried() -> None:
    assert {path.name for path in (ASSETS / "bad").iterdir()} == set(BAD)


def test_another_log_that_both_have_signed() -> None:
    Bundle(ASSETS / "other-log", ASSETS).verify()
    with pytest.raises(EvidenceError, match="have 8 entries in common; at entry 8 they disagree"):
        compare_logs(ASSETS / "good", ASSETS / "other-log")
