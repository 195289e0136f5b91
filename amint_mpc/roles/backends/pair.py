"""Masks that the two parties make themselves, ahead of use, on links of their own (`amint_mpc.mpc.pair`).

1. developer <-> auditor: how many threads each has for it, of which the fewer count; the parameters of the makers, of
   which none may differ; the instruction set, which both show.
2. The developer opens a link for each, one after another; both say on it of which run it is.
3. From then on the threads make masks. When the run has taken its last step they end, and the log gets a hash over all
   that they sent each other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from amint_mpc.config import PARTIES, Experiment, Party
from amint_mpc.errors import PeerError, ProtocolError, UsageError
from amint_mpc.memory import keep_freed
from amint_mpc.mpc.correlations.base import Memory
from amint_mpc.mpc.correlations.checking import UsedPlans
from amint_mpc.mpc.correlations.prg import SEED_BYTES
from amint_mpc.mpc.pair.distance import check_distance
from amint_mpc.mpc.pair.maker import PairMaker
from amint_mpc.mpc.pair.supply import MakeMaker, Maker, PairSupply
from amint_mpc.mpc.pair.terms import check_same, terms
from amint_mpc.mpc.ring.native import KERNELS
from amint_mpc.mpc.rlwe.native import best_kernel, library
from amint_mpc.printable import excerpt
from amint_mpc.roles.backends.base import Asked, Backing, Connected
from amint_mpc.roles.heads import shared_head
from amint_mpc.roles.masks import MadeByPair
from amint_mpc.roles.plans import scoring_stretch, stretches_of
from amint_mpc.runlog.kept_frames import KeptFrames
from amint_mpc.transport.chained import ChainedChannel, chain_of
from amint_mpc.transport.channel import Channel
from amint_mpc.transport.connect import connect

TERMS = "mask-terms"


class Pair:
    """See `Backend`."""

    read_ahead_mb = 0.0
    links_to_peer = 2

    def check(self, party: Party) -> None:
        """See `Backend.check`."""
        check_library()

    @contextmanager
    def developer(self, at: Connected) -> Iterator[Backing]:
        """See `Backend.developer`."""
        with at_work(at.experiment, PARTIES.index(at.own.role), _links(at), at.party, at.kept) as backing:
            yield backing

    auditor = developer  # the two do the same

    @contextmanager
    def query(self, at: Connected) -> Iterator[Asked]:
        """See `Backend.query`."""
        links, party = _links(at), PARTIES.index(at.own.role)
        with PairSupply(party, links, make_maker(at.experiment), _bytes(at.party)) as supply, _told(supply):

            def tell(images: int) -> None:
                stretches = [scoring_stretch(at.experiment, images)]
                check_distance(stretches, at.experiment.security.link)
                supply.start(UsedPlans(stretches))

            yield Asked(supply, tell)


@contextmanager
def at_work(
    experiment: Experiment, party: int, links: Sequence[Channel], settings: Party, kept: KeptFrames | None = None
) -> Iterator[Backing]:
    """Masks of a whole run, from now on.

    Args:
        links: one for each thread. kept: at the developer, gets what is taken of them.

    Raises:
        UsageError: the functions in C are not there, or the run is too long.
    """
    check_library()
    stretches = stretches_of(experiment)
    check_distance(stretches, experiment.security.link)
    chained = [ChainedChannel(link) for link in links] if experiment.evidence.log else []
    told = () if kept is None else (kept.masks,)
    supply = PairSupply(party, chained or links, make_maker(experiment), _bytes(settings), *told)

    def finish() -> MadeByPair:
        supply.finish()
        return MadeByPair(len(links), chain_of(chained), None if kept is None else kept.digest())

    keep_freed()  # before there are threads
    with supply, _told(supply):
        supply.start(UsedPlans(stretches))
        yield Backing(
            lambda channel: shared_head(experiment, channel, party, supply), None, finish, lambda: supply.ahead
        )


def make_maker(experiment: Experiment) -> MakeMaker:
    """What makes the masks of an experiment, from this machine's randomness and the other party's."""

    def make(channel: Channel, party: int, memory: Memory) -> Maker:
        return PairMaker(channel, party, os.urandom(SEED_BYTES), memory, experiment.security.link)

    return make


def check_library() -> None:
    """Raises: UsageError: the functions in C are not there."""
    if library() is None:
        raise UsageError(
            "two parties alone need the functions in C, which are not there",
            "Install a C compiler (gcc or clang) and the package again, or set security.correlations to dealer",
        )


def _links(at: Connected) -> list[Channel]:
    """Steps 1 and 2."""
    ours, own, peer = terms(at.experiment.security.link), at.party.generator_threads, at.peer.peer
    at.peer.send_json(TERMS, {"threads": own, "kernel": best_kernel(), "parameters": ours})
    said = at.peer.receive_json(TERMS)
    if not isinstance(said, dict) or type(theirs := said.get("threads")) is not int or theirs < 1:
        raise ProtocolError(f"the {peer} does not say how many threads it has for masks")
    check_same(ours, said.get("parameters"), peer)
    at.peer.send_json(TERMS, "agreed")  # or the developer, refused, would go on to connect to nobody
    if at.peer.receive_json(TERMS) != "agreed":
        raise ProtocolError(f"the {peer} does not agree on the terms of the masks")
    count, kernel = min(own, theirs), excerpt(str(said.get("kernel")), 20)
    at.on_notice(f"masks are made in {count} threads; instructions: {best_kernel()} here, {kernel} at the {peer}")
    for who, name in (("this machine", best_kernel()), (f"the {peer}'s machine", kernel)):
        if name == KERNELS[0]:
            at.on_notice(f"{who} has no AVX2: masks take two to four times as long there")
    open_link = _accepted if at.own.role == "auditor" else _connected
    return [at.links.also(open_link(at, more=number < count - 1)) for number in range(count)]


def _connected(at: Connected, more: bool) -> Channel:
    assert at.party.auditor is not None
    wait, limits = at.party.connect_timeout_s, {"idle_timeout_s": at.party.idle_timeout_s}
    return connect(at.party.auditor, at.own, "auditor", wait, at.on_notice, **limits)


def _accepted(at: Connected, more: bool) -> Channel:
    assert at.listener is not None
    wait, limits = at.party.connect_timeout_s, {"idle_timeout_s": at.party.idle_timeout_s}
    return at.listener.accept("developer", wait, more=more, **limits)


def _bytes(party: Party) -> int:
    return int(party.ahead_mb * 2**20)


@contextmanager
def _told(supply: PairSupply) -> Iterator[None]:
    """The other party that "lost another party" has lost the threads of this one: say why they ended."""
    try:
        yield
    except PeerError as error:
        if error.reason == "peer" and supply.error is not None:
            raise supply.error from None
        raise
