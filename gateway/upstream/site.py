"""The connections to one origin: which are free, how many may be open, and who waits for one.

Plain bookkeeping, no I/O. A slot is the right to have one connection open; it is taken before connecting and
freed exactly once, when connecting failed or the connection is gone. Whoever waits is served in
order: with a connection that became free, or with a slot to connect by itself.
"""

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass

from gateway.upstream.channel import Channel
from gateway.upstream.faults import ConnectFailed, PoolTimedOut
from gateway.upstream.origin import Origin


@dataclass(frozen=True, slots=True)
class SiteStats:
    """Connections to one origin. `active` counts those being made, too."""

    active: int
    idle: int
    waiting: int

    @property
    def open(self) -> int:
        return self.active + self.idle

    def __str__(self) -> str:
        text = f"{self.active} active, {self.idle} idle"
        return f"{text}, {self.waiting} waiting" if self.waiting else text


class Site:
    """One origin's connections. Somebody waits only while every slot is taken and nothing is idle."""

    def __init__(self, origin: Origin, slots_max: int) -> None:
        self.origin = origin
        self._slots_max = slots_max
        self._connecting = 0
        self._channels: set[Channel] = set()
        # In the order in which they were freed.
        self._idle: dict[Channel, None] = {}
        # A waiter gets a free channel, or None for a slot.
        self._waiters: deque[asyncio.Future[Channel | None]] = deque()

    def stats(self) -> SiteStats:
        active = self._connecting + len(self._channels) - len(self._idle)
        return SiteStats(active, len(self._idle), len(self._waiters))

    def take_idle(self) -> Channel | None:
        """The channel that was freed last (most likely still open), or None."""
        while self._idle:
            channel, _ = self._idle.popitem()
            if channel.is_fresh():
                return channel
            channel.close()
        return None

    def take_slot(self) -> bool:
        """Whether a new connection may be made; if so, `add` or `return_slot` must follow."""
        if self._connecting + len(self._channels) >= self._slots_max:
            return False
        self._connecting += 1
        return True

    def return_slot(self) -> None:
        """Connecting failed."""
        self._connecting -= 1
        self._grant_slot()

    def add(self, channel: Channel) -> None:
        """Connecting succeeded; the channel holds the slot from here on."""
        self._connecting -= 1
        self._channels.add(channel)

    async def wait_turn(self, pool_s: float | None, *, ahead: bool) -> Channel | None:
        """Queue up, at the head if `ahead`. Returns a channel, or None with a slot taken as by `take_slot`.

        Raises PoolTimedOut. The channel may have gone in the meantime.
        """
        waiter: asyncio.Future[Channel | None] = asyncio.get_running_loop().create_future()
        if ahead:
            self._waiters.appendleft(waiter)
        else:
            self._waiters.append(waiter)
        try:
            async with asyncio.timeout(pool_s):
                return await waiter
        except TimeoutError:
            self._leave_queue(waiter)
            raise PoolTimedOut from None
        except asyncio.CancelledError:
            self._leave_queue(waiter)
            raise

    def drop_idle(self) -> None:
        """Close what is idle: one of them has turned out stale."""
        while self._idle:
            self._idle.popitem()[0].close()

    def close(self) -> list[Channel]:
        """Turn everybody away and drop all connections; returns those that were open."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(ConnectFailed("the pool is closed"))
        channels = list(self._channels)
        for channel in channels:
            channel.close()
        return channels

    def on_free(self, channel: Channel) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(channel)
                return
        self._idle[channel] = None

    def on_gone(self, channel: Channel) -> None:
        self._idle.pop(channel, None)
        if channel in self._channels:
            self._channels.remove(channel)
            self._grant_slot()

    def _grant_slot(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._connecting += 1
                waiter.set_result(None)
                return

    def _leave_queue(self, waiter: "asyncio.Future[Channel | None]") -> None:
        """Time-out or cancellation may come after the waiter was served; what it got goes to the next."""
        if waiter.cancelled():
            with contextlib.suppress(ValueError):  # somebody may have passed over it already
                self._waiters.remove(waiter)
            return
        if not waiter.done() or waiter.exception() is not None:
            return
        channel = waiter.result()
        if channel is None:
            self.return_slot()
        elif not channel.gone:
            self.on_free(channel)
