"""What remains of a run for somebody who doubts it: bounded data, checked offline.

log.py, merkle.py, canonical.py, entries.py   the log: its bytes, its tree, its entries
chain.py, verify.py       whether it holds; signing.py makes and checks every signature
covered.py                which files of a run folder the log's end covers
statement.py, export.py   the signed statement, and what is handed on
commitments.py, proofs.py commitments to images, and proofs about single ones
software_digests.py, attestation.py   what software a party runs
session.py, files.py      the session that a log names, and where everything lies
"""
