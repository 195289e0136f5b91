"""What the parties read image files with: the same file may give other pixels elsewhere, and so be another image."""

from __future__ import annotations

from collections.abc import Mapping

from amint_mpc.config import Role
from amint_mpc.evidence.verify import Verified

MEANING = (
    "Another decoder can make other pixels of the same file, and a one-pixel difference makes another image: one that "
    "was trained on is then not found in the committed sets, and its score may be another. Ask with the decoder of the "
    "run, or with files that every decoder reads alike (PNG)"
)


def decoders(found: Verified, now: Mapping[Role, str | None]) -> dict[str, str]:
    """Who reads image files with what, as far as that is known.

    Args:
        found: evidence of the run. now: what each party that takes part in the query says, by role.
    """
    told = {"the developer in the run": found.log.begin["software"]["developer"].get("decoder")}
    told |= {f"the {role} now": name for role, name in now.items()}
    return {who: name for who, name in told.items() if name is not None}


def note(who: Mapping[str, str]) -> str:
    """What to tell about `decoders`; nothing where all are the same."""
    if len(set(who.values())) < 2:
        return ""
    return "image files are read with " + "; ".join(f"{name} by {each}" for each, name in who.items()) + f". {MEANING}"
