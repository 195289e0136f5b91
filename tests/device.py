"""The device on which tests train classifiers: the CPU, or what AMINT_MPC_TEST_DEVICE names."""

import os

DEVICE = os.environ.get("AMINT_MPC_TEST_DEVICE", "cpu")
