"""Entries that may have been counted before their watermark was lost wait for a person, and are then shipped once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.adoption import Adoption
from gateway.cli.main import main
from gateway.journal.reader import SHIPPED_NAME
from gateway.journal.writer import JournalWriter
from gateway.journals import JournalFacts, apply, look_at
from gateway.store.base import STALE_AFTER_MS, Store
from gateway.store.open import open_store
from gateway.store.shipper import Shipper
from tests.store.conftest import OpenStore
from tests.store.redis_server import RedisServer
from tests.store.samples import NOW_MS, OTHER_TEAM, TEAM, with_store, with_teams
from tests.store.test_shipping import journal, write

OLD_MS = NOW_MS - STALE_AFTER_MS - 86_400_000


async def only(root: Path, store: Store, instance: str) -> JournalFacts:
    found, away = await look_at(root / "journal", store)
    assert away is None
    return next(facts for facts in found if facts.instance == instance)


async def requests(store: Store, *team_ids: str) -> int:
    """How many requests the ledger has counted, of these teams or of all."""
    cells = await store.usage(from_ms=0, to_ms=NOW_MS + 1, team_ids=team_ids or (TEAM, OTHER_TEAM))
    return sum(cell.counters.get("requests", 0) for cell in cells)


class Worker:
    """What takes over a dead worker's journal, and sets aside what it must."""

    def __init__(self, root: Path, store: Store) -> None:
        self.own = journal(root, "i_own")
        self.shipper = Shipper(store, batch_s=0.001)
        self.adoption = Adoption(root / "journal", self.own, self.shipper, store)

    async def until_parked(self, lanes: int) -> None:
        while self.shipper.parked_lanes != lanes:
            await self.adoption.adopt()
            await asyncio.sleep(0.01)


def beside_a_worker(store_at: OpenStore, root: Path, act: Callable[[Store, Worker], Awaitable[None]]) -> None:
    async def acted(store: Store) -> None:
        worker = Worker(root, store)
        try:
            async with asyncio.timeout(20):
                await act(store, worker)
        finally:
            await worker.adoption.aclose()
            await worker.shipper.aclose()
            worker.own.release()

    asyncio.run(with_store(store_at, with_teams(acted)))


def dead_journal(root: Path, *, noted: int = 0) -> JournalWriter:
    """Ten old entries of one team, of which `noted` are said to be acknowledged, and three young ones of another."""
    writer = journal(root, "i_dead")
    write(writer, 10, at_ms=OLD_MS)
    if noted:
        writer.note_shipped(TEAM, noted)
    write(writer, 3, team=OTHER_TEAM)
    writer.release()
    return writer


def test_what_was_set_aside_is_applied_once_while_a_worker_runs(store_at: OpenStore, tmp_path: Path) -> None:
    dead = dead_journal(tmp_path)

    async def act(store: Store, worker: Worker) -> None:
        assert (await only(tmp_path, store, "i_dead")).state == "orphan"
        await worker.until_parked(1)
        facts = await only(tmp_path, store, "i_dead")
        assert (facts.state, facts.adopter) == ("adopted", "i_own")
        assert (facts.entries, facts.set_aside) == (13, 10)
        assert (await only(tmp_path, store, "i_own")).state == "live"
        both = await asyncio.gather(*(apply(tmp_path / "journal", store, facts, from_start=False) for _ in range(2)))
        assert sum(one.shipped for applied in both for one in applied) == 10
        assert await apply(tmp_path / "journal", store, await only(tmp_path, store, "i_dead"), from_start=False) == []
        await worker.until_parked(0)
        assert await worker.shipper.drain(10)
        assert await requests(store) == 13
        await worker.adoption.adopt()
        assert (dead.folder / SHIPPED_NAME).exists()

    beside_a_worker(store_at, tmp_path, act)


@pytest.mark.parametrize(("from_start", "counted"), [(False, 6), (True, 10)])
def test_what_was_noted_as_acknowledged_is_counted_again_only_where_that_is_asked_for(
    store_at: OpenStore, tmp_path: Path, from_start: bool, counted: int
) -> None:
    dead_journal(tmp_path, noted=4)

    async def act(store: Store, worker: Worker) -> None:
        await worker.until_parked(1)
        facts = await only(tmp_path, store, "i_dead")
        (applied,) = await apply(tmp_path / "journal", store, facts, from_start=from_start)
        assert (applied.skipped, applied.shipped) == (10 - counted, counted)
        assert await requests(store, TEAM) == counted
        assert await store.watermarks("i_dead", [TEAM]) == {TEAM: 10}

    beside_a_worker(store_at, tmp_path, act)


def test_a_live_workers_lane_goes_on_by_itself_once_a_person_has_decided(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    redis_server.command("FLUSHALL")

    async def act(store: Store, worker: Worker) -> None:
        worker.shipper.add(worker.own)
        write(worker.own, 3, at_ms=OLD_MS)
        await worker.until_parked(1)
        await apply(tmp_path / "journal", store, await only(tmp_path, store, "i_own"), from_start=False)
        await worker.until_parked(0)
        write(worker.own, 1)
        assert await worker.shipper.drain(10)
        assert await requests(store) == 4

    beside_a_worker(lambda: open_store(state_dir=tmp_path, redis_url=redis_server.url), tmp_path, act)


def test_the_list_tells_what_journals_noted_while_the_store_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dead_journal(tmp_path, noted=4)
    monkeypatch.setenv("GATEWAY_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    assert main(["journal", "list", "--json"]) == 0
    told = capsys.readouterr()
    (found,) = json.loads(told.out)["data"]
    assert (found["unshipped_entries"], found["set_aside_entries"]) == (9, 0)
    assert "the store cannot be asked" in told.err
    assert main(["journal", "apply"]) == 1
    assert "the store cannot be asked" in capsys.readouterr().err


def test_a_journal_that_is_not_there_is_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dead_journal(tmp_path)
    monkeypatch.setenv("GATEWAY_STATE_DIR", str(tmp_path))
    monkeypatch.delenv("REDIS_URL", raising=False)
    assert main(["journal", "apply", "i_deaf"]) == 2
    assert "there is no journal 'i_deaf'" in (said := capsys.readouterr().err)
    assert "i_dead" in said
    assert main(["journal", "apply", "../journal"]) == 2
    assert main(["journal", "apply", "i_dead"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["i_dead", TEAM, "0", "10"]
    assert main(["journal", "apply"]) == 0
    assert capsys.readouterr().err == "nothing is set aside\n"
    assert main(["journal", "list"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["JOURNAL", "STATE", "ENTRIES"]
    assert row.split()[:5] == ["i_dead", "orphan", "13", "3", "0"]
