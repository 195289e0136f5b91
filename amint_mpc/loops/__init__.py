"""The audit in training loops of frameworks: thin layers over `amint_mpc.amint.Audit`, each behind an extra.

lightning.py     a callback for PyTorch Lightning          pip install "amint-mpc[lightning]"
huggingface.py   a subclass of transformers' Trainer       pip install "amint-mpc[huggingface]"
epochs.py        what both need: batches that are fetched when a step begins

A framework counts epochs, moves batches and reads ahead as it likes. So it is given placeholders, one a step, and the
step itself fetches the agreed batch.
"""
