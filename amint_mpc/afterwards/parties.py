"""The three parties of a private query (`afterwards.query`), connected as in a run, and scores without a peer.

Each starts from the folder of its own part in the finished run, whose evidence is verified first; the dealer's folder
tells the experiment.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from amint_mpc import identity
from amint_mpc.afterwards import query
from amint_mpc.afterwards.common import QuerySide, check_own_model
from amint_mpc.afterwards.proving import Prover, read_image
from amint_mpc.amint.schedule import SCORE_BATCH
from amint_mpc.amint.trainer import pick_device
from amint_mpc.config import Experiment, Party, load_experiment
from amint_mpc.data.files import entries, left_out
from amint_mpc.data.registry import dataset
from amint_mpc.data.split import SETS, set_counts
from amint_mpc.errors import DataError, UsageError
from amint_mpc.events import OnProgress
from amint_mpc.evidence.files import EXPERIMENT
from amint_mpc.evidence.verify import Verified, verify
from amint_mpc.memory import keep_freed
from amint_mpc.models.classifier import Classifier, build_classifier
from amint_mpc.models.head_weights import seeded_normal
from amint_mpc.mpc.correlations.checking import dealt
from amint_mpc.mpc.correlations.supply import serve
from amint_mpc.printable import excerpt
from amint_mpc.roles.backends import Connected, backend_of
from amint_mpc.roles.coin import toss
from amint_mpc.roles.heads import head_kind
from amint_mpc.roles.links import Links, name_lost_third_party
from amint_mpc.roles.plans import scoring_stretch
from amint_mpc.roles.seeds import agreed_count, hand_out_seeds
from amint_mpc.runlog.expected import ExpectedEntries
from amint_mpc.transport.connect import connect
from amint_mpc.transport.listener import Listener

MAX_NAMED = 5

ANOTHER_MODEL = "Queries are for this program's backbones, one's own ones among them (model.backbone)"


def auditor(
    run: Path,
    party: Party,
    images: Tensor,
    canaries: int,
    on_notice: Callable[[str], None],
    on_progress: OnProgress,
) -> tuple[query.QueryResult, Verified]:
    """Ask about images, uint8 [n, C, H, W]. See `query.ask`."""
    found = finished(run)
    check_own_model(found.experiment, ANOTHER_MODEL)
    backend = backend_of(found.experiment)
    if party.listen is None:
        raise UsageError("the auditor's party file has no address to listen on", "Add listen: {host: ..., port: ...}")
    backend.check(party)
    head, recorded = head_of(found.experiment, run), scores(found.experiment, run)
    own, wait = identity.load(party.keys, "auditor"), party.connect_timeout_s
    with (
        Listener(party.listen, own, ["developer"], on_notice=on_notice) as listener,
        Links(found.experiment, "auditor", on_notice) as links,
    ):
        on_notice(f"waiting for the developer at {listener.address}")
        more = backend.links_to_peer > 1
        developer = links.add(listener.accept("developer", wait, more=more, idle_timeout_s=party.idle_timeout_s))
        coin = toss(developer, "auditor")
        at = Connected(found.experiment, party, own, links, developer, on_notice, coin, listener)
        with backend.query(at) as asked:
            agreed, certificate = links.sessions["developer"], identity.trusted(party.keys, "developer")
            side = QuerySide(run, found, own, certificate, agreed, developer, asked.supply, on_progress)
            asked.tell(len(images) + canaries)
            return query.ask(side, images, head, recorded, canaries), found


def developer(run: Path, party: Party, opens: int, on_notice: Callable[[str], None], on_progress: OnProgress) -> int:
    """Answer one query. See `query.answer`."""
    found = finished(run)
    check_own_model(found.experiment, ANOTHER_MODEL)
    backend = backend_of(found.experiment)
    if party.auditor is None:
        raise UsageError("the party file has no address of the auditor", "Add auditor: {host: ..., port: ...}")
    backend.check(party)
    on_notice("reading the images, for proofs")
    prover = Prover.load(run, party.data)
    model = classifier(found.experiment, run / "backbone.safetensors", party.device)
    own, wait = identity.load(party.keys, "developer"), party.connect_timeout_s
    with Links(found.experiment, "developer", on_notice) as links:
        on_notice(f"connecting to the auditor at {party.auditor}")
        limits = {"idle_timeout_s": party.idle_timeout_s}
        auditor = links.add(connect(party.auditor, own, "auditor", wait, on_notice, **limits))
        at = Connected(found.experiment, party, own, links, auditor, on_notice, toss(auditor, "developer"))
        with backend.query(at) as asked:
            agreed, certificate = links.sessions["auditor"], identity.trusted(party.keys, "auditor")
            side = QuerySide(run, found, own, certificate, agreed, auditor, asked.supply, on_progress)
            return query.answer(side, model, prover, opens, asked.tell)


def dealer(run: Path, party: Party, on_notice: Callable[[str], None]) -> int:
    """Deal for one query. Returns how many images it had."""
    if party.listen is None:
        raise UsageError("the dealer's party file has no address to listen on", "Add listen: {host: ..., port: ...}")
    experiment = load_experiment(run / EXPERIMENT)
    own, wait = identity.load(party.keys, "dealer"), party.connect_timeout_s
    keep_freed()
    with (
        Listener(party.listen, own, ["developer", "auditor"], on_notice=on_notice) as listener,
        Links(experiment, "dealer", on_notice) as links,
    ):
        on_notice(f"waiting for developer and auditor at {listener.address}")
        limits: dict[str, Any] = {"idle_timeout_s": party.idle_timeout_s}
        auditor = links.add(listener.accept("auditor", wait, **limits))
        developer = links.add(listener.accept("developer", wait, **limits))
        _, streams = hand_out_seeds(developer, auditor)
        with name_lost_third_party("dealer"):
            count = agreed_count(experiment, {"auditor": auditor, "developer": developer})
            on_notice(f"dealing for {count} images")
            serve(developer, streams, dealt([scoring_stretch(experiment, count)]))
        return count


def plaintext_scores(experiment: Experiment, run: Path, backbone: Path, images: Tensor) -> Tensor:
    """Scores of images, float64 [n], where both models are at hand: no peer, nothing logged, no look at the evidence.

    Args:
        run: a folder with the head. images: uint8 [n, C, H, W].
    """
    model = classifier(experiment, backbone, "cpu")
    head = head_kind(experiment).plaintext(head_of(experiment, run), experiment.head)
    scored = [head.score(query.features_of(model, batch)) for batch in torch.split(images, SCORE_BATCH)]
    return torch.cat([each for each in scored if each is not None])


def finished(run: Path) -> Verified:
    """The evidence of a finished run, verified.

    Raises:
        UsageError: it cannot be queried.
    """
    found = verify(run, ExpectedEntries)
    if found.experiment.insecure:
        raise UsageError("this run gave up a security claim, so a query would, too", "Use --local")
    return found


def read_images(experiment: Experiment, folder: Path, on_progress: OnProgress) -> tuple[list[Path], Tensor, str]:
    """All files of a folder, sorted by name, as the experiment has images: uint8 [n, C, H, W].

    Returns:
        files, images, and what else lies there, in words: it was left out.

    Raises:
        DataError: there is none, or some cannot be read or have another size; names them.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}", "Give --images a folder of image files")
    there = entries(folder)
    files = [path for path in there if path.is_file()]
    others = left_out([path for path in there if not path.is_file()] + entries(folder, hidden=True))
    if not files:
        what = f"{folder} has no images{others and f', but {others}'}"
        raise DataError(what, "Put the images to be asked about there; folders in it are not searched")
    pixels, wrong = [], []
    for number, file in enumerate(files, start=1):
        try:
            pixels.append(read_image(experiment, file))
        except DataError as error:
            wrong.append(error.message)
        if number % 500 == 0 or number == len(files):
            on_progress("files read", number, len(files))
    if wrong:
        more = f"\nand {len(wrong) - MAX_NAMED} more" if len(wrong) > MAX_NAMED else ""
        raise DataError("\n".join(wrong[:MAX_NAMED]) + more, "Nothing was asked. Remove or replace these files.")
    return files, torch.stack(pixels), others


