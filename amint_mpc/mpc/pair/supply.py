"""Masks that the two parties make themselves, ahead of use, in threads with links of their own.

1. Thread i of g at each party makes the plans i, i + g, i + 2 g, ... with the other party's thread i, on their link.
2. Before each of them the two threads tell each other which step their party takes next. They go on with the first plan
   of theirs that is not before the later of the two: what one party has passed over, the other will, too. So both end
   together, in a run that stops early as well.
3. Finished material waits for the step that takes it. A plan is made if those from the next step on, up to itself, have
   `ahead_bytes` at most; the step that is next is made in any case. So all threads of both parties keep to one order,
   and none waits for room that another one holds.

Guarantees
    once: steps are taken, or passed over, with numbers 0, 1, 2, ..., and the material of each is handed out once.
    the_plan: a step gets what the plan says that both parties derive from the experiment; another one is refused.
    bounded: material that waits, or is being made, has `ahead_bytes` at most, or is that of one plan a thread.
    ended: after `finish`, or on leaving the context in which a supply runs, none of its threads lives.

Edge cases
    The first error of a thread ends the others, and every later `take` raises it. The links are aborted with its code.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol

import torch
from torch import Tensor

from amint_mpc.errors import AmintError, ProtocolError
from amint_mpc.mpc.correlations.base import Linked, Memory, Plan, bytes_of
from amint_mpc.mpc.correlations.checking import UsedPlans
from amint_mpc.transport.channel import Channel, abort_code
from amint_mpc.transport.frames import Spec
from amint_mpc.transport.state import again

NEXT = "next-step"
NEXT_SPEC: Spec = (torch.int64, (1,))
Made = dict[str, dict[str, Tensor]]
"""One party's material of a step, by the names of the plan and of its fields."""


class Maker(Protocol):
    """Makes material with the other party's maker at the other end of its link; every call blocks."""

    def set_up(self) -> None:
        """Once, before the first plan."""

    def make(self, number: int, plan: Plan) -> Made:
        """This party's material of a plan. Args: number: of the plan, greater than in the call before."""


MakeMaker = Callable[[Channel, int, Memory], Maker]
"""A maker on a link, of a party. The memory is common to all makers of a party: masks that stand for many steps."""


