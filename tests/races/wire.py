"""HTTP/1.1 for hundreds of callers in one process, where a client library would be the slowest part of a race."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Message:
    """A request or an answer with a Content-Length. `first` is its first line."""

    first: str
    content: bytes

    @property
    def status(self) -> int:
        return int(self.first.split()[1])

    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.content)
        return found


async def read_message(reader: asyncio.StreamReader) -> Message | None:
    """None where the other side hung up before anything came."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise ConnectionError("hung up within a head") from error
        return None
    lines = head.decode("latin-1").split("\r\n")
    length = next((int(line[15:]) for line in lines if line.lower().startswith("content-length:")), 0)
    return Message(lines[0], await reader.readexactly(length))


class Caller:
    """One connection to one gateway, kept from request to request."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, key: str, body: Mapping[str, Any]) -> Message:
        """A chat completion; asked on a new connection where the gateway had closed the old one meanwhile."""
        content = json.dumps(body).encode()
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\n"
            f"Host: {self._address.netloc}\r\n"
            f"Authorization: Bearer {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        for _ in range(2):
            reader, writer = self._streams or await self._connect()
            writer.write(head.encode() + content)
            answer = await read_message(reader)
            if answer is not None:
                return answer
            self.close()
        raise ConnectionError("the gateway hung up on a new connection")

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self._streams = await asyncio.open_connection(self._address.hostname, self._address.port)
        return self._streams
