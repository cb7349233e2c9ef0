"""Posts a small JSON document to somebody who wants to be told, and reads nothing but the status."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import httpx

TOTAL_S: Final = 10.0
CONNECT_S: Final = 5.0


class NotifyFailed(Exception):
    """It could not be told. The message is one word, without the URL, which may hold a secret."""


class Notifier:
    """One per worker. Follows no redirect; HTTPS_PROXY and SSL_CERT_FILE are honoured."""

    def __init__(self, *, total_s: float = TOTAL_S) -> None:
        self._total_s = total_s
        self._client: httpx.AsyncClient | None = None
        self._opening = asyncio.Lock()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """The status. Raises NotifyFailed."""
        client = await self._opened()
        try:
            async with (
                asyncio.timeout(self._total_s),
                client.stream("POST", url, content=body, headers=dict(headers)) as response,
            ):
                return response.status_code
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError) as error:
            raise NotifyFailed(type(error).__name__) from error

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def _opened(self) -> httpx.AsyncClient:
        async with self._opening:
            if self._client is None:
                # Certificates take tens of milliseconds to load, which no request shall wait for.
                self._client = await asyncio.to_thread(_make_client)
        return self._client


def _make_client() -> httpx.AsyncClient:
    # No connection is kept: a warning is rare, and its receiver may be another machine the next time.
    return httpx.AsyncClient(
        timeout=httpx.Timeout(TOTAL_S, connect=CONNECT_S),
        follow_redirects=False,
        limits=httpx.Limits(max_connections=20, max_keepalive_connections=0),
    )
