"""A thousand streams of a limited team, each left at another moment: nothing of them stays held."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.store.base import Store
from gateway.store.redis.names import TeamNames
from tests.journeys.caller import body
from tests.journeys.fault_provider import FaultProvider
from tests.journeys.gateway_process import GatewayProcess, running, table_of, until
from tests.store.redis_server import RedisServer

STREAMS: Final = 1_000
SLOTS: Final = 40
PATIENCE_MS_MAX: Final = 40
FREE_AGAIN_S: Final = 10.0
"""Far below the lease of a slot, which is what an end without a word would cost."""


def test_no_slot_stays_with_who_left(tmp_path: Path) -> None:
    with RedisServer(persist=False) as redis, FaultProvider(arguments="--chunk-ms 3") as provider:
        table = table_of({"only": provider.base_url})
        with running(tmp_path, table, workers=2, environ={"REDIS_URL": redis.url}) as gateway:
            key = gateway.key("busy", limits={"concurrency": SLOTS}, budget={"usd": "100", "period": "total"})
            asyncio.run(leave_all(gateway, key))

            until(lambda: not held(gateway), "the last slot and hold", FREE_AGAIN_S)
            metrics = gateway.http.get(f"{gateway.url}/metrics").text
            assert "gateway_in_flight_requests 0.0\n" in metrics
            assert asyncio.run(statuses_at_once(gateway, key)) == [200] * SLOTS


async def leave_all(gateway: GatewayProcess, key: str) -> None:
    """As many at a time as there are slots, each hanging up after its own while."""
    dice = random.Random(18)
    waits_s = iter([dice.uniform(0, PATIENCE_MS_MAX) / 1000 for _ in range(STREAMS)])

    async def leave_some() -> None:
        for wait_s in waits_s:
            _, writer = await ask(gateway, key)
            await asyncio.sleep(wait_s)
            writer.transport.abort()

    await asyncio.gather(*(leave_some() for _ in range(SLOTS)))


async def statuses_at_once(gateway: GatewayProcess, key: str) -> list[int]:
    async def status() -> int:
        reader, writer = await ask(gateway, key)
        line = await reader.readline()
        writer.transport.abort()
        return int(line.split()[1])

    return list(await asyncio.gather(*(status() for _ in range(SLOTS))))


async def ask(gateway: GatewayProcess, key: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A stream on a connection of its own, which nobody has read from yet."""
    parts = urlsplit(gateway.url)
    content = json.dumps(body(stream=True, max_tokens=50)).encode()
    head = ["POST /v1/chat/completions HTTP/1.1", f"host: {parts.netloc}", f"content-length: {len(content)}"]
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write("\r\n".join([*head, f"authorization: Bearer {key}", "", ""]).encode() + content)
    return reader, writer


def held(gateway: GatewayProcess) -> dict[str, Any]:
    """What Redis keeps of the team's slots and holds, without what is empty."""

    async def look(store: Any) -> dict[str, Any]:
        (team,) = await store.teams()
        names = TeamNames("gw", team.id)
        return {
            "slots": await store._link.call(lambda client: client.zcard(names.slots("team"))),
            "holds": await store._link.call(lambda client: client.hlen(names.holds)),
            "held": await store._link.call(lambda client: client.hlen(names.held)),
        }

    def act(store: Store) -> Any:
        return look(store)

    return {name: count for name, count in gateway.with_store(act).items() if count}
