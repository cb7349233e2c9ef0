"""Comments on a stream that has no content yet, so that nobody between us and the caller takes it for dead.

The first one commits us to a 200: from then on an error can only be told as an event.
"""

from __future__ import annotations

import asyncio

from gateway.web.request import Send
from gateway.web.responses import KEEP_ALIVE, RawHeaders


class KeepAlive:
    """Begins by itself; costs one timer until `every_s` have passed. `every_s` of 0: never."""

    __slots__ = ("_every_s", "_head", "_send", "_started", "_task", "_timer")

    def __init__(self, send: Send, head: RawHeaders, every_s: float) -> None:
        self._send = send
        self._head = head
        self._every_s = every_s
        self._started = False
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(every_s, self._begin) if every_s > 0 else None

    async def stop(self) -> bool:
        """No comment follows this. True where the 200 and its headers have already gone out."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        return self._started

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        self._task = asyncio.ensure_future(self._comment())

    async def _comment(self) -> None:
        self._started = True
        await self._send({"type": "http.response.start", "status": 200, "headers": self._head})
        while True:
            await self._send({"type": "http.response.body", "body": KEEP_ALIVE, "more_body": True})
            await asyncio.sleep(self._every_s)
