"""One store built from another: the sums are the same to the nano-dollar, and doing it twice changes nothing."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.main import main
from gateway.records import METRICS, Admission, Refusal
from gateway.store.base import AuditEntry, Store
from gateway.store.contents import EVER_MS, Item, contents
from gateway.store.export_file import BadExport, header, items_of, kind_of, last_line, line_of
from gateway.store.open import open_store
from gateway.store.transfer import Transfer, Transferred, TransferRefused, totals
from gateway.tenants import Key, Team
from tests.store.conftest import OpenStore
from tests.store.redis_server import RedisServer
from tests.store.samples import NOW_MS, OTHER_TEAM, TEAM, admit, budget, entry, run_of

DAY_MS = 86_400_000
OLD_MS = NOW_MS - 50 * DAY_MS
"""Older than Redis keeps hours and takes a missing watermark for a zero."""
TEAMS = (TEAM, OTHER_TEAM)


async def fill(store: Store, *, old: bool = True) -> None:
    """Two teams, one of them deleted; two journals; a request of each kind."""
    await store.create_team(Team(TEAM, "search", 0, timezone="Asia/Kolkata"))
    await store.create_team(Team(OTHER_TEAM, "ads", 0))
    await store.create_key(Key("k_one", TEAM, "hf_gw_ab", "d1" * 32, created_at_ms=5))
    await store.create_key(Key("k_two", TEAM, "hf_gw_cd", "d2" * 32, created_at_ms=6, revoked_at_ms=7))
    await store.append_audit(AuditEntry(1, "cli", "host", "team.create", "search"))
    await store.append_audit(AuditEntry(2, "cli", "host", "key.create", "search/k_one"))
    if old:
        # As when it was new: the store took it then.
        run = run_of([entry(1, at_ms=OLD_MS, charge_nano_usd=1), entry(2, at_ms=OLD_MS + 1, charge_nano_usd=2)])
        assert (await store.settle(replace(run, replayed=True))).outcome == "applied"
    start = 2 if old else 0
    await store.settle(run_of([entry(start + 1, tags={"env": "prod"}), entry(start + 2, charge_nano_usd=None)]))
    lost = entry(6, prev=0, kind="lost", last=False, answered=False, lost_from=1, lost_to=6, provider="", key_id="")
    await store.settle(run_of([lost, entry(7, unknown=True, overrun_nano_usd=3)], instance="i_two"))
    await store.settle(run_of([entry(1, team_id=OTHER_TEAM)]))
    await store.save_team(Team(OTHER_TEAM, "ads", 0, deleted_at_ms=9))


async def sums(store: Store) -> dict[str, list[int]]:
    return await totals(store, TEAMS, METRICS, 0)


def file_of(items: Iterable[Item]) -> list[str]:
    held = list(items)
    return [header("redis", NOW_MS), *map(line_of, held), last_line(Counter(map(kind_of, held)))]


async def stream(items: Iterable[Item]) -> AsyncIterator[Item]:
    for item in items:
        yield item


async def told(store: Store) -> list[Item]:
    return [item async for item in contents(store, "UTC")]


def test_the_embedded_store_moves_into_another(store_at: OpenStore, tmp_path: Path) -> None:
    async def act() -> None:
        source = await open_store(state_dir=tmp_path / "source")
        target = await store_at()
        try:
            await fill(source)
            done = await Transfer(target).take(contents(source, "UTC"))
            assert (done.teams, done.keys, done.entries, done.audit) == (2, 2, 7, 2)
            assert await sums(target) == await sums(source)
            for tag in ("env", "none"):
                asked: dict[str, Any] = {"from_ms": 0, "to_ms": EVER_MS, "team_ids": [TEAM]}
                assert await target.tag_usage(tag, **asked) == await source.tag_usage(tag, **asked)
            assert await target.journals(TEAM) == {"i_one": 4, "i_two": 7}
            assert await target.teams(deleted=True) == await source.teams(deleted=True)
            assert await target.keys(TEAM) == await source.keys(TEAM)
            assert await target.find_key("d1" * 32) is not None
            assert await target.find_key("d2" * 32) is None
            assert await target.audit() == await source.audit()
            await again(source, target)
        finally:
            await source.aclose()
            await target.aclose()

    asyncio.run(act())


async def again(source: Store, target: Store) -> None:
    """A second time changes nothing, and a third one adds what was used meanwhile."""
    before = await sums(target)
    done = await Transfer(target).take(contents(source, "UTC"))
    assert done == Transferred(known_teams=2, known_keys=2, known_entries=7)
    assert await sums(target) == before
    await source.settle(run_of([entry(5)]))
    await source.settle(run_of([entry(1)], instance="a_new"))
    assert (await Transfer(target).take(contents(source, "UTC"))).entries == 2
    assert await sums(target) == await sums(source)


def test_budgets_go_on_where_they_were(store_at: OpenStore, tmp_path: Path) -> None:
    async def act() -> None:
        source = await open_store(state_dir=tmp_path / "source")
        target = await store_at()
        try:
            await fill(source, old=False)
            spent = (await sums(source))[TEAM][METRICS.index("charge_nano_usd")]
            await Transfer(target).take(contents(source, "UTC"))
            answers = [await target.admit([admit([budget(spent + 1000 - less)])]) for less in (0, 1)]
            assert [type(answer[0]) for answer in answers] == [Admission, Refusal]
        finally:
            await source.aclose()
            await target.aclose()

    asyncio.run(act())


def test_an_export_builds_any_store_anew(store_at: OpenStore, tmp_path: Path) -> None:
    """Redis tells sums and watermarks, the embedded store every entry; both add up in the embedded store."""

    async def act() -> None:
        source = await store_at()
        target = await open_store(state_dir=tmp_path / "target")
        try:
            await fill(source)
            lines = file_of(await told(source))
            for _ in range(2):
                await Transfer(target).take(stream(items_of(lines)))
                assert await sums(target) == await sums(source)
                assert await target.journals(TEAM) | {"i_one": 4, "i_two": 7} == await target.journals(TEAM)
            # A worker whose journal the target was told of goes on where the old store was.
            assert (await target.settle(run_of([entry(4)]))).watermark == 4
            assert (await target.settle(run_of([entry(5)]))).outcome == "applied"
        finally:
            await source.aclose()
            await target.aclose()

    asyncio.run(act())


def test_what_would_count_twice_is_refused(redis_server: RedisServer, tmp_path: Path) -> None:
    async def act() -> None:
        redis_server.command("FLUSHALL")
        source = await open_store(state_dir=tmp_path / "none", redis_url=redis_server.url)
        target = await open_store(state_dir=tmp_path / "target")
        try:
            await fill(source)
            first, second = await told(source), await told(source)
            await Transfer(target).take(stream(first))
            before = await sums(target)
            with pytest.raises(TransferRefused, match="take an empty store"):
                await Transfer(target).take(stream(second))
            assert await sums(target) == before
        finally:
            await source.aclose()
            await target.aclose()

    asyncio.run(act())


def test_a_name_that_the_target_gave_away_is_refused(tmp_path: Path) -> None:
    async def act() -> None:
        target = await open_store(state_dir=tmp_path)
        try:
            await target.create_team(Team("t_other", "search", 0))
            with pytest.raises(TransferRefused, match="another team called 'search'"):
                await Transfer(target).take(stream([Team(TEAM, "search", 0)]))
        finally:
            await target.aclose()

    asyncio.run(act())


GOOD = [header("sqlite", 5), line_of(Team(TEAM, "search", 0)), last_line(Counter(teams=1))]


@pytest.mark.parametrize(
    ("lines", "line", "says"),
    [
        ([], 0, "ends too soon"),
        (GOOD[:2], 2, "ends too soon"),
        (["{}"], 1, "not an export"),
        (["hello"], 1, "not a line"),
        ([GOOD[0].replace(": 1", ": 2"), *GOOD[1:]], 1, "format 2"),
        ([GOOD[0], GOOD[2]], 2, "expected"),
        ([GOOD[0], '{"team":{"id":1}}', GOOD[2]], 2, "damaged"),
        ([GOOD[0], '{"entry":[1],"journal":"i"}', GOOD[2]], 2, "damaged"),
        ([GOOD[0], '{"entry":[9],"journal":"i"}', GOOD[2]], 2, "later version"),
        ([GOOD[0], '{"secret":"s"}', GOOD[2]], 2, "unknown value"),
        ([*GOOD, GOOD[1]], 4, "follows the last"),
    ],
)
def test_a_damaged_export_is_told_with_its_line(lines: list[str], line: int, says: str) -> None:
    with pytest.raises(BadExport, match=says) as caught:
        list(items_of(lines))
    assert caught.value.line == line


def test_the_commands(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    redis_server.command("FLUSHALL")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REDIS_URL", raising=False)
    assert main(["store", "migrate", "--to", redis_server.url]) == 2
    asyncio.run(_filled(tmp_path / ".gateway"))
    for added in (7, 0):
        assert main(["store", "migrate", "--to", redis_server.url, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["entries"], told["whole"]) == (added, True)
        assert all(row["here"] == row["there"] for row in told["totals"])
    assert main(["store", "migrate", "--to", redis_server.url]) == 0
    assert "the same" in capsys.readouterr().out
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    assert main(["store", "export", "backup.jsonl"]) == 0
    file = tmp_path / "backup.jsonl"
    assert file.stat().st_mode & 0o077 == 0
    assert "hf_gw_ab" in file.read_text()
    monkeypatch.delenv("REDIS_URL")
    monkeypatch.setenv("GATEWAY_STATE_DIR", str(tmp_path / "anew"))
    assert main(["store", "import", "backup.jsonl"]) == 0
    assert main(["store", "migrate", "--to", "http://x"]) == 2
    file.write_text(file.read_text()[:-9])
    capsys.readouterr()
    assert main(["store", "import", "backup.jsonl"]) == 2
    assert "backup.jsonl:" in capsys.readouterr().err
    assert main(["store", "export", str(tmp_path / "no" / "folder")]) == 1


async def _filled(state_dir: Path) -> None:
    store = await open_store(state_dir=state_dir)
    await fill(store)
    await store.aclose()
