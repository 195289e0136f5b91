"""Arithmetic in Z_2^64.

products.py      exact products of matrices
fixed_point.py   scales of all values of the head, and the ranges in which they are exact
native.py        the functions in C (_ring.c, _sign.c), where they were built
"""
