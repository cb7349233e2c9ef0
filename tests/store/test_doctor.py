"""`gateway doctor` on a real Redis and a real folder: it finds what is wrong, and says what to do."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.main import main
from gateway.config.settings import Settings
from gateway.doctor import check_redis, check_space, check_sync, check_unshipped
from gateway.journal.writer import JournalWriter
from gateway.store.open import open_store
from gateway.store.redis.inspection import COMMANDS, NodeFacts, RedisFacts, acl_rule, inspect
from gateway.tenants import Team
from tests.store.redis_server import RedisServer
from tests.store.samples import NOW_MS, TEAM, entry

TABLE = """
version: 1
providers:
  groq: {apiKey: "${GROQ_API_KEY}"}
  together: {apiKey: "${TOGETHER_API_KEY}"}
models:
  org/priced:
    providersMapping:
      groq: {providerModelId: p, pricing: {input: "1", output: "2"}}
      together: {providerModelId: p}
  org/unpriced:
    providersMapping:
      groq: {providerModelId: u}
"""
Doctor = Callable[..., tuple[int, dict[str, dict[str, Any]]]]


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Runs it in a folder of its own: the exit code, and the findings by the name of their check."""
    monkeypatch.chdir(tmp_path)
    for name in ("REDIS_URL", "TOGETHER_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GROQ_API_KEY", "k")
    (tmp_path / "mappings.yaml").write_text(TABLE)

    def run(**variables: str) -> tuple[int, dict[str, dict[str, Any]]]:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        code = main(["doctor", "--json"])
        told = json.loads(capsys.readouterr().out)
        assert told["ok"] == (code == 0)
        return code, {check["check"]: check for check in told["checks"]}

    return run


def test_the_embedded_store_is_fit_and_the_table_is_looked_at(doctor: Doctor) -> None:
    code, found = doctor()
    assert code == 0
    assert {check["level"] for check in found.values() if not check["advice"]} <= {"ok"}
    assert found["store"]["said"].startswith("the embedded one")
    assert found["providers"]["level"] == "warn"
    assert "together (TOGETHER_API_KEY is not set)" in found["providers"]["said"]
    assert found["prices"]["said"] == "1 offers without one: org/unpriced at groq"
    assert {"journal folder", "journal disk", "journal space", "unshipped usage", "mappings"} <= found.keys()


def test_a_faulty_table_and_a_closed_folder_fail(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "mappings.yaml").write_text("version: 1\nmodles: {}\nmore: 1\n")
    (tmp_path / "file").write_text("")
    code, found = doctor(GATEWAY_STATE_DIR=str(tmp_path / "file"))
    assert code == 1
    assert "mappings.yaml:1: " in found["mappings"]["said"]
    assert found["journal folder"]["level"] == found["store"]["level"] == "fail"


def test_a_plain_redis_is_told_what_it_lacks(doctor: Doctor, redis_server: RedisServer) -> None:
    redis_server.command("FLUSHALL")
    code, found = doctor(REDIS_URL=redis_server.url)
    assert (found["redis version"]["level"], found["eviction"]["level"], found["clock"]["level"]) == ("ok", "ok", "ok")
    assert found["redis commands"]["level"] == "ok"
    # The tests' server keeps nothing on disk.
    assert (code, found["persistence"]["level"]) == (1, "fail")
    assert found["replicas"]["level"] == "warn"
    redis_server.command("CONFIG", "SET", "appendonly", "yes")
    try:
        code, found = doctor()
        assert (code, found["persistence"]["said"]) == (0, "appendonly, appendfsync everysec")
    finally:
        redis_server.command("CONFIG", "SET", "appendonly", "no")


def test_a_redis_that_evicts_fails(doctor: Doctor, redis_server: RedisServer) -> None:
    redis_server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        code, found = doctor(REDIS_URL=redis_server.url)
    finally:
        redis_server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert code == 1
    assert "noeviction" in found["eviction"]["advice"]


