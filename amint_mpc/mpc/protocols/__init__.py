"""The protocols, one a file: numbered steps, source, who learns what, rounds, bytes, the range in which it is exact.

    rounds.py     the idiom: a protocol is a generator in which `yield` is the round
    linear.py     the linear layer whose input one party knows, and its gradients
    relu.py       ReLU and the dot product behind it; sign.py is its comparison
    sigmoid.py    sigmoid by one-time tables
    truncate.py   truncation by a power of two; divide.py by any whole number
    scale.py      a secret number times a tensor, also a truncated one (opened_truncation.py)
    ranges.py     whether values lie in their ranges; of squares.py and signed_sums.py also sums of many
    novograd.py   what that optimizer needs

Each knows its masks and the ring, and no CrypTen.
"""
