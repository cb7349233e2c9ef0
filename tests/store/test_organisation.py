"""A soft budget over all teams: added up from what the store has, told once for each threshold, refusing nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.administration import Actor
from gateway.budget_warnings import BudgetWarnings
from gateway.errors import InvalidRequest
from gateway.journal.writer import JournalWriter
from gateway.metrics import Metrics
from gateway.organisation import OrganisationWatch, change, standing
from gateway.store.base import Store
from gateway.tenants import Team
from gateway.upstream.notify import Notifier
from tests.journeys.test_budget_warnings import is_signed
from tests.journeys.webhook_receiver import WebhookReceiver
from tests.store.conftest import OpenStore
from tests.store.samples import NOW_MS, OTHER_TEAM, TEAM, entry, run_of, with_store, with_teams

ACTOR = Actor("cli", "tests")
SECRET = "whsec-of-the-organisation"
DAY_MS = 86_400_000


class Worker:
    def __init__(self, root: Path, store: Store, instance: str) -> None:
        self.journal = JournalWriter.create(root / "journal", instance, sync="off")
        self.metrics = Metrics()
        self.notifier = Notifier()
        self.warnings = BudgetWarnings(self.journal, store, self.notifier, self.metrics, try_first_s=0.01)
        self.watch = OrganisationWatch(instance, store, self.warnings, self.metrics, lambda: "UTC")

    async def told(self) -> None:
        async with asyncio.timeout(10):
            while self.warnings.pending:
                await asyncio.sleep(0.005)

    async def end(self) -> None:
        await self.warnings.aclose()
        await self.notifier.aclose()
        await self.journal.aclose()

    def gauge(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"gateway_organisation_{name}_nano_usd")


async def charge(store: Store, team_id: str, nano_usd: int, *, seq: int = 1, days_ago: int = 0) -> None:
    at_ms = NOW_MS - days_ago * DAY_MS
    await store.settle(run_of([entry(seq, team_id=team_id, charge_nano_usd=nano_usd, at_ms=at_ms)]))


def on(store_at: OpenStore, act: Callable[[Store], Awaitable[None]]) -> None:
    asyncio.run(with_store(store_at, with_teams(act)))


def test_three_workers_tell_each_threshold_once(store_at: OpenStore, tmp_path: Path) -> None:
    async def act(store: Store) -> None:
        with WebhookReceiver() as receiver:
            workers = [Worker(tmp_path, store, f"i_{n}") for n in range(3)]
            await change(store, {"budget": {"usd": "0.000001", "period": "total", "warn_at": [50, 80, 100]},
                                 "webhook": {"url": receiver.url, "secret": SECRET}}, ACTOR)  # fmt: skip
            await charge(store, TEAM, 500)
            await charge(store, OTHER_TEAM, 350)
            for _ in range(2):
                await asyncio.gather(*(worker.watch.look() for worker in workers))
            for worker in workers:
                await worker.told()
                assert (worker.gauge("spent"), worker.gauge("budget")) == (850, 1_000)
                await worker.end()
            events = [posted.event for posted in receiver.posted]
            assert sorted(event["percent"] for event in events) == [50, 80]
            assert {(event["team"], event["key"], event["budget_usd"]) for event in events} == {
                (None, None, "0.000001")
            }
            assert all(is_signed(posted, SECRET) for posted in receiver.posted)
            audit = [act.subject for act in await store.audit() if act.act == "budget.threshold"]
            assert audit == ["organisation"] * 2

    on(store_at, act)


def test_it_counts_all_teams_in_its_window(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        assert await standing(store, await store.organisation(), "UTC") is None
        await charge(store, TEAM, 300, days_ago=1)
        await charge(store, TEAM, 20, seq=2)
        await charge(store, OTHER_TEAM, 5)
        (team,) = [team for team in await store.teams() if team.id == OTHER_TEAM]
        await store.save_team(Team(team.id, team.name, 0, deleted_at_ms=1, revision=team.revision))
        sums = []
        for period in ("day", "total"):
            organisation = await change(store, {"budget": {"usd": "1", "period": period}}, ACTOR)
            assert organisation == await store.organisation()
            found = await standing(store, organisation, "UTC")
            assert found is not None
            sums.append(found.spent_nano_usd)
        assert sums == [25, 325]

    on(store_at, act)


def test_it_is_changed_field_by_field_and_cleared(store_at: OpenStore) -> None:
    async def act(store: Store) -> None:
        await change(store, {"budget": {"usd": "10"}}, ACTOR)
        await change(store, {"webhook": {"url": "https://example.org/x", "secret": SECRET}}, ACTOR)
        changed = await change(store, {"budget": {"period": "day"}}, ACTOR)
        assert changed.budget is not None
        assert (changed.budget.nano_usd, changed.budget.period, changed.budget.enforce) == (10 * 10**9, "day", "soft")
        assert changed.webhook is not None
        cleared = await change(store, {"budget": None, "webhook": None}, ACTOR)
        assert (cleared.budget, cleared.webhook) == (None, None)
        acts = await store.audit()
        assert [act.act for act in acts] == ["organisation.update"] * 4
        assert SECRET not in repr(acts)
        with pytest.raises(InvalidRequest, match=r"budget\.enforce can only be soft"):
            await change(store, {"budget": {"usd": "1", "enforce": "strict"}}, ACTOR)

    on(store_at, act)
