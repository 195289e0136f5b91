"""What follows a run.

query.py       the private query: were these images trained on? common.py is what both sides have of it
parties.py     the three parties of a query, connected
canaries.py    members that are opened in a query, and external images that are proven
decoders.py    what image files are read with
proving.py     proofs about single images and steps, from files and into files
replay.py      steps of a run done again. checkpoints.py: what was kept of them; played.py: the head's side
own_loop.py    the same for a training loop of one's own, from its beginning
agreement.py   whether a secure run computed what training in the clear computes
"""
