"""How long Redis keeps what, by the figures that it was opened with."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.config.settings import from_environ
from gateway.from_settings import kept_of, store_of
from gateway.periods import hour_of
from gateway.retirement import Kept
from gateway.store.base import Retention, Store
from gateway.store.open import open_store
from gateway.store.redis.names import TeamNames
from tests.store.redis_server import RedisServer
from tests.store.samples import NOW_MS, TEAM, entry, run_of, with_store, with_teams

DAY_S = 86_400
FEW = Retention(hours_d=2, days_d=70, stories_d=3, stories_max=5)


def test_sums_and_stories_live_as_long_as_is_said(redis_server: RedisServer, tmp_path: Path) -> None:
    redis_server.command("FLUSHALL")
    names = TeamNames("gw", TEAM)

    def life_s(key: str) -> int:
        return int(redis_server.command("TTL", key))

    async def act(store: Store) -> None:
        old_ms = NOW_MS - 4 * DAY_S * 1000
        await store.settle(run_of([entry(1, at_ms=old_ms), entry(2, at_ms=old_ms)]))
        await store.settle(run_of([entry(seq, at_ms=NOW_MS) for seq in range(3, 11)]))
        today, old = hour_of(NOW_MS, "UTC"), hour_of(old_ms, "UTC")
        assert 2 * DAY_S < life_s(names.hour(today.start_ms)) <= 3 * DAY_S
        for key in (names.day(today.day), names.spent(f"day:{today.day}")):
            assert 69 * DAY_S < life_s(key) <= 70 * DAY_S
        assert life_s(names.entries) <= 3 * DAY_S
        assert life_s(names.watermark("i_one")) > 399 * DAY_S
        assert len(await store.entries(from_ms=0, to_ms=NOW_MS + 1)) == 5
        cells = await store.usage(from_ms=0, to_ms=NOW_MS + 1, team_ids=[TEAM])
        assert [cell.start_ms for cell in cells] == [old.day_start_ms, today.start_ms]

    opened = open_store(state_dir=tmp_path, redis_url=redis_server.url, retention=FEW)
    asyncio.run(with_store(lambda: opened, with_teams(act)))


def test_each_figure_is_a_setting(redis_server: RedisServer, tmp_path: Path) -> None:
    redis_server.command("FLUSHALL")
    settings = from_environ(
        {
            "REDIS_URL": redis_server.url,
            "GATEWAY_STATE_DIR": str(tmp_path),
            "GATEWAY_KEEP_HOURLY_DAYS": "2",
            "GATEWAY_KEEP_DAILY_DAYS": "70",
            "GATEWAY_KEEP_STORY_DAYS": "3",
            "GATEWAY_KEEP_STORY_ENTRIES": "100",
            "GATEWAY_KEEP_JOURNAL_HOURS": "48",
            "GATEWAY_KEEP_JOURNAL_GIB": "1",
            "GATEWAY_KEEP_ARCHIVE_DAYS": "10",
        }
    )
    assert kept_of(settings) == Kept(journal_s=48 * 3600, journal_bytes=1 << 30, archive_s=10 * DAY_S)

    async def act(store: Store) -> None:
        await store.settle(run_of([entry(seq) for seq in range(1, 121)]))
        assert len(await store.entries(from_ms=0, to_ms=NOW_MS + 1)) == 100
        names, today = TeamNames("gw", TEAM), hour_of(NOW_MS, "UTC")
        for key, days in ((names.entries, 3), (names.hour(today.start_ms), 3), (names.day(today.day), 70)):
            assert (days - 1) * DAY_S < int(redis_server.command("TTL", key)) <= days * DAY_S

    asyncio.run(with_store(lambda: store_of(settings), with_teams(act)))


def test_what_is_said_nowhere_is_what_the_readme_says() -> None:
    settings = from_environ({})
    assert kept_of(settings) == Kept()
    assert Retention() == Retention(
        settings.keep_hourly_d, settings.keep_daily_d, settings.keep_story_d, settings.keep_story_entries
    )
