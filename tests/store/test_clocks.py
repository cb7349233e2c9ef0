"""A worker whose clock is a day off: the store's clock counts, for periods and for what comes too late."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from gateway.journal.writer import JournalWriter
from gateway.metering import Meter
from gateway.metrics import Metrics
from gateway.periods import hour_of
from gateway.presence import Presence
from gateway.store.open import open_store
from gateway.store.shipper import Shipper
from gateway.tenants import Budget, Limits
from tests.store.redis_server import RedisServer
from tests.unit.metered_house import limited
from tests.unit.offers import opening

DAY_MS = 86_400_000


@pytest.mark.parametrize("off_ms", [-DAY_MS, DAY_MS, -10_000, 10_000], ids=lambda ms: f"{ms / 1000:+g}s")
@pytest.mark.parametrize("limits", [{}, {"budget": Budget(10**12, period="day"), "limits": Limits(concurrency=5)}],
                         ids=["free", "limited"])  # fmt: skip
def test_a_day_is_the_stores(redis_server: RedisServer, tmp_path: Path, off_ms: int, limits: dict[str, object]) -> None:
    redis_server.command("FLUSHALL")

    def wrong_ms() -> int:
        return time.time_ns() // 1_000_000 + off_ms

    async def act() -> None:
        store = await open_store(state_dir=tmp_path, redis_url=redis_server.url)
        journal = JournalWriter.create(tmp_path / "journal", "i_one", sync="off")
        shipper = Shipper(store, batch_s=0.001)
        meter = Meter(journal=journal, store=store, shipper=shipper, clock_ms=wrong_ms)
        await Presence("i_one", store, meter.admissions, Metrics()).beat()
        bill = await meter.open(opening(limited(**limits)))
        store_ms = await store.now_ms()
        assert abs(bill._intent.at_ms - store_ms) < 1_500
        assert bill._intent.day == hour_of(store_ms, "UTC").day
        await bill.close(failed=True)
        await shipper.aclose()
        await journal.aclose()
        await store.aclose()

    asyncio.run(act())
