"""A gateway that meets entries too old to be guessed at says so, and a person has them counted, once."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Final

from gateway.journal.reader import closed_entries, segments
from gateway.money import format_usd
from gateway.records import Run
from gateway.store.base import STALE_AFTER_MS, Store
from gateway.store.open import open_store
from gateway.store.redis.names import TeamNames
from gateway.tenants import Team
from tests.journeys.gateway_process import GatewayProcess, running, table_of, until
from tests.store.redis_server import RedisServer
from tests.store.samples import NOW_MS, TEAM, with_store
from tests.store.test_shipping import journal, write

OLD_MS: Final = NOW_MS - 2 * STALE_AFTER_MS


def test_parked_then_visible_then_applied_once(tmp_path: Path) -> None:
    with RedisServer(persist=False) as redis:
        leave_half_shipped(tmp_path / "state", redis.url)
        redis.command("DEL", TeamNames("gw", TEAM).watermark("i_dead"))
        with running(
            tmp_path, table_of({"only": "http://127.0.0.1:1/v1"}), environ={"REDIS_URL": redis.url}
        ) as gateway:
            until(lambda: gateway.readyz().get("parked_journals") == 1, "the parked journal in /readyz")
            until(lambda: "gateway_parked_journals 1.0" in metrics(gateway), "the metric")
            (listed,) = [one for one in rows(gateway, "list") if one["instance"] == "i_dead"]
            assert (listed["state"], listed["set_aside_entries"], listed["entries"]) == ("adopted", 7, 7)

            (applied,) = rows(gateway, "apply")
            assert (applied["team"], applied["skipped_entries"], applied["shipped_entries"]) == ("search", 2, 5)
            assert rows(gateway, "apply", "i_dead") == []
            usage = json.loads(gateway.command("usage", "--json", "--from", "2020-01-01"))
            assert usage["total"]["requests"] == 7
            assert usage["total"]["cost_usd"] == format_usd(7 * 74_800)


def leave_half_shipped(state_dir: Path, redis_url: str) -> None:
    """A dead worker's journal of seven old entries, of which the store has two."""
    dead = journal(state_dir, "i_dead")
    write(dead, 2, at_ms=OLD_MS)
    dead.note_shipped(TEAM, 2)
    write(dead, 5, at_ms=OLD_MS)
    dead.release()
    counted = tuple(closed_entries(segments(dead.folder)))[:2]

    async def act(store: Store) -> None:
        await store.create_team(Team(TEAM, "search", 0))
        await store.settle(Run(TEAM, "i_dead", 0, counted, replayed=True))

    asyncio.run(with_store(lambda: open_store(state_dir=state_dir, redis_url=redis_url), act))


def metrics(gateway: GatewayProcess) -> str:
    return gateway.http.get(f"{gateway.url}/metrics").text


def rows(gateway: GatewayProcess, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(gateway.command("journal", *words, "--json"))["data"]
    return found
