"""Matrix products mod 2^64 of two parties' matrices, from RLWE encryption: what replaces a dealer for the linear layer.

parameters.py   ring, moduli, noise; how far they are from what security and correctness need
blocks.py       how matrices are cut into polynomials, and what a cut costs
products.py     the two roles: the encryptor and the evaluator
packing.py      many answers in one, for slow links
ring.py         polynomials as tensors
native.py       the functions in C (_rlwe.c, _rlwe_kernels.h)
"""
