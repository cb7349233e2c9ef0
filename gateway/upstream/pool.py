"""The pool: requests out, responses in, over connections that are kept and shared per origin.

It finds or makes a connection, within limits and in order, and sends. A request is sent a second time in one
case only: it met a kept connection that ended before the request had been handed over in full and before any
byte came back, so that no correct peer can have acted on it. It follows no redirects and keeps no cookies.
"""

import asyncio
import socket
import ssl
from collections.abc import Iterable

from gateway.upstream.channel import Channel
from gateway.upstream.connection import frame_head_prefix, frame_request
from gateway.upstream.faults import ConnectFailed, ConnectionReset, ConnectTimedOut
from gateway.upstream.origin import Origin
from gateway.upstream.response import Response
from gateway.upstream.site import Site, SiteStats
from gateway.upstream.timeouts import Timeouts


class Pool:
    """Belongs to one event loop. Close it with `aclose()`.

    `ssl_context` is made at the first https origin unless given: `ssl.create_default_context()`, which verifies
    certificates and names, reads the system's store, and honours SSL_CERT_FILE and SSL_CERT_DIR.
    """

    def __init__(
        self,
        *,
        connections_max: int = 1000,
        idle_s: float = 30.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """`connections_max` is per origin; an unused connection is closed after `idle_s`."""
        self._connections_max = connections_max
        self._idle_s = idle_s
        self._ssl_context = ssl_context
        self._sites: dict[Origin, Site] = {}
        self._closed = False

    def __repr__(self) -> str:
        sites = "; ".join(f"{origin} {stats}" for origin, stats in self.stats().items())
        return f"<Pool: {sites or 'unused'}>"

    def stats(self) -> dict[Origin, SiteStats]:
        """Active, idle and awaited connections of every origin ever used."""
        return {origin: site.stats() for origin, site in self._sites.items()}

    async def send(
        self,
        origin: Origin,
        method: bytes,
        target: bytes,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes,
        timeouts: Timeouts,
    ) -> Response:
        """Frame a request and send it; see `send_raw`. Raises ValueError for what cannot be framed."""
        prefix = frame_head_prefix(method, target, origin.authority, headers)
        return await self.send_raw(origin, frame_request(prefix, (), body), method, timeouts)

    async def send_raw(self, origin: Origin, request: bytes, method: bytes, timeouts: Timeouts) -> Response:
        """Send a request made by `frame_request` and return once the response head has come.

        Raises an UpstreamFault. Cancelling it drops the connection that was in use.
        """
        site = self._sites.get(origin) or self._open_site(origin)
        channel = site.take_idle() or await self._acquire(site, timeouts)
        try:
            return await _exchange(channel, request, method, timeouts)
        except ConnectionReset as fault:
            if fault.written or not channel.used:
                raise
        # What else is idle is probably as stale, so this time the connection is new (or was freed just now).
        site.drop_idle()
        channel = await self._acquire(site, timeouts)
        return await _exchange(channel, request, method, timeouts)

    async def aclose(self) -> None:
        """Drop all connections, fail what runs and waits, and refuse new requests. Idempotent."""
        self._closed = True
        channels = [channel for site in self._sites.values() for channel in site.close()]
        await asyncio.gather(*(channel.lost for channel in channels))

    def _open_site(self, origin: Origin) -> Site:
        site = self._sites[origin] = Site(origin, self._connections_max)
        return site

    async def _acquire(self, site: Site, timeouts: Timeouts) -> Channel:
        """A free connection: idle, handed over by somebody who is done with it, or new."""
        ahead = False
        while True:
            if self._closed:
                raise ConnectFailed("the pool is closed")
            channel = site.take_idle()
            if channel is None and not site.take_slot():
                channel = await site.wait_turn(timeouts.pool_s, ahead=ahead)
                if channel is not None and not channel.is_fresh():
                    # It ended on its way to us; our turn has not.
                    channel.close()
                    ahead = True
                    continue
            return channel or await self._connect(site, timeouts.connect_s)

    async def _connect(self, site: Site, connect_s: float | None) -> Channel:
        """Turn a slot that was taken into a connection, or give it back."""
        loop = asyncio.get_running_loop()
        channel = Channel(loop, site, self._idle_s)
        try:
            async with asyncio.timeout(connect_s):
                await self._open_socket(loop, channel, site.origin)
        except BaseException as error:
            site.return_slot()
            if isinstance(error, TimeoutError):
                raise ConnectTimedOut from error
            if isinstance(error, OSError | ssl.CertificateError | UnicodeError):
                raise _connect_failed(error) from error
            raise
        site.add(channel)
        if self._closed:
            channel.close()
            raise ConnectFailed("the pool is closed")
        return channel

    async def _open_socket(self, loop: asyncio.AbstractEventLoop, channel: Channel, origin: Origin) -> None:
        if origin.socket_path:
            await loop.create_unix_connection(lambda: channel, origin.socket_path)
        elif origin.scheme == "https":
            if self._ssl_context is None:
                self._ssl_context = ssl.create_default_context()
                self._ssl_context.set_alpn_protocols(["http/1.1"])
            await loop.create_connection(
                lambda: channel,
                origin.host,
                origin.port,
                ssl=self._ssl_context,
                server_hostname=origin.host,
            )
        else:
            await loop.create_connection(lambda: channel, origin.host, origin.port)


async def _exchange(channel: Channel, request: bytes, method: bytes, timeouts: Timeouts) -> Response:
    reader = channel.start(request, method, timeouts)
    try:
        await channel.next_progress()
    except asyncio.CancelledError:
        channel.abandon(reader, ConnectionReset())
        raise
    if not reader.head_complete and reader.fault is not None:
        raise reader.hand_over_fault()
    return Response(channel, reader, timeouts.between_bytes_s)


def _connect_failed(error: Exception) -> ConnectFailed:
    """Why connecting failed, without the address that the system's own messages hold."""
    if isinstance(error, ssl.CertificateError):
        return ConnectFailed("the TLS certificate was refused", certificate=True)
    if isinstance(error, ssl.SSLError):
        return ConnectFailed("the TLS handshake failed")
    if isinstance(error, socket.gaierror | UnicodeError):
        return ConnectFailed("the host name could not be resolved")
    if isinstance(error, ConnectionRefusedError):
        return ConnectFailed("the connection was refused")
    return ConnectFailed("the host could not be reached")
