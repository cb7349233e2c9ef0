"""The door to providers: a call out, an answer in, every transport fault turned into a ProviderFailure.

Two doors do the same: ours, over the pool, and httpx's own, for outbound proxies (`GATEWAY_HTTP_TRANSPORT=httpx`).
Neither follows a redirect, keeps a cookie, or connects anywhere but to a URL of the mapping table.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Protocol

import httpx

from gateway.config.catalog import Timeouts
from gateway.upstream import timeouts as phases
from gateway.upstream.connection import frame_head_prefix, frame_request
from gateway.upstream.faults import (
    BodyTooLarge,
    ConnectFailed,
    ConnectionReset,
    ConnectTimedOut,
    PoolTimedOut,
    ProtocolBroken,
    ResponseTruncated,
    TimedOut,
    UpstreamFault,
)
from gateway.upstream.origin import Origin, parse_base_url
from gateway.upstream.pool import Pool
from gateway.upstream.response import Response
from providers.wire import FailureKind, Headers, ProviderFailure, UpstreamCall

WRITE_S: Final = 30.0
_CLOSING: Final[set[asyncio.Task[None]]] = set()
"""httpx closes only asynchronously; a task that nobody holds may vanish before it is done."""


class UpstreamResponse(Protocol):
    """A provider's answer, as it comes. Every method that reads raises ProviderFailure."""

    read_timeout_s: float | None
    """Seconds that one read may wait; may be changed between reads."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Headers: ...

    @property
    def complete(self) -> bool:
        """The whole body has come, read or unread."""
        ...

    async def read_chunk(self) -> bytes:
        """What has come since the last call; b"" at the end."""
        ...

    async def read(self, limit_bytes: int) -> bytes: ...

    def take_now(self) -> bytes | None:
        """What has come; b"" at the end; None where `arrival` must be awaited first. A stream is read by these two:
        what waits between them is one future, and no chain of coroutines to be woken for each chunk."""
        ...

    def arrival(self) -> Awaitable[None]:
        """Raises as `read_chunk`, but for faults of the transport: `failure_of` says what those mean."""
        ...

    def close(self) -> None:
        """Hangs up at once unless the body is complete. Idempotent."""
        ...


class Door(Protocol):
    async def post(self, call: UpstreamCall, attempt_id: str, timeouts: Timeouts, due_s: float) -> UpstreamResponse:
        """Sends a call and returns with the head of its answer, before `due_s` (monotonic seconds). Raises
        ProviderFailure; CONNECT means that the provider cannot have acted on it."""
        ...

    async def aclose(self) -> None: ...


class PoolDoor:
    """Over our own pool. The head of a call is framed once per offer and kept."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._heads: dict[tuple[str, Headers], tuple[Origin, bytes]] = {}

    async def post(self, call: UpstreamCall, attempt_id: str, timeouts: Timeouts, due_s: float) -> UpstreamResponse:
        head = self._heads.get((call.url, call.headers))
        if head is None:
            head = self._frame_head(call)
        origin, prefix = head
        request = frame_request(prefix, ((b"x-request-id", attempt_id.encode()),), call.body)
        left_s = max(0.001, due_s - time.monotonic())
        connect_s = min(timeouts.connect_s, left_s)
        allowed = phases.Timeouts(connect_s, connect_s, min(WRITE_S, left_s), left_s, left_s)
        try:
            return _PoolResponse(await self._pool.send_raw(origin, request, b"POST", allowed))
        except UpstreamFault as fault:
            raise _failure(fault) from fault

    async def aclose(self) -> None:
        await self._pool.aclose()

    def _frame_head(self, call: UpstreamCall) -> tuple[Origin, bytes]:
        origin, target = parse_base_url(call.url)
        head = (origin, frame_head_prefix(b"POST", target.encode("ascii"), origin.authority, call.headers))
        # Offers come from the table, so there are as many heads as rows; a reload may leave old ones behind.
        if len(self._heads) > 4096:
            self._heads.clear()
        self._heads[call.url, call.headers] = head
        return head


