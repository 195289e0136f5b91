"""The parties of a run.

developer.py, auditor.py, dealer.py   each party's part, in the numbered steps of its docstring
secure_head.py     where the developer's training loop meets the head; what every party derives of it
heads.py           which head an experiment has
backends/          who makes the randomness of a head; the one place that chooses
links.py           the links of a party; handshake.py the terms that two parties agree on
seeds.py           a dealer's seeds
stopping.py        early stopping between two parties
auditor_events.py  what the auditor's screen is told
"""
