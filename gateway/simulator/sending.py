"""Carries an answer and its behaviour out over ASGI: waits, cuts, silences, and counts what was sent.

Hanging up needs the connection itself, which `server.py` leaves in the request's state as `hang_up`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.simulator.behaviour import Behaviour
from gateway.simulator.ledger import Account
from gateway.simulator.wire import Chunk, SimAnswer, Tally, encode, render, reported, without_usage

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

STALL_MAX_S: Final = 120.0
HANG_UP: Final = "hang_up"
"""Key of the request's state under which the server leaves a function that closes the connection."""


class _Gone(Exception):
    """The reader hung up, or we did."""


@dataclass(slots=True)
class Sending:
    """One answer on its way; an ASGI application of one request, whose body was read already."""

    answer: SimAnswer
    behaviour: Behaviour
    account: Account

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Send the answer; afterwards the account says how it ended."""
        line = _Line(scope, receive, send)
        try:
            if self.behaviour.refuse:
                await line.hang_up()
            await line.wait_ms(self.behaviour.delay_ms)
            await (self._whole(line) if self.answer.chunks is None else self._stream(line, self.answer.chunks))
        except _Gone:
            if line.cut:
                self.account.interrupted += 1
            else:
                self.account.abandoned += 1
        finally:
            line.close()

    async def _whole(self, line: _Line) -> None:
        answer, behaviour = self.answer, self.behaviour
        data = answer.body
        if behaviour.stall_after is not None:
            await line.stall()
        await line.wait_ms(behaviour.ttft_ms)
        if behaviour.no_usage and isinstance(data, dict):
            data = without_usage(data)
        payload = data.encode() if isinstance(data, str) else encode(data, spaced=answer.spaced)
        kind = "text/plain; charset=utf-8" if isinstance(data, str) else "application/json"
        length = {"content-length": str(len(payload))}
        if behaviour.cut_after is not None:
            await line.start(answer, kind, length)
            await line.frame(payload[: len(payload) // 2])
            await line.hang_up()
        self._count(None, reported(data))
        if answer.status == 200:
            self.account.answered += 1
        else:
            self.account.refused += 1
        await line.start(answer, kind, length)
        await line.end(payload)

    async def _stream(self, line: _Line, chunks: tuple[Chunk, ...]) -> None:
        behaviour = self.behaviour
        if behaviour.error_after is not None:
            chunks = chunks[: behaviour.error_after] + self.answer.failing
        if behaviour.no_usage:
            chunks = tuple(bare for chunk in chunks if (bare := _bare(chunk)) is not None)
        await line.start(self.answer, "text/event-stream; charset=utf-8", {"cache-control": "no-cache"})
        await line.wait_ms(behaviour.ttft_ms)
        last: Tally | None = None
        for at, chunk in enumerate(chunks):
            if at:
                await line.wait_ms(behaviour.gap_ms)
            await self._break_off(line, at)
            tally = reported(chunk.data)
            self._count(last, tally)
            last = tally or last
            if at == len(chunks) - 1 and not self._breaks_off_later(len(chunks)):
                self._settle()
            await line.frame(render(chunk, spaced=self.answer.spaced))
        await self._break_off(line, len(chunks))
        await line.end(b"")

    def _breaks_off_later(self, frames: int) -> bool:
        return frames in (self.behaviour.cut_after, self.behaviour.stall_after)

    async def _break_off(self, line: _Line, sent: int) -> None:
        if self.behaviour.cut_after == sent:
            await line.hang_up()
        if self.behaviour.stall_after == sent:
            await line.stall()

    def _settle(self) -> None:
        """Counted before the last frame leaves, so that its reader finds the books closed."""
        if self.behaviour.error_after is None:
            self.account.answered += 1
        else:
            self.account.interrupted += 1

    def _count(self, before: Tally | None, now: Tally | None) -> None:
        if now is not None:
            self.account.replace(before, now)


def _bare(chunk: Chunk) -> Chunk | None:
    """A chunk without usage; None for one that held nothing else."""
    if not isinstance(chunk.data, dict):
        return chunk
    only_usage = "usage" in chunk.data and chunk.data.get("choices") == []
    return None if only_usage else Chunk(without_usage(chunk.data), chunk.event)


class _Line:
    """The connection of one request: what can be sent, waited for and broken."""

    def __init__(self, scope: Message, receive: Receive, send: Send) -> None:
        self._hang_up: Callable[[], None] | None = scope.get("state", {}).get(HANG_UP)
        self._send = send
        self._gone = asyncio.ensure_future(_until_gone(receive))
        self.cut = False

    def close(self) -> None:
        """Stop watching the reader."""
        self._gone.cancel()

    async def start(self, answer: SimAnswer, kind: str, more: dict[str, str]) -> None:
        """Status line and headers."""
        headers = {"content-type": kind, **more, **answer.headers}
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self._put({"type": "http.response.start", "status": answer.status, "headers": raw})

    async def frame(self, data: bytes) -> None:
        """Some of the body."""
        await self._put({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes) -> None:
        """The rest of the body."""
        await self._put({"type": "http.response.body", "body": data, "more_body": False})

    async def _put(self, message: Message) -> None:
        if self._gone.done():
            raise _Gone
        await self._send(message)

    async def wait_ms(self, pause_ms: float) -> None:
        """Wait, unless the reader leaves."""
        if pause_ms > 0:
            await asyncio.wait((self._gone,), timeout=pause_ms / 1000)
        if self._gone.done():
            raise _Gone

    async def stall(self) -> None:
        """Silence until the reader leaves; for ever would outlive a test that forgot to."""
        await asyncio.wait((self._gone,), timeout=STALL_MAX_S)
        self.cut = True
        if self._gone.done():
            raise _Gone
        await self.hang_up()

    async def hang_up(self) -> None:
        """Close the connection where it is: what was sent arrives, the end of the body does not."""
        self.cut = True
        if self._hang_up is None:
            raise RuntimeError("this server cannot hang up; run the simulators by gateway.simulator.server")
        self._hang_up()
        await self._gone
        raise _Gone


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
