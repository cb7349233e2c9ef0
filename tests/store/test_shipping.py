"""From journals to the store: in order, once, through outages, rollbacks, holes and dead workers."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.adoption import Adoption
from gateway.journal.reader import SHIPPED_NAME, closed_entries, segments
from gateway.journal.writer import JournalWriter
from gateway.records import Run, Settled
from gateway.store import shipper as shipping
from gateway.store.base import Store, StoreAway, StoreUnfit
from gateway.store.fold import Fold
from gateway.store.open import open_store
from gateway.store.redis.names import TeamNames
from gateway.store.shipper import Shipper
from gateway.tenants import Team
from tests.store.conftest import OpenStore
from tests.store.redis_server import RedisServer
from tests.store.samples import NOW_MS, OTHER_TEAM, TEAM, entry, with_store, with_teams
from tests.store.test_ledger import assert_equals_fold

DAY_MS = 86_400_000


def journal(root: Path, instance: str = "i_one") -> JournalWriter:
    return JournalWriter.create(root / "journal", instance, sync="off")


def write(writer: JournalWriter, count: int, *, team: str = TEAM, at_ms: int = NOW_MS) -> None:
    for _ in range(count):
        seq, prev = writer.turn(team)
        writer.append_closed(entry(seq, prev=prev, team_id=team, at_ms=at_ms))


def fold_of(*writers: JournalWriter) -> Fold:
    fold = Fold()
    for writer in writers:
        for one in closed_entries(segments(writer.folder)):
            fold.add(writer.instance, one)
    return fold


def ship(store_at: OpenStore, act: Callable[[Store, Shipper], Awaitable[None]]) -> None:
    async def acted(store: Store) -> None:
        shipper = Shipper(store, batch_s=0.001)
        try:
            await act(store, shipper)
        finally:
            await shipper.aclose()

    asyncio.run(with_store(store_at, with_teams(acted)))


def test_everything_written_arrives_once(store_at: OpenStore, tmp_path: Path) -> None:
    async def act(store: Store, shipper: Shipper) -> None:
        writer = journal(tmp_path)
        shipper.add(writer)
        for day in (1, 0):
            write(writer, 450, at_ms=NOW_MS - day * DAY_MS)
            write(writer, 30, team=OTHER_TEAM, at_ms=NOW_MS - day * DAY_MS)
        assert await shipper.drain(10)
        assert shipper.pending_entries == 0
        assert writer.shipped == writer.last
        await assert_equals_fold(store, fold_of(writer))
        writer.release()

    ship(store_at, act)


def test_what_memory_does_not_hold_is_read_from_the_journal(
    store_at: OpenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "QUEUED_ENTRIES_MAX", 10)
    monkeypatch.setattr(shipping, "RELOAD_ENTRIES_MAX", 25)

    async def act(store: Store, shipper: Shipper) -> None:
        writer = journal(tmp_path)
        shipper.add(writer)
        for _ in range(20):
            write(writer, 7)
            write(writer, 5, team=OTHER_TEAM)
            await asyncio.sleep(0)
        assert await shipper.drain(10)
        await assert_equals_fold(store, fold_of(writer))
        writer.release()

    ship(store_at, act)


def test_a_store_that_went_back_is_followed(redis_server: RedisServer, tmp_path: Path) -> None:
    redis_server.command("FLUSHALL")

    async def act(store: Store, shipper: Shipper) -> None:
        writer = journal(tmp_path)
        shipper.add(writer)
        write(writer, 50)
        assert await shipper.drain(10)
        redis_server.command("FLUSHALL")
        await store.create_team(Team(TEAM, "search", 0))
        write(writer, 1)
        assert await shipper.drain(10)
        await assert_equals_fold(store, fold_of(writer))
        writer.release()

    ship(lambda: open_store(state_dir=tmp_path, redis_url=redis_server.url), act)


def test_a_hole_in_the_journal_is_told_and_passed(store_at: OpenStore, tmp_path: Path) -> None:
    async def act(store: Store, shipper: Shipper) -> None:
        writer = journal(tmp_path)
        write(writer, 3)
        seq, prev = writer.turn(TEAM)
        writer.append_closed(entry(seq + 4, prev=prev + 4))
        shipper.add(writer)
        assert await shipper.drain(10)
        assert shipper.lost_entries == 4
        cells = await store.usage(from_ms=0, to_ms=NOW_MS + DAY_MS, team_ids=[TEAM])
        assert sum(cell.counters.get("requests", 0) for cell in cells) == 4
        assert [cell.counters["lost_entries"] for cell in cells if "lost_entries" in cell.counters] == [4]
        writer.release()

    ship(store_at, act)


def test_what_is_missing_at_the_end_waits_for_what_comes_next_and_is_told_then(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    redis_server.command("FLUSHALL")

    async def act(store: Store, shipper: Shipper) -> None:
        writer = journal(tmp_path)
        shipper.add(writer)
        write(writer, 3)
        assert await shipper.drain(10)
        writer._next_segment()
        (sealed,) = writer.acknowledged()
        writer.moved(sealed, tmp_path / "no-longer-in-the-archive.gz")
        sealed.path.unlink()
        redis_server.command("DEL", TeamNames("gw", TEAM).watermark("i_one"))
        await shipper.compare(writer)
        await shipper.drain(10)
        assert shipper.parked_lanes == 1
        write(writer, 1)
        assert await shipper.drain(10)
        assert (shipper.parked_lanes, shipper.lost_entries) == (0, 3)
        assert await store.watermarks("i_one", [TEAM]) == {TEAM: 4}
        writer.release()

    ship(lambda: open_store(state_dir=tmp_path, redis_url=redis_server.url), act)


def test_lost_replies_double_nothing(store_at: OpenStore, tmp_path: Path) -> None:
    class Lossy:
        """A store half of whose replies never arrive."""

        def __init__(self, store: Store) -> None:
            self.store, self.count = store, 0

        async def settle(self, run: Run) -> Settled:
            settled = await self.store.settle(run)
            self.count += 1
            if self.count % 2:
                raise StoreAway("the reply was lost")
            return settled

    async def act(store: Store, unused: Shipper) -> None:
        writer = journal(tmp_path)
        shipper = Shipper(Lossy(store), batch_s=0.001)  # type: ignore[arg-type]
        shipper.add(writer)
        for _ in range(5):
            write(writer, 60)
            await asyncio.sleep(0.01)
        assert await shipper.drain(20)
        await assert_equals_fold(store, fold_of(writer))
        await shipper.aclose()
        writer.release()

    ship(store_at, act)


def test_usage_waits_in_the_journal_while_redis_is_dead(tmp_path: Path) -> None:
    with RedisServer() as server:

        async def act(store: Store, shipper: Shipper) -> None:
            writer = journal(tmp_path)
            shipper.add(writer)
            write(writer, 10)
            assert await shipper.drain(10)
            server.kill()
            write(writer, 10)
            assert not await shipper.drain(0.3)
            assert shipper.away
            assert shipper.pending_entries == 10
            server.start()
            assert await shipper.drain(20)
            await assert_equals_fold(store, fold_of(writer))
            writer.release()

        ship(lambda: open_store(state_dir=tmp_path, redis_url=server.url), act)


def test_a_frozen_redis_costs_one_time_out_and_then_nothing(tmp_path: Path) -> None:
    with RedisServer(persist=False) as server:

        async def act(store: Store, unused: Shipper) -> None:
            loop = asyncio.get_running_loop()
            server.freeze()
            began_s = loop.time()
            with pytest.raises(StoreAway):
                await store.find_key("d" * 64)
            assert loop.time() - began_s < 0.6
            began_s = loop.time()
            for _ in range(10):
                with pytest.raises(StoreAway):
                    await store.find_key("d" * 64)
            assert loop.time() - began_s < 0.05
            server.thaw()
            async with asyncio.timeout(5):
                while True:
                    try:
                        await store.ping()
                        break
                    except StoreAway:
                        await asyncio.sleep(0.05)

        ship(lambda: open_store(state_dir=tmp_path, redis_url=server.url), act)


def test_a_redis_that_evicts_is_refused(tmp_path: Path) -> None:
    with (
        RedisServer("--maxmemory-policy", "allkeys-lru", persist=False) as server,
        pytest.raises(StoreUnfit, match="noeviction"),
    ):
        asyncio.run(open_store(state_dir=tmp_path, redis_url=server.url))


def test_a_redis_out_of_memory_changes_nothing(tmp_path: Path) -> None:
    with RedisServer(persist=False) as server:

        async def act(store: Store, shipper: Shipper) -> None:
            writer = journal(tmp_path)
            shipper.add(writer)
            server.command("CONFIG", "SET", "maxmemory", "1")
            write(writer, 5)
            assert not await shipper.drain(0.3)
            assert shipper.away == "Redis refused: OutOfMemoryError"
            assert server.command("EXISTS", TeamNames("gw", TEAM).watermark("i_one")) == "0"
            server.command("CONFIG", "SET", "maxmemory", "0")
            assert await shipper.drain(10)
            await assert_equals_fold(store, fold_of(writer))
            writer.release()

        ship(lambda: open_store(state_dir=tmp_path, redis_url=server.url), act)


WORKER = """
import asyncio, json, sys, os
from pathlib import Path
from gateway.journal.writer import JournalWriter
from gateway.metering import Meter
from gateway.store.open import open_store
from gateway.store.shipper import Shipper
from tests.unit.offers import offer, opening
from providers.wire import Usage

