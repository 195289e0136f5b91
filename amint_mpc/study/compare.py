"""What active MINT is compared with, on the same images and by the same statistics; all of it in plaintext.

1. Train the joint classifier with its head (or take a finished twin), and the plain classifier: the task alone.
2. Passive MINT on both, and the blind control on an untrained backbone.
3. Train shadow models, and attack both classifiers from outside, without a head.
4. What members pay: each attack on the joint classifier against the same attack on the plain one.
5. How the audit stands changes of images and of the classifier.

In a secure run nobody could do this: the auditor has no classifier, the developer no head. docs/comparison.md says
what each attack may see.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from amint_mpc import plaintext_run
from amint_mpc.amint import passive
from amint_mpc.amint.attacks import ATTACKS, Attack, AttackView
from amint_mpc.amint.attacks.shadows import by_set, halves, pool, train_shadow
from amint_mpc.amint.detectors import Scores, auc_difference, detector_figures
from amint_mpc.amint.metrics import accuracy_figure
from amint_mpc.amint.outputs import outputs
from amint_mpc.amint.robustness import membership_scores, robustness
from amint_mpc.config import Experiment, Party
from amint_mpc.data.split import SETS, SplitImages, load_split
from amint_mpc.errors import UsageError
from amint_mpc.events import Event, Notice
from amint_mpc.models.classifier import Classifier
from amint_mpc.models.head_weights import HeadWeights
from amint_mpc.pages.comparison import Change, ClassifierName, Comparison, Detector, Price
from amint_mpc.results import Figure, Outcome
from amint_mpc.runfolder import RunFolder
from amint_mpc.study.finished import load_classifier, load_twin

OnWorkerEvent = Callable[[str, Event], None]
"""Told who of `workers` is at work, and what happened."""

_AMINT, _MINT = "aMINT, arXiv 2509.07879", "DeAlcala et al. 2024, arXiv 2402.09225"
_HEADS = {
    "active": ("Active MINT", _AMINT),
    "passive": ("Passive MINT", _MINT),
    "passive-held-out": ("Passive MINT, held out", _MINT),
    "blind": ("Blind control", "passive, on an untrained backbone, members held out"),
    "blind-memory": ("The head's own memory", "passive, on an untrained backbone, trained on all members"),
}
_Key = tuple[str, ClassifierName]  # detector, classifier


def compare(
    experiment: Experiment,
    party: Party,
    folder: RunFolder,
    shadows: int,
    finished: Path | None,
    on_event: OnWorkerEvent,
) -> Comparison:
    """Do all of it. The record also goes to comparison.json in `folder`, the scores to scores.safetensors.

    Args:
        shadows: how many shadow models; even, at least 4.
        finished: the run folder of a twin of the same experiment, to save its training.

    Raises:
        UsageError: an experiment without a head, an impossible number of shadow models, a run folder of another one.
        DataError: images or files are missing or damaged.
    """
    start = time.perf_counter()
    images = load_split(experiment, party.data)
    inside = halves(len(images.members) + len(images.unseen), shadows, experiment.seed)
    joint, head = load_twin(
        finished or _train(experiment, party, folder, "joint", on_event), experiment, images, party.device
    )
    alone = plaintext_run.baselines(experiment)["task-alone"]
    plain = load_classifier(_train(alone, party, folder, "plain", on_event), alone, images, party.device)
    classifiers: dict[ClassifierName, Classifier] = {"joint": joint, "plain": plain}
    shadow_logits = _shadow_logits(experiment, images, inside, party.device, on_event)

    def on_notice(text: str) -> None:
        on_event("figures", Notice(text))

    on_notice("scores of heads: active, passive, blind")
    scores = _head_scores(experiment, images, classifiers, head)
    seen = {on: _seen(images, classifier, shadow_logits, inside) for on, classifier in classifiers.items()}
    for attack in ATTACKS:
        on_notice(f"attack: {attack.title}")
        scores |= {(attack.name, on): by_set(images, attack.score(seen[on])) for on in seen}
    on_notice("figures and their intervals")
    detectors = [_detector(key, found, shadows, experiment.seed) for key, found in scores.items()]
    counted = images.summary()
    found = Comparison(
        experiment=experiment.name,
        digest=experiment.digest(),
        method=experiment.method,
        seed=experiment.seed,
        shadows=shadows,
        images=counted.images,
        duplicates=counted.duplicates,
        class_counts=counted.class_counts,
        classifiers={on: {"task_accuracy": _task_accuracy(seen[on], images, experiment.seed)} for on in classifiers},
        detectors=detectors,
        price=_price(detectors, scores, experiment.seed),
        robustness=_robustness(experiment, joint, head, images, on_notice),
        seconds=time.perf_counter() - start,
    )
    kept = {f"{name}.{on}.{part}": v for (name, on), found in scores.items() for part, v in found.items()}
    folder.save_tensors("scores.safetensors", kept)
    folder.save_json("comparison.json", found.as_json())
    folder.finish(Outcome(seconds=found.seconds, shadows=shadows) | counted)
    return found


def workers(shadows: int) -> list[str]:
    """Whose events `compare` tells, in order."""
    return ["joint", "plain", *(f"shadow {number + 1}" for number in range(shadows)), "figures"]


def check(experiment: Experiment, party: Party, shadows: int, finished: Path | None) -> None:
    """Refuse what `compare` would refuse later, before anything dear starts. Raises as it does."""
    if experiment.training.mint_weight == 0:
        raise UsageError("this experiment has no head: there is nothing to compare", "Set training.mint_weight")
    if experiment.head.features is not None:
        raise UsageError("this experiment is for a training loop of your own", "Leave head.features out")
    images = load_split(experiment, party.data)
    halves(len(images.members) + len(images.unseen), shadows, experiment.seed)
    if finished is not None:
        load_twin(finished, experiment, images, party.device)


def _train(experiment: Experiment, party: Party, folder: RunFolder, name: str, on_event: OnWorkerEvent) -> Path:
    """A plaintext twin, in a run folder of its own inside ours."""
    with RunFolder.create(folder.path, experiment, "twin", name) as own:

        def tell(event: Event) -> None:
            own.record(event)
            on_event(name, event)

        plaintext_run.run(experiment, party, own, tell)
        return own.path


def _shadow_logits(
    experiment: Experiment, images: SplitImages, inside: Tensor, device: str, on_event: OnWorkerEvent
) -> Tensor:
    """Answers of every shadow model on the pool, float64 [k, n, classes]."""
    found = []
    for number, rows in enumerate(inside):
        who = f"shadow {number + 1}"
        model = train_shadow(experiment, images, rows, number, device, partial(on_event, who))
        found.append(outputs(model, pool(images)[0])[0])
    return torch.stack(found)


def _seen(images: SplitImages, classifier: Classifier, shadow_logits: Tensor, inside: Tensor) -> AttackView:
    pixels, labels = pool(images)
    return AttackView(outputs(classifier, pixels)[0], labels, shadow_logits, inside)


def _head_scores(
    experiment: Experiment, images: SplitImages, classifiers: dict[ClassifierName, Classifier], head: HeadWeights
) -> dict[_Key, Scores]:
    """Scores of the active head, and of passive heads on both classifiers and on an untrained one."""
    joint = classifiers["joint"]
    scores: dict[_Key, Scores] = {
        ("active", "joint"): {name: membership_scores(joint, head, images.images(name)) for name in SETS}
    }
    for on, classifier in classifiers.items():
        features = passive.frozen_features(experiment, classifier, images)
        scores["passive", on] = passive.passive_scores(experiment, features)
        scores["passive-held-out", on] = passive.held_out_scores(experiment, features)
    features = passive.frozen_features(experiment, passive.untrained(experiment, images), images)
    scores["blind", "untrained"] = passive.held_out_scores(experiment, features)
    scores["blind-memory", "untrained"] = passive.passive_scores(experiment, features)
    return scores


def _task_accuracy(seen: AttackView, images: SplitImages, seed: int) -> Figure:
    """On the unseen report images, the last of the pool."""
    count = len(images.images("unseen_report"))
    return accuracy_figure((seen.logits.argmax(1) == seen.labels)[-count:], seed)


def _detector(key: _Key, scores: Scores, shadows: int, seed: int) -> Detector:
    name, on = key
    attack = next((each for each in ATTACKS if each.name == name), None)
    title, citation = (attack.title, attack.citation) if attack else _HEADS[name]
    return Detector(
        name=name,
        title=title,
        on=on,
        needs=_needs(attack, shadows),
        citation=citation,
        figures=detector_figures(scores, seed, probabilities=attack is None),
    )


def _needs(attack: Attack | None, shadows: int) -> str:
    if attack is None:
        return "head"
    count = shadows if attack.shadows is None else attack.shadows
    return f"outputs and {count} shadow model{'s' if count > 1 else ''}" if count else "outputs"


def _price(detectors: list[Detector], scores: dict[_Key, Scores], seed: int) -> list[Price]:
    """For all that works on both classifiers: AUC on each, and the difference with a paired interval."""
    plain = {row.name: row for row in detectors if row.on == "plain"}
    return [
        Price(
            name=row.name,
            title=row.title,
            auc_joint=row.figures["mint_auc"].value,
            auc_plain=plain[row.name].figures["mint_auc"].value,
            difference=auc_difference(scores[row.name, "joint"], scores[row.name, "plain"], seed),
        )
        for row in detectors
        if row.on == "joint" and row.name in plain
    ]


def _robustness(
    experiment: Experiment, joint: Classifier, head: HeadWeights, images: SplitImages, on_notice: Callable[[str], None]
) -> list[Change]:
    rows = []
    for change in robustness(experiment, joint, head, images):
        on_notice(f"robustness: {change.title}")
        rows.append(Change(name=change.name, title=change.title, figures=change.figures))
    return rows
