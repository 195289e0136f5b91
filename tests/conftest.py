"""Tests on another device than the CPU: AMINT_MPC_TEST_DEVICE=cuda pytest tests/amint tests/mpc tests/roles."""

import os

import pytest

from tests.device import DEVICE


def pytest_configure() -> None:
    """Tests that compare two trainings bit by bit need the device's deterministic algorithms.

    Without the variable nothing happens here.
    """
    if DEVICE == "cpu":
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS, "Results reproducibility"
    import torch

    from amint_mpc.amint.trainer import pick_device
    from amint_mpc.errors import UsageError

    try:
        pick_device(DEVICE)
    except UsageError as error:
        raise pytest.UsageError(f"AMINT_MPC_TEST_DEVICE: {error.message}") from None
    torch.use_deterministic_algorithms(True)
