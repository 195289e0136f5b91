"""This machine: the parties as processes of it or in one, and what must hold before a party can run.

processes.py   developer, auditor and dealer as child processes
in_process.py  them as threads of one process, for studies and teaching: it protects nothing
ending.py      ends child processes in order
checks.py      the checks of `amint-mpc doctor`
"""