class PairSupply:
    """One party's correlated randomness, step by step: a `MaskSource`. Use it as a context.

    Args:
        party: DEVELOPER or AUDITOR.
        links: one for each thread, to the other party's thread of the same number.
        make: gives each its maker.
        ahead_bytes: of finished material that waits.
        on_taken: is given the plan and the material of each step that is taken, in order.
    """

    def __init__(
        self,
        party: int,
        links: Sequence[Channel],
        make: MakeMaker,
        ahead_bytes: int,
        on_taken: Callable[[Plan, Made], None] = lambda *_: None,
    ) -> None:
        if not links:
            raise ValueError("a supply has a thread at least")
        self.party, self._links, self._make = party, list(links), make
        self._ahead_bytes, self._on_taken = ahead_bytes, on_taken
        self._memory = Memory()
        self._plans = UsedPlans(())
        self._next = 0
        self._ready: dict[int, Made] = {}
        self._sizes: dict[int, int] = {}  # of the plans from the next one on, as far as they have been asked for
        self._kept: set[int] = set()  # of the plans whose masks later ones link to, those that have been made
        self._stopping = False
        self._error: BaseException | None = None
        self._changed = threading.Condition(threading.Lock())
        self._threads: list[threading.Thread] = []

    def start(self, plans: UsedPlans) -> None:
        """Begin. Args: plans: of all steps."""
        if self._threads:
            raise RuntimeError("a supply starts once")
        self._plans = plans
        for index, link in enumerate(self._links):
            work = threading.Thread(target=self._work, args=(index, link), name=f"masks {index}", daemon=True)
            self._threads.append(work)
            work.start()

    def take(self, step: int, plan: Plan) -> Made:
        """The material of one step, which is waited for.

        Raises:
            ProtocolError: not the step after the one taken last, or another plan than was made.
            PeerError: the other party is gone, or has stopped.
        """
        wanted = self._plans[step] if 0 <= step < len(self._plans) else None
        with self._changed:
            self._advance(step)
            if wanted is None or list(plan.items()) != list(wanted.items()):
                raise ProtocolError(
                    f"the masks of step {step} are not those that it needs",
                    "The parties no longer agree on the steps; start a new session",
                )
            self._changed.wait_for(lambda: step in self._ready or self._error is not None or self._stopping)
            if step not in self._ready:
                raise self.error or RuntimeError("the supply has ended")
            made = self._ready[step]
            self._pass_over(step + 1)
        self._on_taken(plan, made)
        return made

    def skip(self, step: int, plan: Plan) -> None:
        """Pass over one step: what has been made of it is dropped, and if it has not, it is not made.

        Raises:
            ProtocolError: as `take`.
        """
        with self._changed:
            self._advance(step)
            self._pass_over(step + 1)

    def finish(self) -> None:
        """After the last step: end the threads, together with the other party's.

        Raises:
            AmintError: what ended one of them before.
        """
        with self._changed:
            self._pass_over(max(self._next, len(self._plans)))
        for thread in self._threads:
            thread.join()
        if self.error is not None:
            raise self.error

    @property
    def ahead(self) -> int:
        """How many steps could be taken now without waiting for masks."""
        with self._changed:
            number = self._next
            while number in self._ready:
                number += 1
            return number - self._next

    @property
    def error(self) -> BaseException | None:
        """What ended the threads, ready to be raised; None: nothing."""
        return again(self._error) if isinstance(self._error, AmintError) else self._error

    def __enter__(self) -> PairSupply:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop(error)
        for thread in self._threads:
            thread.join()

    # ------------------------------------------------------------ threads

    def _work(self, index: int, link: Channel) -> None:
        try:
            maker = self._make(link, self.party, self._memory)
            maker.set_up()
            number = index
            while number < len(self._plans):
                self._wait_for_room(number)
                number = self._agreed(link, number)
                if number < len(self._plans):
                    self._put(number, maker)
                number += len(self._links)
        except _Ended:
            pass
        except BaseException as error:
            self._stop(error)

    def _wait_for_room(self, number: int) -> None:
        """Until the plan may be made."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopping or number <= self._next or self._bytes_until(number) <= self._ahead_bytes
            )
            self._check()

    def _bytes_until(self, last: int) -> int:
        """Of the plans from the next step on, whether they have been made or not. With `_changed`."""
        for number in range(self._next, last + 1):
            if number not in self._sizes:
                self._sizes[number] = bytes_of(self._plans[number], self.party)
        return sum(self._sizes[number] for number in range(self._next, last + 1))

    def _agreed(self, link: Channel, number: int) -> int:
        """The first plan of this thread, from `number` on, that both parties still need."""
        with self._changed:
            mine = self._next
        link.send(NEXT, number, torch.tensor([mine]))
        (theirs,) = link.receive(NEXT, number, NEXT_SPEC)
        if not 0 <= int(theirs) <= len(self._plans):
            raise ProtocolError(f"step {int(theirs)} was asked for, of {len(self._plans)}")
        missed = max(mine, int(theirs)) - number
        return number + max(0, -(-missed // len(self._links))) * len(self._links)

    def _put(self, number: int, maker: Maker) -> None:
        """Make a plan, and have it wait for its step."""
        plan = self._plans[number]
        if any(at.kept for each in plan.values() if isinstance(each, Linked) for at in each.links.values()):
            self._wait_for_kept(number)
        made = maker.make(number, plan)
        with self._changed:
            self._check()
            if number >= self._next:
                self._ready[number] = made
            self._kept |= {number} & set(self._plans.keeping)
            self._changed.notify_all()

    def _wait_for_kept(self, number: int) -> None:
        """Until all masks that this plan reaches back to have been drawn, in whichever thread."""
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._stopping or all(at in self._kept for at in self._plans.keeping if self._next <= at < number)
                )
            )
            self._check()

    # ------------------------------------------------------------ with `_changed`

    def _advance(self, step: int) -> None:
        if (error := self.error) is not None:
            raise error
        if step != self._next:
            raise ProtocolError(
                f"the masks of step {step} were asked for, but the next ones are those of step {self._next}",
                "The parties no longer agree on the step; start a new session",
            )

    def _pass_over(self, first: int) -> None:
        """Nothing before this step is needed any more."""
        self._next = first
        for kept in (self._ready, self._sizes):
            for number in [number for number in kept if number < first]:
                del kept[number]
        self._changed.notify_all()

    def _check(self) -> None:
        if self._stopping:
            raise _Ended

    def _stop(self, error: BaseException | None) -> None:
        """End all threads, which have an error or are not needed any more, and the other party's with them."""
        with self._changed:
            if self._stopping:
                return
            self._stopping = True
            self._error = error
            self._changed.notify_all()
        for link in self._links if any(thread.is_alive() for thread in self._threads) else ():
            if error is None:
                link.close()
            else:
                link.abort(abort_code(error))


class _Ended(Exception):
    """Another thread has ended the supply."""