async def main():
    root = Path(sys.argv[1])
    store = await open_store(state_dir=root)
    journal = JournalWriter.create(root / "journal", "i_dead")
    shipper = Shipper(store, batch_s=3600.0)
    shipper.add(journal)
    meter = Meter(journal=journal, store=store, shipper=shipper)
    told = {}
    for stage in ("intent", "sent", "refused", "head", "part", "use", "fallback"):
        request = opening()
        bill = await meter.open(request)
        told[stage] = request.inference_id
        if stage == "intent":
            bill._append_opening(bill._intent)
            continue
        bill.sent(offer("cerebras" if stage == "fallback" else "groq"))
        if stage == "refused":
            bill.head(500)
        if stage in ("head", "part", "use"):
            bill.head(200, "up")
        if stage == "part":
            bill.part(2048)
        if stage == "use":
            bill.won(usage=Usage(100, 20), text_chars=80, upstream_id="up", reported_model=None, duration_ms=1,
                     first_content_ms=None)
        if stage == "fallback":
            from providers.wire import FailureKind, ProviderFailure
            bill.failed(ProviderFailure(FailureKind.RATE_LIMITED, "no", status=429), answered_200=False,
                        text_chars=0, duration_ms=1)
            bill.sent(offer())
    print(json.dumps(told), flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


def killed_worker(root: Path) -> dict[str, str]:
    """A worker that was killed with requests at every stage: their ids by stage."""
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(root)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert worker.stdout is not None
    told: dict[str, str] = json.loads(worker.stdout.readline())
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    worker.stdout.close()
    return told


def test_a_killed_workers_requests_are_closed_by_what_its_journal_saw(store_at: OpenStore, tmp_path: Path) -> None:
    told = killed_worker(tmp_path)

    async def act(store: Store, shipper: Shipper) -> None:
        own = journal(tmp_path, "i_next")
        shipper.add(own)
        adoption = Adoption(tmp_path / "journal", own, shipper, store)
        assert await adoption.adopt() == 1
        assert await shipper.drain(10)
        found = {stage: await store.story(inference_id) for stage, inference_id in told.items()}
        last = {stage: entries[-1] for stage, entries in found.items()}
        assert all(one.last for one in last.values())
        assert {stage: (one.kind, one.unknown, one.estimated) for stage, one in last.items()} == {
            "intent": ("void", False, False),
            "sent": ("use", True, False),
            "refused": ("void", False, False),
            "head": ("use", True, False),
            "part": ("use", False, True),
            "use": ("use", False, False),
            "fallback": ("use", True, False),
        }
        # A status is no answer: until content was sent, the caller owes nothing.
        assert (last["head"].charge_nano_usd, last["head"].status) == (0, 200)
        assert last["part"].completion_tokens == 512
        assert (last["sent"].charge_nano_usd, last["intent"].number) == (0, 0)
        assert [(one.number, one.kind, one.last) for one in found["fallback"]] == [(1, "void", False), (2, "use", True)]
        assert await adoption.adopt() == 0
        assert (tmp_path / "journal" / "i_dead" / SHIPPED_NAME).exists()
        await adoption.aclose()
        own.release()

    ship(store_at, act)


def test_two_adopters_take_a_journal_once_and_a_second_goes_on_where_the_first_died(tmp_path: Path) -> None:
    told = killed_worker(tmp_path)

    async def act(store: Store, shipper: Shipper) -> None:
        owns = [journal(tmp_path, f"i_{n}") for n in range(2)]
        adoptions = [Adoption(tmp_path / "journal", own, shipper, store) for own in owns]
        assert sorted(await asyncio.gather(*(adoption.adopt() for adoption in adoptions))) == [0, 1]
        # The first adopter lets go before anything is shipped; nothing is closed a second time.
        for adoption in adoptions:
            await adoption.aclose()
        for own in owns:
            own.release()
        last = journal(tmp_path, "i_last")
        adoption = Adoption(tmp_path / "journal", last, shipper, store)
        await adoption.adopt()
        assert await shipper.drain(10)
        entries = await store.entries(from_ms=0, to_ms=NOW_MS + DAY_MS)
        assert len([one for one in entries if one.last]) == len(told)
        await adoption.aclose()
        last.release()

    async def slow(store: Store) -> None:
        shipper = Shipper(store, batch_s=3600.0)
        await act(store, shipper)
        await shipper.aclose()

    asyncio.run(with_store(lambda: open_store(state_dir=tmp_path), with_teams(slow)))