class _Fetched:
    """One chunk that was read ahead, for bodies that can only be read by awaiting."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data: bytes | None = None

    def take(self) -> bytes | None:
        data, self._data = self._data, None
        return data

    async def fetch(self, read: Callable[[], Awaitable[bytes]]) -> None:
        self._data = await read()


class _PoolResponse:
    __slots__ = ("_fetched", "_response", "headers", "status")

    def __init__(self, response: Response) -> None:
        self._response = response
        self._fetched = _Fetched()
        self.status = response.status
        self.headers: Headers = response.headers

    @property
    def read_timeout_s(self) -> float | None:
        return self._response.read_timeout_s

    @read_timeout_s.setter
    def read_timeout_s(self, seconds: float | None) -> None:
        self._response.read_timeout_s = seconds

    @property
    def complete(self) -> bool:
        return self._response.complete

    async def read_chunk(self) -> bytes:
        try:
            return await self._response.read_chunk()
        except UpstreamFault as fault:
            raise _failure(fault) from fault

    async def read(self, limit_bytes: int) -> bytes:
        try:
            return await self._response.read(limit_bytes)
        except UpstreamFault as fault:
            raise _failure(fault) from fault

    def take_now(self) -> bytes | None:
        if self._response.encoded:
            return self._fetched.take()
        return self._response.take_now()

    def arrival(self) -> Awaitable[None]:
        if self._response.encoded:
            return self._fetched.fetch(self.read_chunk)
        return self._response.arrival()

    def close(self) -> None:
        self._response.close()


class HttpxDoor:
    """Over httpx's own transport: slower by far, but it knows outbound proxies."""

    def __init__(self) -> None:
        self._client = httpx.AsyncClient(follow_redirects=False, limits=httpx.Limits(max_connections=1000))

    async def post(self, call: UpstreamCall, attempt_id: str, timeouts: Timeouts, due_s: float) -> UpstreamResponse:
        left_s = max(0.001, due_s - time.monotonic())
        allowed = httpx.Timeout(left_s, connect=min(timeouts.connect_s, left_s), write=min(WRITE_S, left_s))
        headers = [*call.headers, (b"x-request-id", attempt_id.encode())]
        request = self._client.build_request("POST", call.url, headers=headers, content=call.body, timeout=allowed)
        request.headers.pop("cookie", None)
        try:
            return _HttpxResponse(await self._client.send(request, stream=True), request)
        except httpx.HTTPError as error:
            raise _httpx_failure(error, answered=False) from error

    async def aclose(self) -> None:
        await self._client.aclose()


class _HttpxResponse:
    __slots__ = ("_chunks", "_fetched", "_request", "_response", "_seconds", "complete", "headers", "status")

    def __init__(self, response: httpx.Response, request: httpx.Request) -> None:
        self._response = response
        self._request = request
        self._chunks: AsyncIterator[bytes] = response.aiter_bytes()
        self._seconds: float | None = None
        self._fetched = _Fetched()
        self.status = response.status_code
        self.headers: Headers = [(name.lower(), value) for name, value in response.headers.raw]
        self.complete = False

    @property
    def read_timeout_s(self) -> float | None:
        return self._seconds

    @read_timeout_s.setter
    def read_timeout_s(self, seconds: float | None) -> None:
        self._seconds = seconds
        # httpx hands this very dictionary down and reads it again at each read.
        self._request.extensions["timeout"]["read"] = seconds

    async def read_chunk(self) -> bytes:
        try:
            async for chunk in self._chunks:
                if chunk:
                    return chunk
        except httpx.HTTPError as error:
            raise _httpx_failure(error, answered=True) from error
        self.complete = True
        await self._response.aclose()
        return b""

    async def read(self, limit_bytes: int) -> bytes:
        parts, size = [], 0
        while chunk := await self.read_chunk():
            size += len(chunk)
            if size > limit_bytes:
                self.close()
                raise _failure(BodyTooLarge(limit_bytes))
            parts.append(chunk)
        return b"".join(parts)

    def take_now(self) -> bytes | None:
        return self._fetched.take()

    def arrival(self) -> Awaitable[None]:
        return self._fetched.fetch(self.read_chunk)

    def close(self) -> None:
        if not self.complete and not self._response.is_closed:
            task = asyncio.ensure_future(self._response.aclose())
            _CLOSING.add(task)
            task.add_done_callback(_CLOSING.discard)


def failure_of(error: ProviderFailure | UpstreamFault) -> ProviderFailure:
    """What a failed `take_now` or `arrival` means, in our one vocabulary."""
    return error if isinstance(error, ProviderFailure) else _failure(error)


def _failure(fault: UpstreamFault) -> ProviderFailure:
    """Their transport faults in our one vocabulary."""
    return ProviderFailure(_kind(fault), str(fault))


def _kind(fault: UpstreamFault) -> FailureKind:
    match fault:
        case ConnectFailed() | ConnectTimedOut() | PoolTimedOut():
            return FailureKind.CONNECT
        case TimedOut():
            return FailureKind.TIMEOUT
        case ConnectionReset():
            return FailureKind.RESET if fault.written else FailureKind.CONNECT
        case ResponseTruncated():
            return FailureKind.TRUNCATED
        case ProtocolBroken() | BodyTooLarge():
            return FailureKind.UNREADABLE
        case _:
            return FailureKind.RESET


def _httpx_failure(error: httpx.HTTPError, *, answered: bool) -> ProviderFailure:
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.PoolTimeout() | httpx.ProxyError():
            return ProviderFailure(FailureKind.CONNECT, "no connection could be made")
        case httpx.TimeoutException():
            return ProviderFailure(FailureKind.TIMEOUT, "the answer did not come in time")
        case httpx.DecodingError() | httpx.ProtocolError() if answered:
            return ProviderFailure(FailureKind.TRUNCATED, "the answer broke off")
        case _:
            return ProviderFailure(FailureKind.RESET, "the connection was closed before an answer came")
