"""Oblivious transfer between the two parties, in bulk, ahead of use. Semi-honest.

transfers.py   products of one party's bits and the other's words, as shares: what the rest of the program uses
pads.py        one-time pads from correlated rows
pool.py        rows that wait for use
"""
