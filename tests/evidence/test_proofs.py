"""Commitments to images, and proofs about them: honest ones hold, bent ones are refused with the reason."""

import json
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from amint_mpc.cli import main
from amint_mpc.data.split import SplitImages
from amint_mpc.errors import EvidenceError
from amint_mpc.evidence.canonical import pixels_digest
from amint_mpc.evidence.commitments import COMMITTED_SETS, Commitments, index_key
from amint_mpc.evidence.files import SECRET
from amint_mpc.evidence.proofs import (
    Absent,
    Included,
    ProofFile,
    Reopened,
    check,
    check_step,
    decode_file,
    encode_file,
    prove,
    reopen,
)
from tests.evidence.bundles import Bundle, flipped

SECRET_OF_TESTS = bytes(range(32))


def drawn(seed: int = 1) -> SplitImages:
    random = torch.Generator().manual_seed(seed)

    def pixels(count: int) -> torch.Tensor:
        return torch.randint(0, 256, (count, 1, 4, 4), dtype=torch.uint8, generator=random)

    return SplitImages(pixels(13), torch.arange(13) % 10, pixels(7), pixels(5), torch.arange(5), 10)


def digest(image: torch.Tensor) -> bytes:
    return bytes.fromhex(pixels_digest(image))


@pytest.fixture(scope="module")
def images() -> SplitImages:
    return drawn()


@pytest.fixture(scope="module")
def made(images: SplitImages) -> Commitments:
    return Commitments(images, SECRET_OF_TESTS)


@pytest.mark.parametrize("name", COMMITTED_SETS)
def test_every_image_is_in_its_own_set_and_in_no_other(name: Any, images: SplitImages, made: Commitments) -> None:
    for position, image in enumerate(getattr(images, name)):
        for other in COMMITTED_SETS:
            proof = prove(made, other, digest(image))
            check(proof, made.public(), digest(image))
            assert isinstance(proof, Included if other == name else Absent)
            if isinstance(proof, Included):
                labels = {"members": images.member_labels, "unseen": images.unseen_labels}
                label = labels[name][position] if name in labels else -1
                assert (proof.leaf.position, proof.leaf.label) == (position, label)


def test_one_changed_pixel_is_another_image(images: SplitImages, made: Commitments) -> None:
    image = images.members[3].clone()
    image[0, 0, 0] ^= 1
    proof = prove(made, "members", digest(image))
    assert isinstance(proof, Absent)
    check(proof, made.public(), digest(image))
    with pytest.raises(EvidenceError, match=r"is one of the members|do not stand around"):
        check(proof, made.public(), digest(images.members[3]))


def test_absent_images_before_between_and_behind_all_keys(made: Commitments) -> None:
    seen = set()
    for number in range(3000):
        pixels = number.to_bytes(32, "little")
        proof = prove(made, "external", pixels)
        assert isinstance(proof, Absent)
        check(proof, made.public(), pixels)
        seen.add(tuple(each.position for each in proof.neighbours))
    assert seen == {(0,), *((at, at + 1) for at in range(6)), (6,)}


def test_pictures_that_stand_twice_share_a_key(images: SplitImages) -> None:
    double = SplitImages(
        torch.cat([images.members, images.members[:2]]),
        torch.cat([images.member_labels, images.member_labels[:2]]),
        images.external,
        images.unseen,
        images.unseen_labels,
        10,
    )
    made = Commitments(double, SECRET_OF_TESTS)
    assert (made.public().members.size, made.public().members.keys) == (15, 13)
    check(prove(made, "members", digest(images.members[0])), made.public(), digest(images.members[0]))


def test_the_public_part_depends_on_every_image_label_order_and_secret(images: SplitImages, made: Commitments) -> None:
    changed = [
        replace(images, members=images.members.flip(0)),
        replace(images, member_labels=images.member_labels.flip(0)),
        replace(images, unseen=images.unseen ^ 1),
        replace(images, external=images.external.flip(0)),
    ]
    roots = {json.dumps(Commitments(each, SECRET_OF_TESTS).record()) for each in changed}
    roots.add(json.dumps(Commitments(images, bytes(32)).record()))
    assert len(roots | {json.dumps(made.record())}) == 6


def test_nothing_secret_in_what_is_told_or_shown(images: SplitImages, made: Commitments) -> None:
    told = json.dumps(made.record()) + repr(made) + repr(made.sets["members"])
    for secret in (SECRET_OF_TESTS, made.salt, *made.sets["members"].salts, *made.sets["members"].pixels):
        assert secret.hex() not in told


