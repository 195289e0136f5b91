"""Rows of sealed steps: public combinations, whole numbers of eighths, the same at every party."""

import torch

from amint_mpc.amint.sealing import LEAST, mixed_rows, rounded
from amint_mpc.config import load_experiment
from amint_mpc.limits import PARTS

EXPERIMENT = load_experiment("smoke", ["training.sealed_epochs=4", "training.sealed_batch=16"])
MEMBERS, EXTERNAL = EXPERIMENT.data.members, EXPERIMENT.data.external


def test_members_stay_and_external_rows_move_towards_members() -> None:
    table = torch.cat([torch.ones(MEMBERS, 3, dtype=torch.int64), torch.zeros(EXTERNAL, 3, dtype=torch.int64)])
    seen = set()
    for number in range(20):
        mixed = mixed_rows(EXPERIMENT, number)(table)
        assert torch.equal(mixed[:16], torch.full((16, 3), PARTS))
        assert bool(((mixed[16:] >= LEAST) & (mixed[16:] <= PARTS * EXPERIMENT.training.sealed_mixing)).all())
        seen |= set(mixed[16:].flatten().tolist())
    assert seen == {2, 3, 4, 5}


def test_seed_and_number_fix_the_rows_and_nothing_else_does() -> None:
    table = torch.arange(MEMBERS + EXTERNAL)[:, None]
    first = mixed_rows(EXPERIMENT, 3)
    assert torch.equal(first(table), mixed_rows(EXPERIMENT, 3)(table))
    assert hash(first) == hash(mixed_rows(EXPERIMENT, 3))
    assert not torch.equal(first(table), mixed_rows(EXPERIMENT, 4)(table))
    assert not torch.equal(first(table), mixed_rows(EXPERIMENT.model_copy(update={"seed": 2}), 3)(table))


def test_without_mixing_external_rows_stay() -> None:
    none = EXPERIMENT.training.model_copy(update={"sealed_mixing": 0.0})
    table = torch.cat([torch.ones(MEMBERS, 1), torch.zeros(EXTERNAL, 1)])
    assert not bool(mixed_rows(EXPERIMENT.model_copy(update={"training": none}), 0)(table)[16:].any())


def test_the_rate_falls_for_the_last_fourth() -> None:
    rates = [mixed_rows(EXPERIMENT, number).learning_rate for number in range(EXPERIMENT.sealed_steps)]
    assert EXPERIMENT.training.sealed_learning_rate is None
    usual = EXPERIMENT.head.learning_rate
    assert rates == [usual] * 12 + [usual / 4] * 4
    training = EXPERIMENT.training.model_copy(update={"sealed_learning_rate": 0.5})
    assert mixed_rows(EXPERIMENT.model_copy(update={"training": training}), 0).learning_rate == 0.5


def test_rounded_features_are_multiples_of_a_32nd_within_the_limits() -> None:
    found = rounded(torch.tensor([[0.02, -0.02, 9.0, -9.0]]))
    assert found.tolist() == [[1 / 32, -1 / 32, 8.0, -8.0]]
