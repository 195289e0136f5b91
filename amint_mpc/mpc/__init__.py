"""Secure two-party computation of a membership head on additive shares over Z_2^64.

    shared_head.py   the interface that every head has; the rest of the program knows no more
    ring/            exact products and fixed point in Z_2^64, in C where it was built
    correlations/    what a step needs of correlated randomness, and where a party takes it from
    protocols/       one protocol a file: its steps, its source, who learns what, rounds, bytes, exact range
    dense/           the fused head, features -> hidden -> 1, on those protocols
    crypten/         any `crypten.nn` module through CrypTen's own protocols, on our link and masks
    pair/            correlations that the two parties make themselves

Knows no members and no files. Messages travel over `amint_mpc.transport`.
"""

from typing import Final

DEVELOPER: Final = 0
AUDITOR: Final = 1
"""The numbers of the two parties, as they stand in every protocol."""

__all__ = ["AUDITOR", "DEVELOPER"]