INCLUDED: dict[str, tuple[Callable[[dict], Any], str]] = {
    "another position": (lambda p: p["leaf"].update(position=4), "not number 4 of the members"),
    "a position outside": (lambda p: p["leaf"].update(position=13), "not number 13"),
    "another label": (lambda p: p["leaf"].update(label=5), "not number 3"),
    "no label": (lambda p: p["leaf"].update(label=-1), "not number 3"),
    "another salt": (lambda p: p["leaf"].update(salt=flipped(p["leaf"]["salt"])), "not number 3"),
    "another hash": (lambda p: p["leaf"]["path"].__setitem__(1, "0" * 64), "not number 3"),
    "a shorter path": (lambda p: p["leaf"]["path"].pop(), "not number 3"),
    "a longer path": (lambda p: p["leaf"]["path"].append("0" * 64), "not number 3"),
    "hashes swapped": (lambda p: p["leaf"]["path"].reverse(), "not number 3"),
    "another set": (lambda p: p.update(images="external"), "not number 3 of the external"),
    "an unknown set": (lambda p: p.update(images="secret"), r"proof\.included\.images is not as"),
    "a path without end": (lambda p: p["leaf"].update(path=["0" * 64] * 65), r"leaf\.path is not as"),
    "a path of text": (lambda p: p["leaf"].update(path=["x"]), r"leaf\.path\.0 is not as"),
    "a position as text": (lambda p: p["leaf"].update(position="3"), r"leaf\.position is not as"),
    "a further key": (lambda p: p.update(more=1), r"included\.more is not as"),
    "an unknown claim": (lambda p: p.update(claim="used"), "proof is not as a proof has it"),
}


@pytest.mark.parametrize("name", INCLUDED)
def test_a_bent_proof_of_presence(name: str, images: SplitImages, made: Commitments) -> None:
    change, said = INCLUDED[name]
    refused(prove(made, "members", digest(images.members[3])), change, said, made, digest(images.members[3]))


ABSENT: dict[str, tuple[Callable[[dict], Any], str]] = {
    "another salt": (lambda p: p.update(salt=flipped(p["salt"])), "its index salt is not the one"),
    "one neighbour": (lambda p: p["neighbours"].pop(), "do not stand around"),
    "the other neighbour": (lambda p: p["neighbours"].pop(0), "do not stand around"),
    "no neighbour": (lambda p: p.update(neighbours=[]), "neighbours is not as"),
    "three": (lambda p: p["neighbours"].append(p["neighbours"][0]), "neighbours is not as"),
    "the same twice": (lambda p: p["neighbours"].__setitem__(0, p["neighbours"][1]), "do not stand around"),
    "a made-up key": (lambda p: p["neighbours"][0].update(key="0" * 64), "is not in the index"),
    "another place": (lambda p: p["neighbours"][0].update(position=0), "neighbour 0 is not in the index"),
    "another set": (lambda p: p.update(images="unseen"), "is not in the index of the unseen"),
}


@pytest.mark.parametrize("name", ABSENT)
def test_a_bent_proof_of_absence(name: str, made: Commitments) -> None:
    change, said = ABSENT[name]
    pixels = between(made, 4)
    refused(prove(made, "members", pixels), change, said, made, pixels)


def test_neighbours_that_leave_one_out(made: Commitments) -> None:
    first, last = (prove(made, "members", between(made, at)) for at in (4, 5))
    assert isinstance(first, Absent)
    assert isinstance(last, Absent)
    wide = Absent(images="members", salt=first.salt, neighbours=(first.neighbours[0], last.neighbours[1]))
    with pytest.raises(EvidenceError, match="do not stand around"):
        check(wide, made.public(), between(made, 4))


def test_a_proof_about_another_run(images: SplitImages, made: Commitments) -> None:
    other = Commitments(images, bytes(32)).public()
    for pixels in (digest(images.members[3]), between(made, 4)):
        with pytest.raises(EvidenceError, match="proof: "):
            check(prove(made, "members", pixels), other, pixels)


STEP: dict[str, tuple[Callable[[dict], Any], str]] = {
    "an image fewer": (lambda p: p["members"].pop(), "has other members than"),
    "another order": (lambda p: p["external"].reverse(), "has other external than"),
    "another image": (lambda p: p["members"][1].update(pixels="0" * 64), "not number 2 of the members"),
    "another label": (lambda p: p["members"][1].update(label=9), "not number 2 of the members"),
}


@pytest.mark.parametrize("name", STEP)
def test_a_reopened_step(name: str, made: Commitments) -> None:
    change, said = STEP[name]
    proof = reopen(made, 0, [5, 2], [1, 6])
    check_step(proof, made.public(), [5, 2], [1, 6])
    record = json.loads(as_file(proof))
    change(record["proof"])
    bent = decode_file(json.dumps(record).encode()).proof
    assert isinstance(bent, Reopened)
    with pytest.raises(EvidenceError, match=said):
        check_step(bent, made.public(), [5, 2], [1, 6])


def between(made: Commitments, after: int) -> bytes:
    """Pixels whose key stands behind so many members' keys."""
    keys = made.sets["members"].keys
    numbers = (number.to_bytes(32, "little") for number in range(100_000))
    return next(pixels for pixels in numbers if sum(key < index_key(made.salt, pixels) for key in keys) == after)


