"""Fixtures of the tests of CrypTen's own protocols over our link and dealer."""

from __future__ import annotations

import pytest
import torch

from tests.mpc.crypten.crypten_parties import Parties


@pytest.fixture
def parties() -> Parties:
    torch.set_num_threads(1)
    return Parties()
