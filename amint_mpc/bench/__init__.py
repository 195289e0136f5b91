"""Side-by-side measurements: the same work by different programs, in turns, on the same machine.

head_step.py   one step of the head: ours, CrypTen's, SPU's, plaintext; scaling.py over sizes
setup.py, rivals.py   what such a comparison is about; the other programs, and ours without a dealer
train.py       a step of the whole training, secure and in plaintext
estimate.py    what a run will take; count.py its rounds and bytes, exactly; masks.py what two parties' masks cost
leakage.py     what opened gradients give away of the head; head_recovery.py and head_fit.py are the attack
ours.py        the settings of our three measured parties; party.py one of them, plaintext.py the same in the clear
crypten_party.py, spu_party.py   the others' parties, as they come
workers.py     starts, feeds and ends measured processes; worker.py is the inside of one
inprocess.py, logging_cost.py, delay.py, device.py, noise.py, plot.py   what these have in common
"""