def as_file(proof: Included | Absent | Reopened) -> bytes:
    return encode_file(ProofFile(experiment="0" * 64, session="1" * 64, proof=proof))


def refused(
    proof: Included | Absent, change: Callable[[dict], Any], said: str, made: Commitments, pixels: bytes
) -> None:
    check(proof, made.public(), pixels)
    record = json.loads(as_file(proof))
    change(record["proof"])
    with pytest.raises(EvidenceError, match=said):
        _check_raw(json.dumps(record).encode(), made, pixels)


def _check_raw(raw: bytes, made: Commitments, pixels: bytes) -> None:
    found = decode_file(raw).proof
    assert not isinstance(found, Reopened)
    check(found, made.public(), pixels)


# ---- by the commands, on a run


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_from_a_run_to_a_verdict(folders: dict[str, Bundle], tmp_path: Path) -> None:
    ours, theirs = folders["developer"].path, folders["auditor"].path
    assert stat.S_IMODE((ours / SECRET).stat().st_mode) == 0o600
    assert not (theirs / SECRET).exists()
    proof, picture = tmp_path / "proof.json", tmp_path / "image.png"
    made = run("evidence", "prove", "--run", ours, "--position", 7, "--out", proof, "--picture", picture)
    assert made.exit_code == 0, made.output
    assert "number 7 of the members, with label" in made.output
    told = run("evidence", "check", proof, "--run", theirs, "--image", picture)
    assert told.exit_code == 0, told.output
    assert told.output.startswith("the proof holds\nthis image is number 7 of the members")
    assert (ours / SECRET).read_text().strip() not in proof.read_text()

    again = run("evidence", "prove", "--run", ours, "--image", picture, "--out", tmp_path / "again.json")
    assert again.exit_code == 0, again.output
    assert (tmp_path / "again.json").read_bytes() == proof.read_bytes()
    assert run("evidence", "prove", "--run", ours, "--image", picture, "--out", proof).exit_code == 2  # exists

    image = Image.open(picture)
    image.putpixel((0, 0), 255 - int(image.getpixel((0, 0))))
    image.save(tmp_path / "other.png")
    wrong = run("evidence", "check", proof, "--run", theirs, "--image", tmp_path / "other.png", "--json")
    assert wrong.exit_code == 6
    assert json.loads(wrong.stdout.splitlines()[-1])["holds"] is False
    absent = tmp_path / "absent.json"
    run("evidence", "prove", "--run", ours, "--image", tmp_path / "other.png", "--out", absent)
    told = run("evidence", "check", absent, "--run", theirs, "--image", tmp_path / "other.png")
    assert "none of the members" in told.output

    step = tmp_path / "step.json"
    assert run("evidence", "prove", "--run", ours, "--step", 2, "--out", step).exit_code == 0
    told = run("evidence", "check", step, "--run", theirs)
    assert "step 2 had these 24 members and 24 external images" in told.output


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("prove", "--run", "auditor", "--position", "0"), 2, "evidence/commitment.key"),
        (("prove", "--run", "developer", "--position", "48"), 2, "there is no image 48 among the members"),
        (("prove", "--run", "developer", "--step", "6"), 2, "there is no step 6: the run has 6"),
        (("prove", "--run", "developer"), 2, "give one of --image, --position and --step"),
        (("prove", "--run", "developer", "--image", "text.png"), 5, "text.png is not an image"),
    ],
)
def test_what_cannot_be_proved_is_said_in_words(
    arguments: tuple[str, ...], code: int, said: str, folders: dict[str, Bundle], tmp_path: Path
) -> None:
    (tmp_path / "text.png").write_text("no image")
    places = {role: str(bundle.path) for role, bundle in folders.items()} | {"text.png": str(tmp_path / "text.png")}
    made = run("evidence", *(places.get(each, each) for each in arguments), "--out", tmp_path / "out.json")
    assert made.exit_code == code, made.output
    assert said in " ".join(made.output.split())
    assert not (tmp_path / "out.json").exists()


def test_other_images_than_the_committed_ones(folders: dict[str, Bundle], tmp_path: Path) -> None:
    bundle = folders["developer"].copy(tmp_path / "developer")
    bundle.file(SECRET, lambda raw: raw[::-1].strip() + b"\n")
    made = run("evidence", "prove", "--run", bundle.path, "--position", 0, "--out", tmp_path / "out.json")
    assert made.exit_code == 5
    assert "not the images that the run committed to" in made.output


def test_a_file_that_is_no_proof(folders: dict[str, Bundle], tmp_path: Path) -> None:
    for raw in (b"", b"[]", b"{" * 100_000, b'{"version": 2}'):
        (tmp_path / "proof").write_bytes(raw)
        told = run("evidence", "check", tmp_path / "proof", "--run", folders["auditor"].path)
        assert told.exit_code == 6, told.output
        assert "proof: " in told.output
