"""A provider that keeps its callers waiting until it is told to answer, so that nothing is settled meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Self

from tests.races.wire import read_message


class HoldingProvider:
    """Speaks OpenAI's form on a free port of the running loop. Each answer reports between half of `usage_max` (prompt
    and completion tokens) and all of it. `reached` counts the requests since `hold`."""

    def __init__(self, usage_max: tuple[int, int], *, seed: int) -> None:
        self.reached = 0
        self._usage_max = usage_max
        self._arrived: Callable[[], None] = _nothing
        self._answers = asyncio.Event()
        self._dice = random.Random(seed)

    async def start(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    def stop(self) -> None:
        self._server.close()

    def hold(self, arrived: Callable[[], None]) -> None:
        """From now on nobody is answered, and `arrived` is called for each who waits."""
        self.reached = 0
        self._arrived = arrived
        self._answers.clear()

    def answer(self) -> None:
        """Everybody who waits is answered, and whoever comes."""
        self._arrived = _nothing
        self._answers.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await read_message(reader) is not None:
                self.reached += 1
                self._arrived()
                await self._answers.wait()
                content = json.dumps(self._completion()).encode()
                head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
                writer.write(head.encode() + content)
        except OSError:
            pass  # the gateway hung up
        finally:
            writer.close()

    def _completion(self) -> dict[str, object]:
        prompt, completion = (self._dice.randint((most + 1) // 2, most) for most in self._usage_max)
        return {
            "id": f"chatcmpl-{self._dice.getrandbits(64):x}",
            "object": "chat.completion",
            "created": 1,
            "model": "chat",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Aye."}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
        }


def _nothing() -> None:
    """Nobody wants to know."""
