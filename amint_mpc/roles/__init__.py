"""The parties of a run.

developer.py, auditor.py, dealer.py   each party's part, in the numbered steps of its docstring; the auditor chooses
                   the threshold
coin.py            the secret of the two parties that a dealer never learns
secure_head.py     where the developer's training loop meets the head
plans.py           what every party derives of the head from the schedule: steps, labels, masks
scoring.py         all rows of a scoring, at either party
meter.py           what the head's steps cost
told_figures.py    checks the figures that the auditor tells
heads.py           which head an experiment has, and whether it can have it
backends/          who makes the randomness of a head; the one place that chooses
links.py           the links of a party; handshake.py the terms that two parties agree on
masks.py           what a run says of its masks at the end
seeds.py           a dealer's seeds, and what it signs at the end
stopping.py        early stopping between two parties
auditor_events.py  what the auditor's screen is told
"""
