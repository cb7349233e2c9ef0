"""A door before a server that can be shut: what is sent meanwhile is held back, as by a firewall; nobody is told."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Final, Self

from tests.faults.chaos_tcp import Chaos

WAIT_S: Final = 10.0


class Firewall:
    """The fault kit's TCP proxy in a thread. `port` is the door's."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(WAIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(WAIT_S)

    def shut(self) -> None:
        self.set(stall="both")

    def set(self, **faults: Any) -> None:
        """Any of the kit's faults."""
        self._loop.call_soon_threadsafe(lambda: self._door.set(**faults))

    def hang_up(self) -> None:
        """Every connection that is open now breaks."""
        self._loop.call_soon_threadsafe(self._door.kill)

    def open(self) -> None:
        """What was held back arrives now."""
        self._loop.call_soon_threadsafe(self._door.heal)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        door = Chaos("127.0.0.1:0", f"127.0.0.1:{self._server_port}")
        async with door as self._door:
            self.port = int(self._door.address.rpartition(":")[2])
            self._ready.set()
            await self._end.wait()
