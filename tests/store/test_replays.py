"""The ledger is a fold of the journals: sent again they change nothing, and sent otherwise they give the same."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from redis import Redis

from gateway.records import Admission
from gateway.store.base import Store
from gateway.store.redis.store import RedisStore
from gateway.tenants import Team
from tests.architecture import ROOT
from tests.store.redis_server import RedisServer
from tests.store.samples import NOW_MS, OTHER_TEAM, TEAM, admit, budget, entry, with_store
from tests.store.test_shipping import journal

INSTANCES: Final = tuple(f"i_{number}" for number in range(5))
ENTRIES: Final = 200
HOUR_MS: Final = 3_600_000


@dataclass(frozen=True)
class Fed:
    """Two servers that five processes each have sent the same journals to, and what they held then."""

    root: Path
    servers: tuple[RedisServer, RedisServer]
    contents: tuple[dict[Any, Any], ...]


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fed]:
    root = tmp_path_factory.mktemp("journals")
    write_journals(root)
    with RedisServer(persist=False) as one, RedisServer(persist=False) as two:
        senders = [
            send(server, root, seed, instance)
            for place, server in enumerate((one, two))
            for seed, instance in enumerate(INSTANCES, 100 * place)
        ]
        for sender in senders:
            assert (sender.communicate()[0], sender.returncode) == ("", 0)
        yield Fed(root, (one, two), (content(one), content(two)))


def write_journals(root: Path) -> None:
    """Five journals of two teams, over some days, with tags, failures, unknown prices and a hole."""
    chance = random.Random(23)
    for instance in INSTANCES:
        writer = journal(root, instance)
        for number in range(ENTRIES):
            team = chance.choice((TEAM, OTHER_TEAM))
            seq, prev = writer.turn(team)
            hole = 3 if number == ENTRIES // 2 and instance == "i_3" else 0
            writer.append_closed(
                entry(
                    seq + hole, prev=prev + hole, team_id=team, at_ms=NOW_MS - chance.randint(0, 60) * HOUR_MS,
                    key_id=chance.choice(("k_one", "k_two")), provider=chance.choice(("groq", "together")),
                    tags={"env": chance.choice("ab"), "user": f"u{chance.randint(0, 50)}"}, last=chance.random() < 0.8,
                    charge_nano_usd=chance.choice((None, 0, 1, 10**12)), unknown=chance.random() < 0.1,
                )
            )  # fmt: skip
        writer.release()


def send(server: RedisServer, root: Path, seed: int, *instances: str) -> subprocess.Popen[str]:
    arguments = [server.url, str(root / "journal"), str(seed), *instances]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.store.sender", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


async def store_of(server: RedisServer) -> Store:
    return RedisStore(server.url, "single", "gw")


async def hold_something(store: Store) -> None:
    for team_id, name in ((TEAM, "search"), (OTHER_TEAM, "ads")):
        await store.create_team(Team(team_id, name, 0))
        asked = admit([budget(1000, strict=False, concurrency=5, requests_per_minute=60)], team_id=team_id)
        assert isinstance((await store.admit([asked]))[0], Admission)


def content(server: RedisServer) -> dict[bytes, Any]:
    """What each key holds, whatever the order in which it came there."""
    client = Redis.from_url(f"unix://{server.socket_path}")
    read: dict[Any, Callable[[Any], Any]] = {
        b"hash": client.hgetall,
        b"string": client.get,
        b"set": client.smembers,
        b"zset": lambda key: sorted(client.zrange(key, 0, -1, withscores=True)),
    }
    found: dict[Any, Any] = {key: read[client.type(key)](key) for key in client.keys("*")}
    client.close()
    return found


def test_five_senders_in_any_order_and_cuts_give_the_same_ledger(fed: Fed) -> None:
    one, two = fed.contents
    assert len(one) > 30
    assert one.keys() == two.keys()
    assert {key: (one[key], two[key]) for key in one if one[key] != two[key]} == {}
    assert any(field.endswith(b"|lost_entries") for key in one if b":day:" in key for field in one[key])


def test_a_replay_from_another_process_leaves_every_key_as_it_was(fed: Fed) -> None:
    server, _ = fed.servers
    asyncio.run(with_store(lambda: store_of(server), hold_something))
    client = Redis.from_url(f"unix://{server.socket_path}")
    before = {key: client.dump(key) for key in client.keys("*")}
    replaying = send(server, fed.root, 7, *INSTANCES)
    outcomes = json.loads(replaying.communicate()[0])
    assert replaying.returncode == 0
    assert list(outcomes) == ["gap"]
    assert outcomes["gap"] > 300
    assert {key: client.dump(key) for key in client.keys("*")} == before
    client.close()
