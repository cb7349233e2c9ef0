"""Bounds what is under way at once: per worker, and per provider's account; whoever finds it full waits a little.

    a place   in the worker, from the request's body to the last byte of its answer
    a room    at a provider's account, for one attempt; the health book counts them

Both wait in one queue, fair over teams; what becomes free is handed to the next in it, never to a newcomer. Where the
queue is full, or the deadline comes first, the answer is Overloaded. Who leaves the queue leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Protocol

from gateway.config.catalog import Catalog
from gateway.errors import Overloaded
from gateway.fair_queue import FairQueue
from gateway.metrics import Metrics
from gateway.routing.health import HealthBook

WORKER: Final = ""
"""What is waited for, beside the names of providers."""
RETRY_S_MAX: Final = 30.0
SMOOTHING: Final = 0.1
"""Weight of the newest interval between two that came to an end."""


class Caller(Protocol):
    """Whom the answer is for, seen from within."""

    async def gone(self) -> bool: ...

    async def unless_left(self, awaited: asyncio.Future[str]) -> str:
        """The result; `awaited` is cancelled, and something raised, as soon as the caller leaves."""
        ...


@dataclass(frozen=True, slots=True)
class Guest:
    """Who waits: for which team, until when (monotonic seconds)."""

    team_id: str
    caller: Caller
    deadline_s: float


@dataclass(frozen=True, slots=True, eq=False)
class _Ticket:
    wants: Collection[str]
    granted: asyncio.Future[str]


class Places:
    """One per worker."""

    def __init__(self, book: HealthBook, metrics: Metrics) -> None:
        self.in_flight = 0
        self.in_flight_max = 0
        self._queue: FairQueue[_Ticket] = FairQueue(0)
        self._accounts_max: dict[str, int | None] = {}
        self._book = book
        self._metrics = metrics
        self._ended_at_s = 0.0
        self._interval_s = 0.0
        book.on_room = self.pass_on

    def use_catalog(self, catalog: Catalog) -> None:
        """The bounds of a table, from now on; those who wait get what it adds."""
        self.in_flight_max = catalog.routing.max_in_flight
        self._queue.length_max = catalog.routing.queue
        self._accounts_max = {name: provider.max_concurrency for name, provider in catalog.providers.items()}
        for wanted in (WORKER, *self._accounts_max):
            self.pass_on(wanted)

    def enter_now(self) -> bool:
        """Takes a place if there is one. While anybody waits for one there is none."""
        if self.in_flight < self.in_flight_max:
            self.in_flight += 1
            return True
        return False

    @property
    def is_full(self) -> bool:
        """No place is free; there may be one to wait."""
        return self.in_flight >= self.in_flight_max

    def refusal(self, team_id: str) -> Overloaded | None:
        """For a request of this team that could neither begin nor wait; else None."""
        if not self.is_full or self._queue.admits(team_id):
            return None
        return self._full("worker_full", f"{self.in_flight} requests are under way")

    async def enter(self, guest: Guest) -> None:
        """Waits for a place. Raises Overloaded, and what `Caller` raises."""
        await self._wait(guest, (WORKER,), "worker_full", f"{self.in_flight} requests are under way")

    def leave(self) -> None:
        """Gives a place back."""
        if self.in_flight >= self.in_flight_max:
            self._measure()
        self.in_flight -= 1
        self.pass_on(WORKER)

    async def room(self, guest: Guest, providers: Collection[str]) -> str:
        """Waits for a room at any of these accounts, which are full; its name. The room is held until `free_room` of
        the health book. Raises Overloaded, and what `Caller` raises."""
        return await self._wait(guest, providers, "provider_full", f"{', '.join(providers)} can take no more at once")

    def pass_on(self, wanted: str) -> None:
        """Gives what is free, at an account or in the worker, to those whose turn it is."""
        while self._queue and self._is_free(wanted):
            ticket = self._queue.take(lambda ticket: wanted in ticket.wants and not ticket.granted.done())
            if ticket is None:
                return
            if wanted == WORKER:
                self.in_flight += 1
            else:
                self._book.hold_room(wanted)
            ticket.granted.set_result(wanted)

    async def _wait(self, guest: Guest, wants: Collection[str], why: str, told: str) -> str:
        if not self._queue.admits(guest.team_id):
            raise self._full(why, told)
        ticket = _Ticket(wants, asyncio.get_running_loop().create_future())
        gone = self._queue.add(guest.team_id, ticket)
        if gone is not None and not gone.granted.done():
            gone.granted.set_exception(
                self._full("displaced", "others had to make room for a team of which fewer wait")
            )
        granted = ticket.granted
        self._metrics.queued.inc()
        try:
            async with asyncio.timeout(guest.deadline_s - time.monotonic()):
                return await guest.caller.unless_left(granted)
        except TimeoutError:
            self._return(granted)
            raise self._full("deadline", f"{told}, and the deadline came first") from None
        except BaseException:
            self._return(granted)
            raise
        finally:
            self._queue.discard(guest.team_id, ticket)
            self._metrics.queued.dec()

    def _is_free(self, wanted: str) -> bool:
        if wanted == WORKER:
            return self.in_flight < self.in_flight_max
        bound = self._accounts_max.get(wanted)
        return bound is None or self._book.in_flight(wanted) < bound

    def _return(self, granted: asyncio.Future[str]) -> None:
        """What was granted to somebody who went away in the same moment goes to the next."""
        if not granted.done() or granted.cancelled() or granted.exception() is not None:
            return
        wanted = granted.result()
        if wanted == WORKER:
            self.leave()
        else:
            self._book.free_room(wanted)
            self.pass_on(wanted)

    def _measure(self) -> None:
        now_s = time.monotonic()
        interval_s = min(now_s - self._ended_at_s, RETRY_S_MAX)
        self._interval_s += SMOOTHING * (interval_s - self._interval_s)
        self._ended_at_s = now_s

    def _full(self, why: str, told: str) -> Overloaded:
        self._metrics.count_refusal(why)
        # When, at the pace of late, all who wait now will have had their turn.
        retry_s = min((len(self._queue) + 1) * self._interval_s, RETRY_S_MAX)
        return Overloaded(
            f"The gateway is overloaded: {told}; {len(self._queue)} requests wait already. Try again a little later.",
            retry_after_s=max(1.0, retry_s),
        )
