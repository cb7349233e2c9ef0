"""What a request held is freed with it: the worker's collector runs seldom, and trusts that it is not needed."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.cli.direct_writer import DirectWriter
from gateway.web.request import DIRECT, CallerWatch, Message


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Caller:
    async def receive(self) -> Message:
        await asyncio.Event().wait()
        raise AssertionError("never")


class Cycle:
    transport = None
    flow = None

    def __init__(self) -> None:
        self.scope: dict[str, Any] = {}


def test_a_watch_that_was_stopped_is_freed_at_once() -> None:
    async def story() -> None:
        caller = Caller()
        held = weakref.ref(caller)
        watch = CallerWatch(caller.receive)
        watch.when_left(lambda: None)
        await asyncio.sleep(0)
        watch.stop()
        del watch, caller
        for _ in range(3):
            await asyncio.sleep(0)
        assert held() is None

    asyncio.run(story())


def test_the_writer_in_the_scope_does_not_hold_its_request() -> None:
    cycle: Any = Cycle()
    cycle.scope[DIRECT] = DirectWriter(cycle)
    direct, held = cycle.scope[DIRECT], weakref.ref(cycle)
    del cycle
    assert held() is None
    assert direct.part(b"x") is False
    assert direct.whole(200, [], b"x") is False
