"""A provider at which the test says who is answered when; it keeps who came, in order, and how many at once."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import deque
from collections.abc import Callable

from tests.journeys.gateway_process import PATIENCE_S
from tests.races.wire import read_message

HEAD = "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n"
STREAM_HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class TurnProvider:
    """Speaks OpenAI's form, in the running loop, on a socket that outlives it. A stream gives its first word at once
    and the rest when it is answered. `serve_s`: everybody is answered after this time, unasked."""

    def __init__(self, listener: socket.socket, *, serve_s: float | None = None) -> None:
        self.came: list[str] = []
        """What each request said, in order of arrival."""
        self.running = 0
        self.running_most = 0
        self._serve_s = serve_s
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._changed = asyncio.Condition()
        self._writers: set[asyncio.StreamWriter] = set()
        self._listener = listener

    async def __aenter__(self) -> TurnProvider:
        self._server = await asyncio.start_server(self._serve, sock=self._listener.dup())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.answer(len(self._waiting))
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self.until(lambda: not self._writers)

    async def until(self, true: Callable[[], bool]) -> None:
        """Waits for a state of affairs here."""
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(true)

    async def until_came(self, count: int) -> None:
        await self.until(lambda: len(self.came) >= count)

    def answer(self, count: int = 1) -> None:
        """The first that wait are answered."""
        for _ in range(count):
            self._waiting.popleft().set_result(None)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while (message := await read_message(reader)) is not None:
                body = json.loads(message.content)
                self.running += 1
                self.running_most = max(self.running_most, self.running)
                try:
                    if body.get("stream"):
                        writer.write(STREAM_HEAD.encode() + _chunk({"delta": {"role": "assistant", "content": "Aye"}}))
                    await self._turn(body["messages"][-1]["content"])
                finally:
                    self.running -= 1
                writer.write(_END if body.get("stream") else _whole())
        except OSError:
            pass  # the gateway hung up
        finally:
            writer.close()
            self._writers.discard(writer)
            async with self._changed:
                self._changed.notify_all()

    async def _turn(self, said: str) -> None:
        async with self._changed:
            self.came.append(said)
            self._changed.notify_all()
        if self._serve_s is None:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        else:
            await asyncio.sleep(self._serve_s)


USAGE = {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
COMMON = {"id": "chatcmpl-1", "created": 1, "model": "chat"}


def _whole() -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Aye"}, "finish_reason": "stop"}
    content = json.dumps({**COMMON, "object": "chat.completion", "choices": [choice], "usage": USAGE}).encode()
    return HEAD.format("application/json", len(content)).encode() + content


def _chunk(choice: dict[str, object], **more: object) -> bytes:
    whole = {**COMMON, "object": "chat.completion.chunk", "choices": [{"index": 0, **choice}], **more}
    return _framed(b"data: " + json.dumps(whole).encode() + b"\n\n")


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_END = _chunk({"delta": {}, "finish_reason": "stop"}, usage=USAGE) + _framed(b"data: [DONE]\n\n") + _framed(b"")
