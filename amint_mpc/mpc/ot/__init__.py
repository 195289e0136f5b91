"""Oblivious transfer between the two parties, in bulk, ahead of use. Semi-honest.

transfers.py   products of one party's bits and the other's words, as shares: what the rest of the program uses
base.py        128 base transfers a direction, by public keys
punctured.py   trees of keys of which one party lacks one, from the base transfers
extension.py   random transfers in bulk from those trees: SoftSpokenOT
pool.py        rows of random transfers that wait for use; pads.py one-time pads from them
native.py      the bit work, in C (_ot.c) or numpy
"""
