"""Studies: several trainings of one experiment or many, put side by side.

plan.py        a grid of experiments with seeds, and the cells that it asks for; check.py whether all can run
pool.py        several cells at once; cell.py one cell, in a process of its own; timing.py how long it takes
folder.py      where run folders lie; rows.py one row a run
results.py     makes study.csv, study.json, study.md (table.py) and figures/ (figures.py) from the run folders;
               the statistics over seeds are those of the page, pages/study.py
paper.py       the paper's values (paper.csv), to stand beside measured ones; baselines.py trainings without a head
compare.py     one experiment beside passive MINT, attacks and changes; finished.py reads a training that is there
"""
