"""A Redis that was restored from an older copy: what it acknowledged and lost comes back, whoever shipped it and
whether or not anything follows."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway.adoption import Adoption
from gateway.journal.reader import SHIPPED_NAME
from gateway.journal.shipped import shipped_sequences
from gateway.records import Admission, Refusal
from gateway.rollbacks import Rollbacks
from gateway.store.base import Store, StoreAway
from gateway.store.open import open_store
from gateway.store.redis.names import TeamNames
from gateway.store.shipper import Shipper
from tests.store.redis_server import RedisServer
from tests.store.samples import OTHER_TEAM, TEAM, admit, budget, entry, run_of, with_store, with_teams
from tests.store.test_ledger import assert_equals_fold
from tests.store.test_shipping import fold_of, journal, write

PATIENCE_S = 10.0


class Restorable(RedisServer):
    """A Redis of which a copy can be kept and put back."""

    def keep(self) -> None:
        shutil.copytree(self.folder / "appendonlydir", self.folder / "kept")

    def restore(self) -> None:
        self.kill()
        shutil.rmtree(self.folder / "appendonlydir")
        shutil.copytree(self.folder / "kept", self.folder / "appendonlydir")
        self.start()


class Worker:
    """What a worker of the gateway has to do with journals."""

    def __init__(self, root: Path, store: Store, instance: str = "i_own") -> None:
        self.own = journal(root, instance)
        self.shipper = Shipper(store, batch_s=0.001)
        self.shipper.add(self.own)
        self.adoption = Adoption(root / "journal", self.own, self.shipper, store)
        self.held_again = 0
        self.paused: list[bool] = []
        self.rollbacks = Rollbacks(
            root / "journal",
            self.adoption,
            self.shipper,
            store,
            hold_again=self._hold_again,
            pause=lambda: self.paused.append(True),
            resume=lambda: self.paused.append(False),
        )
        self.comparing = asyncio.ensure_future(self.rollbacks.run())

    async def _hold_again(self) -> None:
        self.held_again += 1

    async def end(self) -> None:
        self.comparing.cancel()
        await asyncio.wait([self.comparing])
        await self.adoption.aclose()
        await self.shipper.aclose()
        self.own.release()


def restored(act: Callable[[Store, Restorable, Worker], Awaitable[None]], root: Path) -> None:
    with Restorable("--appendfsync", "always") as server:

        async def acted(store: Store) -> None:
            worker = Worker(root, store)
            try:
                async with asyncio.timeout(3 * PATIENCE_S):
                    await act(store, server, worker)
            finally:
                await worker.end()

        asyncio.run(with_store(lambda: open_store(state_dir=root, redis_url=server.url), with_teams(acted)))


async def until_back(store: Store) -> None:
    while True:
        try:
            await store.ping()
            return
        except StoreAway:
            await asyncio.sleep(0.05)


async def until_shipped(worker: Worker, store: Store, *seqs: tuple[str, str, int]) -> None:
    """Until the store has these sequences: instance, team, sequence."""
    for instance, team, seq in seqs:
        while (await store.watermarks(instance, [team])).get(team) != seq:
            await worker.adoption.adopt()
            await asyncio.sleep(0.01)


def test_teams_that_send_nothing_more_get_back_what_was_lost(tmp_path: Path) -> None:
    async def act(store: Store, server: Restorable, worker: Worker) -> None:
        write(worker.own, 5)
        assert await worker.shipper.drain(PATIENCE_S)
        server.keep()
        write(worker.own, 5)
        write(worker.own, 3, team=OTHER_TEAM)
        assert await worker.shipper.drain(PATIENCE_S)
        server.restore()
        assert server.command("GET", TeamNames("gw", TEAM).watermark("i_own")) == "5"
        await until_back(store)
        await until_shipped(worker, store, ("i_own", TEAM, 10), ("i_own", OTHER_TEAM, 3))
        await assert_equals_fold(store, fold_of(worker.own))

    restored(act, tmp_path)


def test_a_journal_that_was_let_go_of_is_shipped_again(tmp_path: Path) -> None:
    async def act(store: Store, server: Restorable, worker: Worker) -> None:
        dead = journal(tmp_path, "i_dead")
        server.keep()
        write(dead, 7)
        write(dead, 2, team=OTHER_TEAM)
        dead.release()
        await until_shipped(worker, store, ("i_dead", TEAM, 7), ("i_dead", OTHER_TEAM, 2))
        mark = dead.folder / SHIPPED_NAME
        while not mark.exists():
            await worker.adoption.adopt()
        assert shipped_sequences(dead.folder) == {TEAM: 7, OTHER_TEAM: 2}
        server.restore()
        await until_back(store)
        await until_shipped(worker, store, ("i_dead", TEAM, 7), ("i_dead", OTHER_TEAM, 2))
        await assert_equals_fold(store, fold_of(dead))
        while not mark.exists():
            await worker.adoption.adopt()
        assert worker.rollbacks.found == 1

    restored(act, tmp_path)


def test_a_mark_that_was_never_finished_is_read_from_the_journal(tmp_path: Path) -> None:
    writer = journal(tmp_path)
    write(writer, 3)
    writer.release()
    (writer.folder / SHIPPED_NAME).touch()
    assert shipped_sequences(writer.folder) == {TEAM: 3}


def test_an_adopter_believes_the_store_and_not_the_dead_workers_note(tmp_path: Path) -> None:
    async def act(store: Store, server: Restorable, worker: Worker) -> None:
        server.keep()
        dead = journal(tmp_path, "i_dead")
        shipper = Shipper(store, batch_s=0.001)
        shipper.add(dead)
        write(dead, 4)
        assert await shipper.drain(PATIENCE_S)
        assert dead.shipped == {TEAM: 4}
        await shipper.aclose()
        dead.release()
        server.restore()
        await until_back(store)
        await until_shipped(worker, store, ("i_dead", TEAM, 4))
        await assert_equals_fold(store, fold_of(dead))

    restored(act, tmp_path)


def test_admissions_wait_until_running_requests_hold_again(tmp_path: Path) -> None:
    async def act(store: Store, server: Restorable, worker: Worker) -> None:
        while not worker.held_again:
            await asyncio.sleep(0.01)
        assert worker.paused == [False]
        server.kill()
        server.start()
        await until_back(store)
        while worker.held_again < 2:
            await asyncio.sleep(0.01)
        assert worker.paused == [False, True, False]

    restored(act, tmp_path)


def test_what_is_held_again_counts_whether_or_not_there_is_room_and_ends_with_its_request(tmp_path: Path) -> None:
    async def act(store: Store, server: Restorable, worker: Worker) -> None:
        server.keep()
        running = admit([budget(1000)], hold_nano_usd=1000)
        assert isinstance((await store.admit([running]))[0], Admission)
        server.restore()
        await until_back(store)
        late = admit([budget(1000)], hold_nano_usd=600)
        assert isinstance((await store.admit([late]))[0], Admission)
        await store.hold_again([running])
        await store.hold_again([running])
        refusal = (await store.admit([admit([budget(1000)], hold_nano_usd=1)]))[0]
        assert isinstance(refusal, Refusal)
        assert refusal.held_nano_usd == 1600
        await store.settle(run_of([entry(1, inference_id=running.inference_id, charge_nano_usd=0)]))
        fits = (await store.admit([admit([budget(1000)], hold_nano_usd=400)]))[0]
        assert isinstance(fits, Admission)

    restored(act, tmp_path)
