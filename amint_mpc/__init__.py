"""amint-mpc: active membership-inference auditing, with the head trained inside secure two-party computation."""

__version__ = "0.1.0"
