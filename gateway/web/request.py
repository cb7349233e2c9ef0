"""What every request of a hot route needs of ASGI: its ids, its body, and whether its caller is still there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final, Protocol

from gateway.errors import InvalidRequest, TooLarge, UnsupportedMedia

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
HeaderMap = dict[bytes, bytes]

DIRECT: Final = "gateway.direct"
"""In the scope, where the server offers it: a `Direct`."""
BODY_BYTES_MAX: Final = 20 << 20
_LABEL: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}\Z")


class Direct(Protocol):
    """Writes at once what `send` would write at several times the cost, and says whether it could."""

    def whole(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool: ...

    def part(self, data: bytes) -> bool: ...


class Disconnected(Exception):
    """The caller left before its body was here, or before it had its turn."""


def request_label(headers: HeaderMap, inference_id: str) -> str:
    """The caller's own `x-request-id` where it is fit to be echoed, else the inference id. A label, nothing else."""
    label = headers.get(b"x-request-id")
    return label.decode() if label is not None and _LABEL.match(label) else inference_id


async def read_body(headers: HeaderMap, receive: Receive, bytes_max: int = BODY_BYTES_MAX) -> bytes:
    """The whole body. TooLarge as soon as it is known to be, UnsupportedMedia for an encoded one."""
    if b"content-encoding" in headers and headers[b"content-encoding"] != b"identity":
        raise UnsupportedMedia("The body must not be compressed: send it without Content-Encoding.")
    length = headers.get(b"content-length")
    if length is not None and (not length.isdigit() or len(length) > 12):
        raise InvalidRequest("Content-Length: expected a number.")
    if length is not None and int(length) > bytes_max:
        raise _too_large(bytes_max)
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body
    parts, size = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        part = message.get("body", b"")
        size += len(part)
        if size > bytes_max:
            raise _too_large(bytes_max)
        parts.append(part)
    return b"".join(parts)


def _too_large(bytes_max: int) -> TooLarge:
    return TooLarge(f"The body is larger than {bytes_max >> 20} MiB.")


class CallerWatch:
    """Tells whether the caller of a request whose body was read is still there."""

    __slots__ = ("_receive", "_task", "left")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._task: asyncio.Task[None] | None = None
        self.left = False

    async def gone(self) -> bool:
        """Looks once. Only asked between two attempts, so it may cost a task."""
        if self._task is not None or self.left:
            return self.left
        task = asyncio.ensure_future(self._receive())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if task.done():
            self.left = task.result()["type"] == "http.disconnect"
        else:
            task.cancel()
        return self.left

    async def unless_left(self, awaited: asyncio.Future[str]) -> str:
        """The result of `awaited`, which is cancelled as soon as the caller leaves; then Disconnected is raised."""
        if self._task is not None:
            return await awaited  # somebody has said already what is to be done
        self.when_left(awaited.cancel)
        try:
            return await awaited
        except asyncio.CancelledError:
            if self.left:
                raise Disconnected from None
            raise
        finally:
            self.stop()

    def when_left(self, act: Callable[[], object]) -> None:
        """From now on: as soon as the caller leaves, `left` is set and `act` is called."""

        async def watch() -> None:
            while (await self._receive())["type"] != "http.disconnect":
                pass
            self.left = True
            act()

        self._task = asyncio.ensure_future(watch())

    def stop(self) -> None:
        # A cancelled task holds the frame it was in, and that the watch: kept here, they would wait for the collector.
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
