"""Tells of budgets whose thresholds were reached: in the log, the metrics and the audit, and to the team's webhook.

The settlement that reaches a threshold says so to one shipper. It goes into that worker's journal before the store
forgets it, and stays there until a receiver took it, also through the death of the worker: whoever adopts the journal
goes on. A receiver gets it at least once, with an id by which it can drop a double.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from gateway.journal.entries import Crossed, Told
from gateway.journal.writer import JournalFailed, JournalWriter
from gateway.metrics import Metrics
from gateway.records import Crossing
from gateway.store.base import AuditEntry, Store, StoreAway
from gateway.tenants import ORGANISATION_ID, Webhook
from gateway.upstream.notify import NotifyFailed
from gateway.webhook import event_of, signed

TRY_FIRST_S: Final = 1.0
TRY_AT_LEAST_EVERY_S: Final = 300.0
GIVE_UP_S: Final = 12 * 3600.0
"""Since the threshold was reached. A journal keeps what it was told for longer."""
AT_ONCE_MAX: Final = 8
KNOWN_MAX: Final = 10_000

log = logging.getLogger("gateway.budgets")


class Posts(Protocol):
    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int: ...


class BudgetWarnings:
    """One per worker; the shipper's BudgetListener. `pending` counts what no receiver took yet."""

    def __init__(
        self,
        journal: JournalWriter,
        store: Store,
        posts: Posts,
        metrics: Metrics,
        *,
        try_first_s: float = TRY_FIRST_S,
        give_up_s: float = GIVE_UP_S,
    ) -> None:
        self._journal = journal
        self._store = store
        self._posts = posts
        self._metrics = metrics
        self._try_first_s = try_first_s
        self._give_up_s = give_up_s
        self._known: dict[tuple[str, str], None] = {}
        self._telling: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(AT_ONCE_MAX)

    @property
    def pending(self) -> int:
        return len(self._telling)

    def overrun(self, cause: str, nano_usd: int) -> None:
        self._metrics.budget_overrun.labels(cause).inc(nano_usd)

    async def crossed(self, crossings: Sequence[Crossing]) -> None:
        """Takes them on. What cannot be written now the store tells again, with its next settlement."""
        if self._take_on(crossings, begins=True):
            try:
                await self._store.note_crossings(crossings)
            except StoreAway:
                return  # it tells them again, and they are known then

    async def take_over(self, writer: JournalWriter, crossings: Iterable[Crossing]) -> None:
        """What an adopted journal had still to tell is this worker's from now on."""
        taken = list(crossings)
        if not taken or not self._take_on(taken, begins=False):
            return
        try:
            writer.append(*(Told(crossing.team_id, crossing.mark) for crossing in taken))
            await self._store.note_crossings(taken)
        except (JournalFailed, StoreAway):
            return  # somebody may take them over once more; the receiver knows them by their ids

    async def aclose(self) -> None:
        """Stops; what was not told stays in the journal."""
        for task in self._telling:
            task.cancel()
        await asyncio.gather(*self._telling, return_exceptions=True)

    def _take_on(self, crossings: Sequence[Crossing], *, begins: bool) -> bool:
        """Whether they all stand in the journal. `begins`: nobody has heard of them yet."""
        fresh = [crossing for crossing in crossings if (crossing.team_id, crossing.mark) not in self._known]
        try:
            if fresh:
                self._journal.append(*map(Crossed, fresh), opening=True)
        except JournalFailed:
            return False
        for crossing in fresh:
            self._known[crossing.team_id, crossing.mark] = None
            if len(self._known) > KNOWN_MAX:
                del self._known[next(iter(self._known))]
            if begins:
                self._metrics.budget_warnings.inc()
            task = asyncio.get_running_loop().create_task(self._tell(crossing, begins=begins))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)
        return True

    async def _tell(self, crossing: Crossing, *, begins: bool) -> None:
        """Until a receiver took it, or for too long in vain."""
        delay_s, recorded = self._try_first_s, not begins
        while True:
            async with self._room:
                try:
                    if not recorded:
                        await self._record(crossing)
                        recorded = True
                    if await self._try(crossing):
                        break
                except StoreAway:
                    pass  # where to send it is not known now
            if time.time() * 1000 - crossing.at_ms > self._give_up_s * 1000:
                self._metrics.webhooks.labels("given_up").inc()
                log.error("no receiver took the budget warning of %s: %s", crossing.team_id, crossing.mark)
                break
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads the load, hides nothing
            delay_s = min(delay_s * 2, TRY_AT_LEAST_EVERY_S)
        try:
            self._journal.append(Told(crossing.team_id, crossing.mark))
        except JournalFailed:
            log.debug("no room to note that a budget warning was told")

    async def _record(self, crossing: Crossing) -> None:
        """Raises StoreAway."""
        name, _ = await self._receiver(crossing)
        event = event_of(crossing, name)
        subject = f"{name}/{event['key']}" if event["key"] else name or ORGANISATION_ID
        log.warning("%d %% of the budget of %s is used", crossing.percent, subject)
        await self._store.append_audit(
            AuditEntry(crossing.at_ms, "gateway", self._journal.instance, "budget.threshold", subject, after=event)
        )

    async def _try(self, crossing: Crossing) -> bool:
        """Whether there is nothing left to do. Raises StoreAway."""
        name, webhook = await self._receiver(crossing)
        if webhook is None:
            return True
        body, headers = signed(event_of(crossing, name), webhook.secret, int(time.time()))
        try:
            status = await self._posts.post(webhook.url, body, headers)
            fault = None if 200 <= status < 300 else f"status {status}"
        except NotifyFailed as failure:
            fault = str(failure)
        self._metrics.webhooks.labels("failed" if fault else "delivered").inc()
        if fault is not None:
            log.warning("the webhook of %s did not take a budget warning: %s", name or ORGANISATION_ID, fault)
        return fault is None

    async def _receiver(self, crossing: Crossing) -> tuple[str | None, Webhook | None]:
        """The team's name, None for the organisation, and the webhook as it is now. Raises StoreAway."""
        if crossing.team_id == ORGANISATION_ID:
            return None, (await self._store.organisation()).webhook
        team = await self._store.find_team(crossing.team_id)
        if team is None:
            return crossing.team_id, None
        return team.name, None if team.deleted_at_ms is not None else team.webhook
