"""The two parties make correlated randomness themselves, with nobody's help.

maker.py     one party's side of making the material of a plan; a file beside it for each kind of correlation
supply.py    threads that make it ahead of use, and hand it to the protocols step by step
"""