def tensors(file: Path) -> dict[str, Tensor]:
    """Of a safetensors file.

    Raises:
        DataError: it is missing or damaged.
    """
    if file.exists() and not file.is_file():
        raise DataError(f"{file} is not a file", "Name the folder of a finished run")
    try:
        return load_file(file)
    except (OSError, SafetensorError, ValueError) as error:
        raise DataError(
            f"{file} cannot be read: {excerpt(str(error), 200)}", "Name the folder of a finished run"
        ) from None


def head_of(experiment: Experiment, run: Path) -> dict[str, Tensor]:
    """The weights of a run's head by name, as they are shared.

    Raises:
        DataError: the file is not a head of this experiment.
    """
    file = run / "head.safetensors"
    wanted, found = head_kind(experiment).first_weights(seeded_normal(0)), tensors(file)
    if any(
        name not in found or found[name].shape != value.shape or not bool(found[name].isfinite().all())
        for name, value in wanted.items()
    ):
        raise DataError(f"{file} is not a head of this experiment", "Name an auditor's run folder")
    return {name: found[name].double() for name in wanted}


def scores(experiment: Experiment, run: Path) -> dict[str, Tensor]:
    """Of the five sets at the run's end: probabilities, float64 [count].

    Raises:
        DataError: they are missing or are not those of this experiment.
    """
    found, counts = tensors(run / "scores.safetensors"), set_counts(experiment.data)
    if found.keys() != counts.keys() or not all(_probabilities(found[name], counts[name]) for name in SETS):
        raise DataError(f"{run}/scores.safetensors does not hold the scores of a run", "Name an auditor's run folder")
    return found


def _probabilities(values: Tensor, count: int) -> bool:
    """Whether they are that; NaN is none."""
    return values.dtype == torch.float64 and values.shape == (count,) and bool(((values >= 0) & (values <= 1)).all())


def classifier(experiment: Experiment, file: Path, device: str) -> Classifier:
    """A trained classifier.

    Raises:
        DataError: the file is not this experiment's.
    """
    kind = dataset(experiment.data)
    model = build_classifier(experiment, kind.shape, kind.classes)
    try:
        model.load_state_dict(tensors(file))
    except RuntimeError:
        raise DataError(f"{file} does not hold this experiment's classifier", "Name a run of this experiment") from None
    return model.to(pick_device(device)).eval()
