"""The masks of a truncation, or a division (`TruncationMasks`, `DivisionMasks`): shares of alpha, the developer's,
times beta, the auditor's.

Steps
    1. the auditor chooses with the bits of beta.
    2. the developer answers with alpha (factors.py).
Who learns what: nothing. Exchanges: 2. Bytes of an entry: developer 2, 4 or 8, auditor 1/8, and one transfer.
"""

from __future__ import annotations

import numpy as np
import torch

from amint_mpc.mpc import AUDITOR, DEVELOPER
from amint_mpc.mpc.pair.making import Making
from amint_mpc.mpc.protocols.divide import DivisionMasks
from amint_mpc.mpc.protocols.rounds import InRounds
from amint_mpc.mpc.protocols.truncate import TruncationMasks


def transfers(masks: TruncationMasks | DivisionMasks) -> tuple[int, int]:
    """In which the developer and the auditor choose."""
    return 0, torch.Size(masks.shape).numel()


def truncation(making: Making, name: str, masks: TruncationMasks | DivisionMasks) -> InRounds[None]:
    """All of it."""
    m, count = making.material[name], torch.Size(masks.shape).numel()
    field = masks.fields["product"]
    developer = making.party == DEVELOPER
    own = torch.from_numpy(np.unpackbits(m["alpha" if developer else "beta"].numpy(), count=count))
    choice = making.transfers.choose(AUDITOR, None if developer else own, count)
    yield
    product = making.transfers.multiply(choice, own[:, None].to(field.dtype) if developer else None, 1, field.dtype)
    yield
    m["product"] = product.share.reshape(field.shape)
