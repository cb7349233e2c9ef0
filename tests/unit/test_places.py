"""What happens in one step of the loop: a place that is granted to somebody who leaves in that very moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from gateway.config.catalog import Breaker
from gateway.errors import Overloaded
from gateway.metrics import Metrics
from gateway.places import Guest, Places
from gateway.routing.health import HealthBook
from tests.unit.catalogs import catalog, offer

FULL = catalog(offer("a", max_concurrency=1), max_in_flight=1, queue=2)


class Stays:
    async def gone(self) -> bool:
        return False

    async def unless_left(self, awaited: asyncio.Future[str]) -> str:
        return await awaited


def guest(team: str = "search", within_s: float = 5.0) -> Guest:
    return Guest(team, Stays(), time.monotonic() + within_s)


def places() -> Places:
    made = Places(HealthBook(Breaker()), Metrics())
    made.use_catalog(FULL)
    return made


Wait = Callable[[Places], Awaitable[object]]
WAITS: dict[str, tuple[Wait, Callable[[Places], None]]] = {
    "place": (lambda of: of.enter(guest()), lambda of: of.leave()),
    "room": (lambda of: of.room(guest(), ["a"]), lambda of: of._book.abandon(offer("a"))),
}


@pytest.mark.parametrize(("wait", "free"), WAITS.values(), ids=WAITS)
def test_what_is_granted_to_one_who_leaves_goes_to_the_next(wait: Wait, free: Callable[[Places], None]) -> None:
    async def story() -> None:
        of = places()
        assert of.enter_now()
        of._book.begin(offer("a"), 0)
        assert not of.enter_now()
        one, other = asyncio.ensure_future(wait(of)), asyncio.ensure_future(wait(of))
        await asyncio.sleep(0)
        free(of)
        one.cancel()
        await asyncio.wait([one])
        assert one.cancelled()
        await asyncio.wait_for(other, 1)
        assert (of.in_flight, of._book.in_flight("a")) == (1, 1)

    asyncio.run(story())


def test_a_smaller_bound_holds_once_those_under_way_have_ended() -> None:
    async def story() -> None:
        of = places()
        of.use_catalog(catalog(max_in_flight=3, queue=2))
        assert [of.enter_now() for _ in range(4)] == [True, True, True, False]
        of.use_catalog(FULL)
        waiting = asyncio.ensure_future(of.enter(guest()))
        await asyncio.sleep(0)
        for _ in range(2):
            of.leave()
            await asyncio.sleep(0)
            assert not waiting.done()
        of.leave()
        await waiting
        assert of.in_flight == 1

    asyncio.run(story())


@pytest.mark.parametrize(("length", "retry_after_s"), [(0, 1.0), (9, 5.0), (500, 30.0)])
def test_retry_after_is_when_all_who_wait_have_had_their_turn(length: int, retry_after_s: float) -> None:
    async def story() -> float | None:
        of = places()
        of.use_catalog(catalog(max_in_flight=1, queue=length))
        assert of.enter_now()
        of._interval_s = 0.5  # as it comes to be where one ends each half second
        waiting = [asyncio.ensure_future(of.enter(guest())) for _ in range(length)]
        await asyncio.sleep(0)
        refusal = of.refusal("search")
        assert isinstance(refusal, Overloaded)
        of.leave()
        for one in waiting:
            await one
            of.leave()
        return refusal.retry_after_s

    assert asyncio.run(story()) == retry_after_s
