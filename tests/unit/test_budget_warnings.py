"""What becomes of a warning that nobody takes, or that cannot be written down."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from gateway.budget_warnings import BudgetWarnings
from gateway.journal.reader import read_state
from gateway.journal.writer import JournalFailed, JournalWriter
from gateway.metrics import Metrics
from gateway.records import BudgetTaken, Crossing
from gateway.store.base import Store
from gateway.store.open import open_store
from gateway.tenants import Team, Webhook
from gateway.upstream.notify import Notifier, NotifyFailed
from tests.store.samples import TEAM, entry, run_of

SECRET = "a-secret-of-the-receiver"
BUDGET = BudgetTaken("team", "total", 1_000, strict=False, warn_at=(50,))


class Refusing:
    """Takes nothing, `tries` times; then everything."""

    def __init__(self, tries: int) -> None:
        self.left = tries
        self.posted = 0

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        self.posted += 1
        self.left -= 1
        if self.left >= 0:
            raise NotifyFailed("ConnectError")
        return 200


class House:
    def __init__(self, root: Path, store: Store, posts: Refusing, give_up_s: float) -> None:
        self.store = store
        self.journal = JournalWriter.create(root / "journal", "i_own", sync="off")
        self.metrics = Metrics()
        self.warnings = BudgetWarnings(self.journal, store, posts, self.metrics, try_first_s=0.001, give_up_s=give_up_s)

    async def crossing(self) -> Crossing:
        settled = await self.store.settle(run_of([entry(1, charge_nano_usd=600, budgets=(BUDGET,))], instance="i_own"))
        (crossing,) = settled.crossed
        return crossing

    async def all_told(self) -> None:
        async with asyncio.timeout(10):
            while self.warnings.pending:
                await asyncio.sleep(0.002)

    def count(self, outcome: str) -> float:
        return self.metrics.registry.get_sample_value("gateway_webhooks_total", {"outcome": outcome}) or 0


def in_house(
    root: Path, act: Callable[[House], Awaitable[None]], *, tries: int = 0, give_up_s: float = 60, webhook: bool = True
) -> None:
    async def acted() -> None:
        store = await open_store(state_dir=root)
        receiver = Webhook("http://127.0.0.1:1/path-that-is-a-secret", SECRET) if webhook else None
        await store.create_team(Team(TEAM, "search", 0, webhook=receiver))
        house = House(root, store, Refusing(tries), give_up_s)
        try:
            await act(house)
        finally:
            await house.warnings.aclose()
            await house.journal.aclose()
            await store.aclose()

    asyncio.run(acted())


def untold(house: House) -> int:
    return len(read_state(house.journal.folder).crossed)


def test_it_is_tried_until_somebody_takes_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def act(house: House) -> None:
        with caplog.at_level(logging.DEBUG, "gateway"):
            await house.warnings.crossed([await house.crossing()])
            assert untold(house) == 1
            await house.all_told()
        assert (house.count("failed"), house.count("delivered"), house.count("given_up")) == (3, 1, 0)
        assert untold(house) == 0
        assert await house.store.crossings("i_own", [TEAM]) == []

    in_house(tmp_path, act, tries=3)
    assert "ConnectError" in caplog.text
    assert SECRET not in caplog.text
    assert "path-that-is-a-secret" not in caplog.text


def test_it_is_given_up_after_its_time(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        await house.warnings.crossed([await house.crossing()])
        await house.all_told()
        assert (house.count("failed"), house.count("given_up")) == (1, 1)
        assert untold(house) == 0

    in_house(tmp_path, act, tries=1_000, give_up_s=-1)


def test_a_team_without_a_webhook_is_in_the_audit(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        await house.warnings.crossed([await house.crossing()])
        await house.all_told()
        assert (house.count("delivered"), house.count("failed")) == (0, 0)
        (act,) = await house.store.audit()
        assert (act.act, act.actor, act.subject, act.origin) == ("budget.threshold", "gateway", "search", "i_own")
        assert untold(house) == 0

    in_house(tmp_path, act, webhook=False)


def test_the_same_told_twice_is_sent_once(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        crossing = await house.crossing()
        await asyncio.gather(*(house.warnings.crossed([crossing]) for _ in range(3)))
        await house.all_told()
        await house.warnings.crossed([crossing])
        await house.all_told()
        assert house.count("delivered") == 1

    in_house(tmp_path, act)


def test_what_the_journal_cannot_take_stays_with_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(house: House) -> None:
        def full(*entries: object, opening: bool = False) -> None:
            raise JournalFailed("the journal's disk is full")

        crossing = await house.crossing()
        with monkeypatch.context() as patched:
            patched.setattr(house.journal, "append", full)
            await house.warnings.crossed([crossing])
            assert house.warnings.pending == 0
        assert await house.store.crossings("i_own", [TEAM]) == [crossing]

    in_house(tmp_path, act)


def test_a_receiver_that_never_answers_is_hung_up_on() -> None:
    async def act() -> None:
        hung_up = asyncio.Event()

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.read(1024):
                pass
            hung_up.set()
            writer.close()

        server = await asyncio.start_server(listen, "127.0.0.1", 0)
        notifier = Notifier(total_s=0.3)
        port = server.sockets[0].getsockname()[1]
        began_s = time.monotonic()
        with pytest.raises(NotifyFailed, match=r"^TimeoutError$"):
            await notifier.post(f"http://127.0.0.1:{port}/", b"{}", {})
        assert time.monotonic() - began_s < 3
        async with asyncio.timeout(5):
            await hung_up.wait()
        await notifier.aclose()
        server.close()

    asyncio.run(act())
