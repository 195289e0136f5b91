"""The fused head, features -> hidden -> 1, in eight rounds a step.

head.py       the head at one party
layers.py     its protocols as CrypTen autograd functions, and the plan of a step
step.py       one step: its openings, masks, and what runs beside the layers in the same rounds
descent.py    gradient descent and momentum; novograd.py the third optimizer
"""
