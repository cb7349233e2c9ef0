"""Ships closed entries from journals to the store: per team in order, behind the store's watermark.

One lane per journal and team, so at most one run of them is on the wire. The store says where it is: a lane that is
ahead or behind goes there, re-reading the journal where memory no longer has what is missing. What fits into no
memory, or cannot be sent now, waits in the journal.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from gateway.journal.reader import Found, closed_after
from gateway.journal.writer import JournalWriter
from gateway.records import ClosedEntry, Crossing, Run, Settled
from gateway.store.base import Ledger, StoreAway
from gateway.store.runs import next_run, overrun_cause

BATCH_S: Final = 0.05
LANES_FLYING_MAX: Final = 64
QUEUED_ENTRIES_MAX: Final = 20_000
"""In memory, over all lanes; what comes on top is read from the journal again."""
RELOAD_ENTRIES_MAX: Final = 2_000
BACK_OFF_MIN_S: Final = 0.1
BACK_OFF_MAX_S: Final = 5.0

log = logging.getLogger("gateway.shipper")


class BudgetListener(Protocol):
    """Hears what settlements say of budgets."""

    async def crossed(self, crossings: Sequence[Crossing]) -> None: ...
    def overrun(self, cause: str, nano_usd: int) -> None: ...


@dataclass(eq=False, slots=True)
class Lane:
    """The closed entries of one team in one journal, on their way."""

    writer: JournalWriter
    team_id: str
    believed: int
    """The watermark that we take the store to have."""
    queue: deque[ClosedEntry] = field(default_factory=deque)
    spilled: bool = False
    """The journal holds more than the queue."""
    searched: bool = False
    """The queue was just read from the journal: what is missing in it is missing there."""
    flying: bool = False
    parked: str = ""
    """Why a person has to decide: `stale`, the store lost the watermark and the entries are old; `lacking`, the journal
    does not have what the store lost."""
    gone: bool = False
    """Its journal was let go of."""
    waiting: list[tuple[int, asyncio.Future[bool]]] = field(default_factory=list)

    @property
    def is_shipped(self) -> bool:
        return self.believed >= self.writer.last.get(self.team_id, 0)


class Shipper:
    """One per worker. `add` gives it a journal; it then hears of each closed entry by itself."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        batch_s: float = BATCH_S,
        budget_listener: BudgetListener | None = None,
        on_applied: Callable[[Run], None] | None = None,
    ) -> None:
        """`on_applied` hears of each run that the store took over."""
        self.lost_entries = 0
        self.away: str | None = None
        """Why the store could not be asked, None while it can."""
        self._ledger = ledger
        self._batch_s = batch_s
        self._budget_listener = budget_listener
        self._on_applied = on_applied
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._queued = 0
        self._due: set[Lane] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(LANES_FLYING_MAX)
        self._back_off_s = 0.0
        self._reading = asyncio.Lock()
        self._stopping = False

    def add(self, writer: JournalWriter) -> None:
        """Takes on a journal: what it has that was not acknowledged, and all that will be written to it."""
        writer.listener = self._heard
        for team_id, last in writer.last.items():
            believed = writer.shipped.get(team_id, 0)
            if last > believed:
                lane = self._lane(writer, team_id, believed)
                lane.spilled = True
                self._make_due(lane)

    async def compare(self, writer: JournalWriter) -> None:
        """Asks where the store is for every team of a journal, and goes back there. Raises StoreAway."""
        marks = await self._ledger.watermarks(writer.instance, list(writer.last))
        for team_id, last in writer.last.items():
            mark = marks.get(team_id, 0)
            lane = self._lanes.get((writer.instance, team_id))
            if mark < (writer.shipped.get(team_id, 0) if lane is None else lane.believed):
                lane = self._lane(writer, team_id, last)
                self._go_back(lane, mark)
                self._make_due(lane)

    async def retry_parked(self) -> None:
        """Lets those go on of which the store has a watermark again, since a person has decided. Raises StoreAway."""
        for lane in [lane for lane in self._lanes.values() if lane.parked]:
            mark = (await self._ledger.watermarks(lane.writer.instance, [lane.team_id])).get(lane.team_id)
            if mark is None or (lane.parked == "lacking" and mark <= lane.believed):
                continue
            lane.parked = ""
            if mark < lane.believed:
                self._go_back(lane, mark)
            lane.believed = mark
            self._make_due(lane)

    def remove(self, writer: JournalWriter) -> None:
        """Forgets a journal. A run of it that is on the wire may still arrive; the watermark makes that harmless."""
        writer.listener = None
        for key in [key for key, lane in self._lanes.items() if lane.writer is writer]:
            lane = self._lanes.pop(key)
            lane.gone = True
            self._due.discard(lane)
            self._queued -= len(lane.queue)
            lane.queue.clear()

    def is_shipped(self, writer: JournalWriter) -> bool:
        return all(writer.shipped.get(team_id, 0) >= last for team_id, last in writer.last.items())

    @property
    def pending_entries(self) -> int:
        """How many sequences the store does not have yet."""
        return sum(max(0, lane.writer.last.get(lane.team_id, 0) - lane.believed) for lane in self._lanes.values())

    @property
    def parked_lanes(self) -> int:
        return sum(bool(lane.parked) for lane in self._lanes.values())

    async def settled(self, writer: JournalWriter, team_id: str, seq: int, *, timeout_s: float) -> bool:
        """Sends this team's entries at once, and waits until the store has `seq` or the time is over."""
        lane = self._lanes.get((writer.instance, team_id))
        if lane is None or lane.believed >= seq:
            return True
        loop = asyncio.get_running_loop()
        shipped: asyncio.Future[bool] = loop.create_future()
        waiting = (seq, shipped)
        lane.waiting.append(waiting)
        self._start(lane)
        # A timer for the future alone: asyncio's time-outs cost a request of a limited team three times as much.
        timer = loop.call_later(timeout_s, _give_up, shipped)
        try:
            return await shipped
        finally:
            timer.cancel()
            if waiting in lane.waiting:
                lane.waiting.remove(waiting)

    async def drain(self, timeout_s: float) -> bool:
        """Ships what is left, for at most so long. Whether everything was."""
        self._flush_due()
        for lane in self._lanes.values():
            if not lane.is_shipped:
                self._start(lane)
        try:
            async with asyncio.timeout(timeout_s):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        except TimeoutError:
            return False
        return all(lane.is_shipped for lane in self._lanes.values())

    async def aclose(self) -> None:
        """Stops; what was not shipped stays in the journal."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _lane(self, writer: JournalWriter, team_id: str, believed: int) -> Lane:
        return self._lanes.setdefault((writer.instance, team_id), Lane(writer, team_id, believed))

    def _heard(self, writer: JournalWriter, entry: ClosedEntry) -> None:
        lane = self._lanes.get((writer.instance, entry.team_id))
        if lane is None:
            lane = self._lane(writer, entry.team_id, writer.shipped.get(entry.team_id, 0))
        if lane.parked == "lacking":
            lane.parked = ""  # this entry can be shipped, with a word on what is missing before it
        if lane.spilled or self._queued >= QUEUED_ENTRIES_MAX:
            lane.spilled = True
        else:
            lane.queue.append(entry)
            self._queued += 1
        self._make_due(lane)

    def _make_due(self, lane: Lane) -> None:
        self._due.add(lane)
        if self._timer is None and not self._stopping:
            self._timer = asyncio.get_running_loop().call_later(self._batch_s, self._flush_due)

    def _flush_due(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due, self._due = self._due, set()
        for lane in due:
            self._start(lane)

    def _start(self, lane: Lane) -> None:
        if lane.flying or lane.parked or self._stopping:
            return
        lane.flying = True
        task = asyncio.get_running_loop().create_task(self._fly(lane))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._landed(done, lane))

    def _landed(self, task: asyncio.Task[None], lane: Lane) -> None:
        self._tasks.discard(task)
        lane.flying = False
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log.error("shipping for %s broke off", lane.team_id, exc_info=error)
        if not (lane.is_shipped or lane.gone or lane.parked):
            self._make_due(lane)

    async def _fly(self, lane: Lane) -> None:
        """Ships until the lane is empty, or until a person has to decide."""
        async with self._room:
            while not (lane.parked or lane.gone):
                self._drop_known(lane)
                if _needs_reading(lane):
                    await self._reload(lane)
                    continue
                if not lane.queue:
                    break
                run = next_run(lane.team_id, lane.writer.instance, lane.believed, lane.queue)
                try:
                    settled = await self._ledger.settle(run)
                except StoreAway as error:
                    await self._wait_until_back(error)
                    continue
                self._came_back()
                self._apply(lane, run, settled)
                await self._tell_of_budgets(lane, run, settled)
        if lane.believed != lane.writer.shipped.get(lane.team_id, 0) and not lane.gone:
            lane.writer.note_shipped(lane.team_id, lane.believed)

    def _drop_known(self, lane: Lane) -> None:
        while lane.queue and lane.queue[0].seq <= lane.believed:
            lane.queue.popleft()
            self._queued -= 1

    async def _reload(self, lane: Lane) -> None:
        """Reads from the journal what is not in memory: for this lane, and for all others of its journal that wait
        for the same."""
        writer = lane.writer
        async with self._reading:
            if lane.queue and lane.queue[0].prev <= lane.believed:
                return  # filled by another lane's reading
            lanes = [
                other
                for other in self._lanes.values()
                if other.writer is writer and (other is lane or (other.spilled and not other.queue))
            ]
            after = {other.team_id: other.believed for other in lanes}
            paths = writer.paths_after(after)
            found = await asyncio.to_thread(closed_after, paths, after, most=RELOAD_ENTRIES_MAX)
            for other in lanes:
                self._refill(other, after[other.team_id], found)

    def _refill(self, lane: Lane, after: int, found: Found) -> None:
        if lane.gone or lane.believed != after:
            return  # it moved on meanwhile, and asks again where it has to
        entries = found.entries[lane.team_id]
        self._queued += len(entries) - len(lane.queue)
        lane.queue = deque(entries)
        reached = entries[-1].seq if entries else after
        lane.spilled = reached < lane.writer.last.get(lane.team_id, 0)
        lane.searched = bool(entries)
        if lane.spilled and not entries and found.complete:
            lane.parked = "lacking"
            log.error("the journal of %s lacks the entries of %s after %d", lane.writer.instance, lane.team_id, after)

    def _apply(self, lane: Lane, run: Run, settled: Settled) -> None:
        if settled.outcome == "stale":
            lane.parked = "stale"
            log.error(
                "the store lost the watermark of %s, whose entries are too old to be sent again: "
                "see gateway journal list",
                lane.team_id,
            )
            return
        if lane.believed != run.believed_watermark:
            return  # it was sent back meanwhile: what this run was told may be of the time before
        if settled.outcome == "gap" and settled.watermark < lane.believed:
            self._go_back(lane, settled.watermark)
        if settled.outcome == "applied":
            self.lost_entries += sum(entry.lost_to - entry.lost_from + 1 for entry in run.entries if entry.lost_to)
            if self._on_applied is not None:
                self._on_applied(run)
        lane.searched = False
        lane.believed = settled.watermark
        still: list[tuple[int, asyncio.Future[bool]]] = []
        for seq, waiter in lane.waiting:
            if waiter.done():
                continue
            if seq <= lane.believed:
                waiter.set_result(True)
            else:
                still.append((seq, waiter))
        lane.waiting = still

    async def _tell_of_budgets(self, lane: Lane, run: Run, settled: Settled) -> None:
        if (listener := self._budget_listener) is None:
            return
        if settled.overrun_nano_usd:
            listener.overrun(overrun_cause(run, adopted=lane.writer.adopted), settled.overrun_nano_usd)
        if settled.crossed:
            await listener.crossed(settled.crossed)

    def _go_back(self, lane: Lane, watermark: int) -> None:
        log.warning("the store went back from %d to %d for %s", lane.believed, watermark, lane.team_id)
        self._queued -= len(lane.queue)
        lane.queue.clear()
        lane.spilled = True
        lane.searched = False
        lane.believed = watermark
        lane.writer.shipped[lane.team_id] = watermark

    async def _wait_until_back(self, error: StoreAway) -> None:
        if self.away is None:
            log.warning("the store is away (%s); usage stays in the journal", error.reason)
            self._back_off_s = BACK_OFF_MIN_S
        self.away = error.reason
        delay_s = self._back_off_s
        self._back_off_s = min(self._back_off_s * 1.2, BACK_OFF_MAX_S)
        await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads the load, hides nothing

    def _came_back(self) -> None:
        if self.away is not None:
            log.warning("the store is back")
            self.away = None


def _give_up(shipped: asyncio.Future[bool]) -> None:
    if not shipped.done():
        shipped.set_result(False)


def _needs_reading(lane: Lane) -> bool:
    """Whether what comes next must be looked for in the journal."""
    if not lane.queue:
        return lane.spilled
    return lane.queue[0].prev > lane.believed and not lane.searched
