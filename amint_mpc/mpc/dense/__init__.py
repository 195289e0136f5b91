"""The fused head, features -> hidden -> 1, in ten rounds a step.

head.py       the head at one party
layers.py     its protocols as CrypTen autograd functions, and the plan of a step
step.py       one step: its rounds and masks; what it asks of an optimizer
ranges.py     what is tested in a step, so that no value leaves its range
descent.py    gradient descent and momentum; novograd.py the third optimizer
"""
