"""What `import amint_mpc` offers beyond what other packages have: results as objects that a notebook shows.

training.py   the plaintext twin
auditing.py   membership verdicts on images, where both models are at hand
checking.py   whether the evidence of a run holds
reporting.py  one HTML page
folders.py    where the parts of a finished run lie, be it given as an object or as a folder
"""
