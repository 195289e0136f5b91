"""Correlated randomness: what a step needs of it, and how a party comes by it.

base.py      a correlation and its fields; what parties draw from their seeds; what a dealer computes and sends
supply.py    from the dealer to the protocols, block by block; the dealer's whole work (`serve`)
checking.py  which of a dealer's blocks are used, and which are checked in place of that
prg.py       secret streams, expanded from a seed
generic.py   the correlations of CrypTen's own protocols
"""
