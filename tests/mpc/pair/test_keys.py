"""A malicious developer could have the key of a step's products shown in the gradient (mpc/rlwe/test_open.py): no head
whose steps are sealed has masks under it."""

from __future__ import annotations

from typing import Any

import torch

from amint_mpc.mpc import AUDITOR
from amint_mpc.mpc.dense.descent import GradientDescent
from amint_mpc.mpc.dense.layers import score_plan, table_plan, train_plan
from amint_mpc.mpc.pair.maker import PairMaker, opens_a_gradient
from amint_mpc.mpc.rlwe.products import Encryptor
from tests.mpc.pair.test_exact import FirstRows
from tests.mpc.parties import run_both

RATE = GradientDescent(3, 9)
JOINT = train_plan(3, 4, 2, RATE)
SEALED = [table_plan(5, 4), train_plan(3, 4, 2, RATE, standing=FirstRows(3)), score_plan(3, 4, 2)]


def test_the_key_of_a_joint_step_encrypts_no_mask_of_a_sealed_head(monkeypatch: Any) -> None:
    request, used, number = Encryptor.request, dict[int, list[Encryptor]](), -1

    def noted(own: Encryptor, *more: Any) -> torch.Tensor:
        used.setdefault(number, []).append(own)
        return request(own, *more)

    monkeypatch.setattr(Encryptor, "request", noted)

    def party(index: int, channel: Any, _: Any) -> None:
        nonlocal number
        maker = PairMaker(channel, index, bytes([index] * 32))
        maker.set_up()
        for at, plan in enumerate([JOINT, *SEALED, JOINT]):
            if index == AUDITOR:
                number = at
            maker.make(at, plan)

    run_both(party, [])
    assert set(used) == {0, 2, 3, 4}
    joint, sealed = ({id(each) for at in numbers for each in used[at]} for numbers in ((0, 4), (2, 3)))
    assert len(joint) == len(sealed) == 1
    assert joint != sealed
    keys = [used[at][0]._key for at in (0, 2)]
    assert not torch.equal(*keys)


def test_which_plans_open_a_gradient() -> None:
    assert opens_a_gradient(JOINT)
    assert not any(map(opens_a_gradient, SEALED))
