"""The logged run of the evidence tests, for what follows a run."""

from tests.evidence.conftest import folders, logged

__all__ = ["folders", "logged"]
