"""What both frameworks are tried with: the same tiny model and images as a plain loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import amint_mpc as am
from amint_mpc.afterwards.own_loop import replaying
from amint_mpc.amint.audit import Audit
from amint_mpc.amint.plaintext_head import PlaintextHead
from amint_mpc.amint.seat import Seat
from amint_mpc.host import in_process
from amint_mpc.host.in_process import run_in_process
from amint_mpc.models.head_weights import init_head, seeded_normal
from amint_mpc.results import Figure
from amint_mpc.roles.heads import head_kind
from tests.amint.test_user_loops import Head, Kept, Net, agreed, sets
from tests.roles.test_own_loop import Beside, own_loop, small

Run = Callable[..., Any]
"""(audit, net, sets, accumulate) -> anything: trains the net by SGD at a rate of 0.05 through the whole audit."""


def plain(audit: Audit, net: nn.Module, data: dict[str, Any], taps: tuple[str, ...], accumulate: int = 1) -> None:
    """The loop that the frameworks' are compared with."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    audit.tap(net, *taps)
    loader = audit.loader(**data)
    for _ in range(audit.epochs):
        waiting = len(loader)
        for number, batch in enumerate(loader):
            loss = F.cross_entropy(net(batch.images)[batch.members], batch.labels) + audit.loss()
            (loss / min(accumulate, len(loader) - number // accumulate * accumulate)).backward()
            waiting -= 1
            if (number + 1) % accumulate == 0 or not waiting:
                optimizer.step()
                optimizer.zero_grad()
    audit.finish()


def trained(run: Run, **more: Any) -> tuple[list[Tensor], Head, Audit, Kept]:
    """Weights after a training of two epochs with a plaintext head, and what the head was asked."""
    experiment = agreed(evaluate_every=1, warmup_epochs=1, epochs=2)
    head, kept, net = Head(), Kept(), Net()
    audit = Audit(experiment, lambda _: Seat(head, kept))
    run(
        audit,
        net,
        dict(zip(("members", "external", "unseen"), sets(experiment), strict=True)),
        ("first", "second"),
        **more,
    )
    return [value.detach().clone() for value in net.parameters()], head, audit, kept


def follows_the_plain_loop(run: Run, accumulate: int, exactly: bool = True) -> None:
    """Same batches, same gradients of the head, same weights."""
    mine, head, audit, kept = trained(run, accumulate=accumulate)
    other, other_head, _, other_kept = trained(plain, accumulate=accumulate)
    assert audit.finished
    assert len(head.gradients) == len(other_head.gradients) == 6
    for one, two in zip(head.gradients, other_head.gradients, strict=True):
        assert F.cosine_similarity(one.flatten(), two.flatten(), dim=0) >= 0.999
    for one, two in zip(mine, other, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
    figures, wanted = (
        [event.figures for event in each.events if hasattr(event, "figures")] for each in (kept, other_kept)
    )
    assert len(figures) == len(wanted)
    assert all(one == pytest.approx(two, abs=0.02) for one, two in zip(figures, wanted, strict=True))


def secure_with_a_log(run: Run, home: Path) -> None:
    """In one process, with the secure head: both logs hold, and the loop follows again."""

    known: list[dict[str, Figure]] = []

    def loop(audit: Audit) -> None:
        torch.manual_seed(0)
        example = own_loop()
        data = dict(zip(("members", "external", "unseen"), example.digits(), strict=True))
        known.append(run(audit, example.Net(), data, ("first", "second")).figures)

    torch.set_num_threads(1)
    experiment, beside = small(), list[Beside]()
    first = init_head(96, experiment.head.hidden, seeded_normal(7))
    received = in_process.receive_head

    def watched(*args: Any) -> Any:
        beside.append(Beside(received(*args), PlaintextHead(first, experiment.head.learning_rate)))
        return beside[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(in_process, "receive_head", watched)
        patch.setattr(type(head_kind(experiment)), "first_weights", lambda *_: first.tensors())
        done = run_in_process(experiment, home, loop=loop)
        twin = am.train(experiment, home.parent / "twin", loop=loop)
    assert len(beside[0].cosines) == 4
    assert min(beside[0].cosines) >= 0.999
    assert {"mint_auc", "task_accuracy"} <= set(done.figures)
    assert "task_accuracy" in known[0]
    assert am.verify(home).found.log.steps == 4 + experiment.sealed_steps
    with replaying(home / "developer") as audit:
        loop(audit)
    assert audit.replayed.exact

    for name in ("task_accuracy", "mint_auc"):
        print(name, twin.figures[name].value, done.figures[name].value)
        assert twin.figures[name].value == pytest.approx(done.figures[name].value, abs=0.03), name
