"""The log of a run, while it goes on: both parties write the same bytes and sign them.

interface.py        what a run tells its log
recorder.py         the log of a party, entry by entry
expected.py         which entries a run of an experiment must have
countersigning.py   both sign the log as it is
replay_tape.py      the checkpoints that the developer keeps so that steps can be done again
kept_frames.py      what it keeps of its side of the head
"""
