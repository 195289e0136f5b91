"""Attacks that docs/threat-model.md speaks of, by its names: those that must fail, and those that still succeed.

A test of an attack that is kept out also shows the attack at work with the defence taken out. Tests that begin with
`test_open` show an attack that nothing prevents yet.
"""
