"""What two makers must have in common, or their masks would not fit: compared before any is made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from amint_mpc.errors import PeerError
from amint_mpc.mpc.ot.extension import TREES, UNIT
from amint_mpc.mpc.ot.punctured import LEVELS
from amint_mpc.mpc.pair.digits import DIGIT
from amint_mpc.mpc.pair.linear import cuts_of
from amint_mpc.mpc.protocols.linear import LinearMasks
from amint_mpc.mpc.protocols.sign import LOW_BIT
from amint_mpc.mpc.rlwe import parameters
from amint_mpc.printable import excerpt
from amint_mpc.transport.frames import JsonValue

_SHOWN = 4
_SHOWN_CHARACTERS = 40
_PROBE = LinearMasks(128, 768, 128)


def terms(link: str) -> dict[str, JsonValue]:
    """Of this party. Args: link: "lan" or "wan"."""
    primes = ",".join(map(str, parameters.primes()))
    return {
        "RLWE ring": parameters.N,
        "RLWE primes": hashlib.sha256(primes.encode()).hexdigest()[:16],
        "RLWE kept primes": len(parameters.KEPT_BITS),
        "RLWE error variance": parameters.ERROR_VARIANCE,
        "RLWE flood bits": parameters.FLOOD_BITS,
        "RLWE public keys": parameters.PUBLIC_KEYS,
        f"RLWE blocks on a {link}": [[*cut.block, cut.levels] for cut in cuts_of(_PROBE, link).values()],
        "RLWE keys for packing": [parameters.GALOIS_KEYS, parameters.DIGITS],
        "OT trees": TREES,
        "OT levels of a tree (k)": LEVELS,
        "OT unit": UNIT,
        "bits of a digit": DIGIT,
        "lowest digit": LOW_BIT,
    }


def check_same(ours: Mapping[str, JsonValue], theirs: JsonValue, peer: str) -> None:
    """Raises: PeerError: the peer has others; it says which, both beside each other."""
    there = theirs if isinstance(theirs, dict) else {}
    wrong = [name for name in {**ours, **there} if json.dumps(ours.get(name)) != json.dumps(there.get(name))]
    if wrong:
        said = [f"{excerpt(name)}: here {_said(ours, name)}, {peer} {_said(there, name)}" for name in wrong[:_SHOWN]]
        more = [f"and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
        raise PeerError(
            "the parameters of the masks differ: " + "; ".join(said + more),
            "Install the same version on both machines",
        )


def _said(values: Mapping[str, JsonValue], name: str) -> str:
    return excerpt(json.dumps(values[name]), _SHOWN_CHARACTERS) if name in values else "nothing"