def test_a_redis_that_is_not_there_fails(doctor: Doctor, tmp_path: Path) -> None:
    code, found = doctor(REDIS_URL=f"unix://{tmp_path}/none.sock")
    assert (code, found["store"]["level"]) == (1, "fail")


def user(server: RedisServer, *rules: str) -> str:
    server.command("ACL", "SETUSER", "gateway", "reset", "on", ">pw", *rules)
    return server.tcp_url.replace("//", "//gateway:pw@")


def test_a_user_with_the_printed_rule_can_do_all_and_one_with_less_is_told(
    doctor: Doctor, redis_server: RedisServer, tmp_path: Path
) -> None:
    redis_server.command("FLUSHALL")
    rule = acl_rule("gw").split()
    url = user(redis_server, *rule[5:])
    try:

        async def use() -> None:
            store = await open_store(state_dir=tmp_path, redis_url=url)
            await store.create_team(Team(TEAM, "search", 0))
            await store.journals(TEAM)
            await store.aclose()

        asyncio.run(use())
        assert doctor(REDIS_URL=url)[1]["redis commands"]["level"] == "warn", "it may not even ask"
        url = user(redis_server, *rule[5:], "+acl", "-zadd", "-evalsha")
        code, found = doctor(REDIS_URL=url)
        assert code == 1
        assert found["redis commands"]["said"] == "forbidden: evalsha, zadd"
        assert "+zadd" in found["redis commands"]["advice"]
    finally:
        redis_server.command("ACL", "DELUSER", "gateway")


def test_a_cluster_is_looked_at_node_by_node(cluster_server: RedisServer) -> None:
    facts = asyncio.run(inspect(cluster_server.tcp_url, "cluster", "gw"))
    assert len(facts.nodes) == 1
    assert facts.nodes[0].version.count(".") == 2
    assert facts.refused == ()
    assert abs(facts.clock_offset_ms) < 1000


def test_every_command_of_a_script_is_among_those_that_are_checked() -> None:
    folder = files("gateway.store.redis")
    texts = [script.read_text() for script in folder.iterdir() if script.name.endswith(".lua")]
    called = {name.lower() for text in texts for name in re.findall(r"redis\.p?call\('(\w+)'", text)}
    assert called
    assert called <= COMMANDS.keys()


def test_what_cannot_be_had_in_a_test_is_judged_all_the_same() -> None:
    node = NodeFacts("6.0.9", "noeviction", 100 << 20, 95 << 20, False, None, None, False, 1)
    found = {one.check: one.level for one in check_redis(RedisFacts((node,), -1500, ()), Settings())}
    assert found == {
        "redis version": "fail", "eviction": "ok", "memory": "warn", "persistence": "warn", "replicas": "ok",
        "clock": "fail", "redis commands": "ok",
    }  # fmt: skip
    assert [check_space(free).level for free in (1 << 20, 1 << 30, 1 << 40)] == ["fail", "warn", "ok"]
    assert [check_sync(took_s).level for took_s in (0.001, 0.5)] == ["ok", "warn"]
    assert [check_unshipped(3, old).level for old in (0, 1)] == ["ok", "warn"]


def test_what_a_dead_worker_left_is_told(doctor: Doctor, tmp_path: Path) -> None:
    async def leave() -> None:
        store = await open_store(state_dir=tmp_path / ".gateway")
        await store.create_team(Team(TEAM, "search", 0))
        await store.aclose()
        journal = JournalWriter.create(tmp_path / ".gateway" / "journal", "i_dead", sync="off")
        journal.append_closed(entry(1, at_ms=NOW_MS - 600_000))
        await journal.aclose()

    asyncio.run(leave())
    code, found = doctor()
    assert (code, found["unshipped usage"]["level"]) == (0, "warn")
    assert "1 entries, 1 of them older" in found["unshipped usage"]["said"]
