"""A mark for tests of what does without a dealer: the functions in C were not built, or the environment leaves them."""

import pytest

from amint_mpc.mpc.rlwe.native import library

native_only = pytest.mark.skipif(library() is None, reason="the functions in C are not here")
