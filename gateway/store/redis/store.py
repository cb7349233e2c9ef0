"""The Redis store: the ledger of any number of hosts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.store.base import KEEP, Retention
from gateway.store.board import Board
from gateway.store.redis.answers import RedisAnswers
from gateway.store.redis.board import RedisBoard
from gateway.store.redis.connect import REPORT_TIMEOUT_S, Link, make_client
from gateway.store.redis.ledger import RedisLedger
from gateway.store.redis.reports import RedisReports
from gateway.store.redis.tenants import RedisTenants


class RedisStore(RedisTenants, RedisLedger, RedisAnswers, RedisReports):
    """See `gateway.store.base.Store`. Reports, and what waits for replicas, have a client of their own."""

    kind = "redis"

    def __init__(self, url: str, mode: str, prefix: str, retention: Retention = KEEP) -> None:
        link = Link(make_client(url, mode))
        patient = Link(make_client(url, mode, timeout_s=REPORT_TIMEOUT_S))
        RedisTenants.__init__(self, link, patient, prefix)
        RedisLedger.__init__(self, link, prefix, retention)
        RedisAnswers.__init__(self, link, prefix)
        RedisReports.__init__(self, patient, prefix, retention)

    def board(self, instance: str) -> Board:
        return RedisBoard(self._link, self._reports_link, self._prefix, instance)

    async def check(self) -> None:
        """Raises StoreUnfit; a Redis that is away is looked at again when it is back."""
        await self._link.check()

    def on_change(self, heard: Callable[[], None]) -> None:
        self._link.on_change(heard)

    async def ping(self) -> None:
        await self._link.call(lambda client: client.ping())

    async def now_ms(self) -> int:
        seconds, microseconds = await self._link.call(_time)
        return seconds * 1000 + microseconds // 1000

    async def aclose(self) -> None:
        await self._asking.aclose()
        await self._close_runners()
        await self._answering.aclose()
        await self._link.aclose()
        await self._reports_link.aclose()


async def _time(client: Any) -> tuple[int, int]:
    told: tuple[int, int] = await client.time()
    return told
