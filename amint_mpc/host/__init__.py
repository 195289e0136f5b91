"""This machine: the parties as processes of it, and what must hold before a party can run.

processes.py   developer, auditor and dealer as child processes
ending.py      ends child processes in order
checks.py      the checks of `amint-mpc doctor`
"""
