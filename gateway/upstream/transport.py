"""httpx's transport interface over our pool, for whatever speaks httpx.

Its time-outs, exception names and stream type on the outside, `Pool` inside. Bodies arrive decoded and capped, so
httpx is not told of an encoding.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import httpx

from gateway.upstream.faults import (
    BodyTooLarge,
    ConnectFailed,
    ConnectionReset,
    ConnectTimedOut,
    FirstByteTimedOut,
    PoolTimedOut,
    ProtocolBroken,
    ReadTimedOut,
    ResponseTruncated,
    UpstreamFault,
    WriteTimedOut,
)
from gateway.upstream.origin import DEFAULT_PORTS, Origin
from gateway.upstream.pool import Pool
from gateway.upstream.response import Response
from gateway.upstream.timeouts import Timeouts

_HTTPX_ERRORS: dict[type[UpstreamFault], type[httpx.RequestError]] = {
    ConnectFailed: httpx.ConnectError,
    ConnectTimedOut: httpx.ConnectTimeout,
    PoolTimedOut: httpx.PoolTimeout,
    WriteTimedOut: httpx.WriteTimeout,
    FirstByteTimedOut: httpx.ReadTimeout,
    ReadTimedOut: httpx.ReadTimeout,
    ConnectionReset: httpx.ReadError,
    ResponseTruncated: httpx.RemoteProtocolError,
    ProtocolBroken: httpx.RemoteProtocolError,
    BodyTooLarge: httpx.DecodingError,
}

# Written by the framing (lengths), or decided by the pool (encodings).
_REPLACED_FIELDS = frozenset((b"content-length", b"transfer-encoding", b"accept-encoding"))
# True of the body on the wire, not of the decoded one.
_ENCODING_FIELDS = frozenset((b"content-encoding", b"content-length"))


class PoolTransport(httpx.AsyncBaseTransport):
    """`httpx.AsyncClient(transport=PoolTransport())`, or `handle_async_request` called directly.

    Speaks HTTP/1.1 to http and https origins; no proxies, no HTTP/2. Closes its pool in `aclose`.
    """

    def __init__(self, pool: Pool | None = None) -> None:
        self.pool = pool if pool is not None else Pool()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await _whole_body(request)
        headers = [pair for pair in request.headers.raw if pair[0].lower() not in _REPLACED_FIELDS]
        with _httpx_errors(request):
            response = await self.pool.send(
                _origin(request),
                request.method.encode("ascii"),
                request.url.raw_path,
                headers,
                body,
                _timeouts(request.extensions.get("timeout", {})),
            )
        return httpx.Response(
            response.status,
            headers=_decoded_headers(response),
            stream=_BodyStream(response, request),
            extensions={"http_version": b"HTTP/1.1"},
            request=request,
        )

    async def aclose(self) -> None:
        await self.pool.aclose()


class _BodyStream(httpx.AsyncByteStream):
    """The response's body; `aclose` before the end drops the connection."""

    def __init__(self, response: Response, request: httpx.Request) -> None:
        self._response = response
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _httpx_errors(self._request):
            while chunk := await self._response.read_chunk():
                yield chunk

    async def aclose(self) -> None:
        self._response.close()


async def _whole_body(request: httpx.Request) -> bytes:
    stream = request.stream
    if not isinstance(stream, httpx.AsyncByteStream):
        raise TypeError("an asynchronous request needs an asynchronous body")
    return b"".join([part async for part in stream])


def _origin(request: httpx.Request) -> Origin:
    url = request.url
    if url.scheme not in DEFAULT_PORTS:
        # http+unix neither: httpx lower-cases hosts, and with them the path of the socket.
        raise httpx.UnsupportedProtocol("the URL begins with neither http:// nor https://", request=request)
    return Origin(url.scheme, url.raw_host.decode("ascii"), url.port or DEFAULT_PORTS[url.scheme])


def _timeouts(timeout: dict[str, float | None]) -> Timeouts:
    """httpx knows one time-out for reading; it holds for the head and between bytes."""
    read_s = timeout.get("read")
    return Timeouts(timeout.get("connect"), timeout.get("pool"), timeout.get("write"), read_s, read_s)


def _decoded_headers(response: Response) -> list[tuple[bytes, bytes]]:
    if not response.encoded:
        return response.headers
    return [pair for pair in response.headers if pair[0] not in _ENCODING_FIELDS]


@contextmanager
def _httpx_errors(request: httpx.Request) -> Iterator[None]:
    try:
        yield
    except UpstreamFault as fault:
        raise _HTTPX_ERRORS[type(fault)](str(fault), request=request) from fault
    except ValueError as error:
        raise httpx.LocalProtocolError(str(error), request=request) from error
