"""The two parties make the correlations of a step themselves, ahead of use, with nobody else.

    supply.py     threads that make plans ahead of use, and hand the material to the protocols step by step
    maker.py      one plan, all its kinds side by side; kinds.py says which there are
    making.py     what the kinds of one plan have in common; a mask of one is another one's input
    factors.py    products of secret bits and of secret numbers, out of oblivious transfers
    matrices.py   products of matrices, on the link of two makers
    digits.py     masks of whose digits both parties have shares
    linear.py, relu.py, gate.py, ranges.py, squares.py, truncate.py, sigmoid.py   the kinds, one a file

What comes out is what a dealer would have dealt (correlations/): shares that fit the same `corrections`. Only the carry
into the lowest digit of a mask made by digits is not seen (digits.py). Both parties are semi-honest here, as they are
where the masks are used.
"""
