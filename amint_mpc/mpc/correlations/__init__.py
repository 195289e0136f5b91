"""Correlated randomness: what a step needs from the dealer, how it is made, how it is consumed."""
