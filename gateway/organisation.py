"""The soft budget over the whole organisation: set by an administrator, looked at once a minute, warned about.

It refuses nothing and is not exact: it is the sum of what the store has of each team, in days and months of the team's
own time zone, so what runs and what waits in journals is not in it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from gateway.administration import Actor, wall_clock_ms
from gateway.budget_warnings import BudgetWarnings
from gateway.metrics import Metrics
from gateway.periods import budget_window, hour_of
from gateway.records import BudgetTaken, Crossing
from gateway.store.base import AuditEntry, Store, StoreAway
from gateway.store.thresholds import thresholds_of
from gateway.tenant_fields import read_organisation
from gateway.tenant_views import organisation_view
from gateway.tenants import ORGANISATION_ID, Budget, Organisation

LOOK_EVERY_S: Final = 60.0

log = logging.getLogger("gateway.budgets")


@dataclass(frozen=True, slots=True)
class Standing:
    """How much of the budget is used in its window now."""

    budget: Budget
    window: str
    resets_at_ms: int | None
    spent_nano_usd: int

    @property
    def percent(self) -> int | None:
        """None of a budget of nothing, which no share can be told of."""
        return 100 * self.spent_nano_usd // self.budget.nano_usd if self.budget.nano_usd else None


async def change(store: Store, given: object, actor: Actor) -> Organisation:
    """Lays `budget` and `webhook` over what there is; `null` takes one away. Raises InvalidRequest and StoreAway."""
    before = await store.organisation()
    organisation = read_organisation(before, given)
    await store.save_organisation(organisation)
    views = organisation_view(before), organisation_view(organisation)
    await store.append_audit(
        AuditEntry(wall_clock_ms(), actor.name, actor.origin, "organisation.update", ORGANISATION_ID, *views)
    )
    return organisation


async def standing(store: Store, organisation: Organisation, timezone: str) -> Standing | None:
    """None without a budget. `timezone` is the mapping table's. Raises StoreAway."""
    budget = organisation.budget
    if budget is None:
        return None
    now = hour_of(await store.now_ms(), timezone)
    window, resets_at_ms = budget_window(budget.period, now.day, timezone)
    return Standing(budget, window, resets_at_ms, await store.spent(window))


class OrganisationWatch:
    """One per worker; of several that see a threshold reached one tells."""

    def __init__(
        self, instance: str, store: Store, warnings: BudgetWarnings, metrics: Metrics, timezone: Callable[[], str]
    ) -> None:
        self._instance = instance
        self._store = store
        self._warnings = warnings
        self._metrics = metrics
        self._timezone = timezone

    async def run(self) -> None:
        """At once and then every minute, until cancelled."""
        while True:
            with suppress(StoreAway):  # the shipper says so
                await self.look()
            await asyncio.sleep(LOOK_EVERY_S * random.uniform(0.8, 1.2))  # noqa: S311 - spreads the load, hides nothing

    async def look(self) -> None:
        """Raises StoreAway."""
        found = await standing(self._store, await self._store.organisation(), self._timezone())
        self._metrics.organisation_budget.set(0 if found is None else found.budget.nano_usd)
        self._metrics.organisation_spent.set(0 if found is None else found.spent_nano_usd)
        if found is None:
            return
        now_ms = await self._store.now_ms()
        budget = found.budget
        taken = BudgetTaken(ORGANISATION_ID, found.window, budget.nano_usd, strict=False, warn_at=budget.warn_at)
        for percent, reached_at, _ in thresholds_of(taken):
            crossing = Crossing(
                ORGANISATION_ID, taken.scope, found.window, percent, budget.nano_usd, found.spent_nano_usd, now_ms
            )
            if found.spent_nano_usd >= reached_at and await self._store.begin_crossing(self._instance, crossing):
                await self._warnings.crossed([crossing])
