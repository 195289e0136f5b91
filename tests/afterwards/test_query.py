"""The private query in one process: what the auditor learns, what the developer does not, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import Tensor

from amint_mpc.afterwards import parties, query
from amint_mpc.afterwards.common import QuerySide, digests
from amint_mpc.afterwards.proving import Prover
from amint_mpc.cli import main
from amint_mpc.errors import AmintError, DataError, EvidenceError, ProtocolError, UsageError
from amint_mpc.evidence.entries import images_digest
from amint_mpc.evidence.files import LOG
from amint_mpc.evidence.software_digests import software
from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.correlations.supply import Supply
from amint_mpc.roles import seeds
from amint_mpc.roles.heads import head_kind
from amint_mpc.transport.channel import Channel, FramedChannel, memory_pair
from tests.afterwards.pair import Pair, mixed


def test_scores_are_those_of_the_plaintext_head(pair: Pair) -> None:
    images = mixed(pair.images)
    found = pair.ask(images, canaries=6)
    head = head_kind(pair.prover.experiment).plaintext(pair.head, pair.prover.experiment.head)
    plain = head.score(query.features_of(pair.classifier, images))
    assert plain is not None
    assert float((found.scores.logit() - plain.logit()).abs().max()) < 0.02
    recorded = torch.cat([pair.recorded["members_calibration"], pair.recorded["members_report"]])[:5]
    assert float((found.scores[:5].logit() - recorded.logit()).abs().max()) < 0.02
    assert found.external == [False] * 5 + [True] * 4 + [False] * 3
    assert found.canaries == 6
    assert found.rounds > 0
    assert found.bytes_sent > 0


def test_both_logs_hold_and_sign_every_query(pair: Pair) -> None:
    for _ in range(2):
        pair.ask(mixed(pair.images), canaries=1)
    logs = [(bundle.path / LOG).read_bytes() for bundle in pair.folders.values()]
    assert logs[0] == logs[1]
    for bundle in pair.folders.values():
        found = bundle.verify()
        assert (found.log.queries, found.log.queried) == (2, 26)
        assert found.log.answered == 2
    *_, asked, _, answered, _ = pair.folders["auditor"].entries
    assert (asked["kind"], asked["images"], len(asked["canaries"])) == ("query", 13, 1)
    assert asked["digest"] == images_digest(digests(mixed(pair.images)))
    assert asked["decoders"] == {"developer": software().decoder, "auditor": software().decoder}
    assert answered["kind"] == "answer"
    assert answered["frames"]["developer"] != answered["frames"]["auditor"]


@pytest.mark.parametrize("field", ["images", "digest", "session"])
def test_a_changed_query_is_found(pair: Pair, field: str) -> None:
    pair.ask(mixed(pair.images))
    bundle = pair.folders["auditor"]
    bundle.edit(bundle.at("query"), lambda entry: entry.update({field: 1 if field == "images" else "0" * 64}))
    bundle.refused("entry 20 does not follow entry 19")
    bundle.rechain()
    bundle.refused("what was signed is not the log before it")


def test_an_unsigned_or_unlimited_query_is_found(pair: Pair) -> None:
    pair.ask(mixed(pair.images))
    bundle = pair.folders["auditor"]
    whole = bundle.lines
    bundle.lines = whole[:-1]
    bundle.refused("entries 21 to 21 at its end are not signed")
    bundle.lines = whole[:-3]
    bundle.refused("entries 19 to 19 at its end are not signed")
    bundle.lines = whole
    bundle.edit(bundle.at("query"), lambda entry: entry.update(images=10**6))
    bundle.resign("developer", "auditor")
    bundle.refused("1000000 images were queried, the experiment allows 10000")


def test_a_developer_with_other_activations_is_caught_by_canaries(pair: Pair) -> None:
    other = parties.classifier(pair.prover.experiment, pair.folders["developer"].path / "backbone.safetensors", "cpu")
    with torch.no_grad():
        for weights in other.backbone.parameters():
            weights.add_(torch.randn(weights.shape, generator=torch.Generator().manual_seed(1)))
    pair.ask(mixed(pair.images), classifier=other)  # nothing tells, without canaries
    with pytest.raises(ProtocolError, match="canaries do not score as they did in the run"):
        pair.ask(mixed(pair.images), canaries=8, classifier=other)


def test_a_developer_that_opens_another_image_is_caught(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Prover.position
    monkeypatch.setattr(Prover, "position", lambda self, name, at: honest(self, name, (at + 1) % 48))
    with pytest.raises(EvidenceError, match="proof: "):
        pair.ask(mixed(pair.images), canaries=3)


def test_the_developer_learns_neither_scores_nor_head(pair: Pair) -> None:
    class Watched:
        def __init__(self, link: FramedChannel) -> None:
            self._link = link
            self.tensors: list[Tensor] = []

        def receive(self, tag: str, step: int, *specs: Any) -> list[Tensor]:
            found = self._link.receive(tag, step, *specs)
            self.tensors += [part for part in found if part.dtype == torch.int64 and part.numel() > 3]
            return found

        def __getattr__(self, name: str) -> Any:
            return getattr(self._link, name)

    watched: list[Watched] = []

    def watch(link: FramedChannel) -> Watched:
        watched.append(Watched(link))
        return watched[-1]

    before = {path.name for path in pair.folders["developer"].path.rglob("*")}
    images = mixed(pair.images)
    first, second = (pair.ask(images, watch=watch) for _ in range(2))
    assert torch.allclose(first.scores, second.scores, atol=1e-3)
    assert {path.name for path in pair.folders["developer"].path.rglob("*")} == before
    # All that came is masked afresh: nothing repeats although head, images and scores are the same both times.
    assert len(watched[0].tensors) == len(watched[1].tensors) >= 2
    for once, again in zip(watched[0].tensors, watched[1].tensors, strict=True):
        assert once.shape == again.shape
        assert not bool((once == again).any())
        # of the full width, 4.8e6 on average; weights would have less than 1 here
        assert float((once >> 40).double().std()) > 2**20


@pytest.mark.parametrize(
    ("limits", "canaries", "opens", "said"),
    [
        ((None, 11), 0, 0, "12 images are asked about; of 11 that the experiment allows, 0 are used up"),
        ((11, None), 0, 0, "the developer does not answer: 12 images are asked about; of 11"),
        ((None, None), 3, 2, "the developer does not answer: 3 canaries are asked for, this developer opens 2"),
    ],
)
def test_what_is_too_much_is_refused_and_not_logged(
    pair: Pair, limits: tuple[int | None, int | None], canaries: int, opens: int, said: str
) -> None:
    before = (pair.folders["auditor"].path / LOG).read_bytes()
    with pytest.raises(UsageError, match=said):
        pair.ask(mixed(pair.images), canaries=canaries, opens=opens, limits=limits)
    assert {(bundle.path / LOG).read_bytes() for bundle in pair.folders.values()} == {before}


def test_another_run_of_the_same_experiment_is_refused(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        QuerySide, "run_id", property(lambda side: {"auditor": "0", "developer": "1"}[side.own.role] * 64)
    )
    with pytest.raises(UsageError, match="it is about another run"):
        pair.ask(mixed(pair.images))


def test_logs_that_differ_stop_the_query_and_stay_as_they_were(pair: Pair) -> None:
    pair.ask(mixed(pair.images))
    behind = pair.folders["developer"]
    behind.lines = behind.lines[:-2]
    before = [(bundle.path / LOG).read_bytes() for bundle in pair.folders.values()]
    with pytest.raises(AmintError, match="the logs differ"):
        pair.ask(mixed(pair.images))
    assert [(bundle.path / LOG).read_bytes() for bundle in pair.folders.values()] == before


def test_the_dealer_deals_for_a_count_that_both_tell(pair: Pair) -> None:
    experiment = pair.prover.experiment
    for counts, good in (((3, 3), True), ((3, 4), False), ((0, 0), False), ((10**6, 10**6), False)):
        links: dict[Any, Channel] = {}
        for role, count in zip(("auditor", "developer"), counts, strict=True):
            near, far = memory_pair()
            seeds.tell_count(far, count)
            links[role] = near
        if good:
            assert seeds.agreed_count(experiment, links) == 3
        else:
            with pytest.raises(ProtocolError):
                seeds.agreed_count(experiment, links)


def test_without_a_peer_the_scores_are_the_same(pair: Pair) -> None:
    auditors, backbone = pair.folders["auditor"].path, pair.folders["developer"].path / "backbone.safetensors"
    scores = parties.plaintext_scores(pair.prover.experiment, auditors, backbone, pair.images.members)
    recorded = torch.cat([pair.recorded["members_calibration"], pair.recorded["members_report"]])
    assert float((scores.logit() - recorded.logit()).abs().max()) < 0.02


def nothing(*_: object) -> None:
    """Progress that nobody watches."""


def test_folders_of_images_that_cannot_be_asked_about(pair: Pair, tmp_path: Path) -> None:
    experiment, folder = pair.prover.experiment, tmp_path / "images"
    with pytest.raises(DataError, match="there is no folder"):
        parties.read_images(experiment, folder, nothing)
    folder.mkdir()
    with pytest.raises(DataError, match="has no images"):
        parties.read_images(experiment, folder, nothing)
    Image.new("L", (28, 28)).save(folder / "good.png")
    (folder / "text.png").write_text("no image")
    Image.new("L", (32, 28)).save(folder / "wide.png")
    with pytest.raises(DataError) as caught:
        parties.read_images(experiment, folder, nothing)
    assert "text.png is not an image" in caught.value.message
    assert "wide.png has 32 x 28 pixels, the images of this data set 28 x 28" in caught.value.message
    for name in ("text.png", "wide.png"):
        (folder / name).unlink()
    files, pixels, others = parties.read_images(experiment, folder, nothing)
    assert [file.name for file in files] == ["good.png"]
    assert others == ""
    assert pixels.shape == (1, 1, 28, 28)


def test_what_an_audit_leaves_out_is_said(pair: Pair, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    for sub in ("cats", "dogs", ".git"):
        (folder / sub).mkdir(parents=True)
    (folder / ".DS_Store").write_bytes(b"x")
    with pytest.raises(DataError, match="has no images, but 2 folders, 2 hidden files"):
        parties.read_images(pair.prover.experiment, folder, nothing)
    Image.new("L", (28, 28)).save(folder / "one.png")
    (folder / "gone.png").symlink_to("nowhere")
    backbone = pair.folders["developer"].path / "backbone.safetensors"
    local = ["audit", "--local", "--run", str(pair.folders["auditor"].path), "--backbone", str(backbone)]
    found = CliRunner().invoke(main, [*local, "--images", str(folder), "--out", str(tmp_path / "out"), "--json"])
    assert found.exit_code == 0, found.output
    said = "1 broken link or device, 2 folders, 2 hidden files"
    assert f": {said}; its own files alone are asked about" in found.stderr
    told = json.loads(found.stdout)
    assert (told["images"], told["left_out"]) == (1, said)
    (pair.folders["auditor"].path / LOG).unlink()
    refused = CliRunner().invoke(main, [*local, "--images", str(folder), "--out", str(tmp_path / "again")])
    assert isinstance(refused.exception, SystemExit)
    assert "there is no log" in refused.output
    assert not (tmp_path / "again").exists()


def test_folders_that_are_no_finished_run(pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no log"):
        parties.finished(tmp_path)
    with pytest.raises(DataError, match="does not hold this experiment's classifier"):
        parties.classifier(pair.prover.experiment, pair.folders["auditor"].path / "head.safetensors", "cpu")
    path = pair.folders["auditor"].path
    (path / "head.safetensors").write_bytes((path / "scores.safetensors").read_bytes())
    with pytest.raises(DataError, match="is not a head of this experiment"):
        parties.head_of(pair.prover.experiment, path)


def test_both_sides_of_a_query_check_what_is_left(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    finished: list[int] = []
    honest = Supply.finish

    def noted(self: Supply) -> None:
        finished.append(self.party)
        honest(self)

    monkeypatch.setattr(Supply, "finish", noted)
    pair.ask(mixed(pair.images))
    assert sorted(finished) == [DEVELOPER, AUDITOR]
