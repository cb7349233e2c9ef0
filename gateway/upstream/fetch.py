"""JSON documents from the web, for commands. Bounded in time and size; never on the path of a request."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

import httpx

from providers.wire import JsonError, decode_json

WAIT_S: Final = 30.0
TOTAL_S: Final = 120.0
BODY_BYTES_MAX: Final = 64 * 1024 * 1024
PAGES_MAX: Final = 100


class FetchFailed(Exception):
    """The document could not be had; the message is a sentence that names the URL."""


def fetch_json(url: str) -> Any:
    """The JSON behind a URL, redirects followed, HTTPS_PROXY and SSL_CERT_FILE honoured. Raises FetchFailed."""
    document, _ = _fetch(url)
    return document


def fetch_pages(url: str) -> Iterator[Any]:
    """The JSON behind a URL, and behind each `Link: rel="next"` in turn, on the same host. Raises FetchFailed."""
    asked: set[str] = set()
    following: str | None = url
    while following is not None:
        if len(asked) == PAGES_MAX or following in asked:
            raise FetchFailed(f"{url} does not end: {len(asked)} pages were read.")
        asked.add(following)
        document, following = _fetch(following)
        yield document


def _fetch(url: str) -> tuple[Any, str | None]:
    """The document, and the address of the page after it."""
    try:
        with (
            httpx.Client(timeout=WAIT_S, follow_redirects=True, max_redirects=3) as client,
            client.stream("GET", url, headers={"accept": "application/json"}) as response,
        ):
            if response.status_code != 200:
                raise FetchFailed(f"{url} answered with status {response.status_code}, expected 200.")
            return decode_json(_body(response, url)), _next_page(response)
    except (JsonError, UnicodeDecodeError) as error:
        raise FetchFailed(f"{url} did not answer with JSON: {error}.") from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise FetchFailed(f"{url} could not be fetched: {error or type(error).__name__}.") from error


def _next_page(response: httpx.Response) -> str | None:
    target = response.links.get("next", {}).get("url")
    if target is None:
        return None
    following = response.url.join(target)
    if following.host != response.url.host:
        raise FetchFailed(f"{response.url} names a next page on another host, {following.host}.")
    return str(following)


def _body(response: httpx.Response, url: str) -> bytes:
    began = time.monotonic()
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise FetchFailed(f"{url} answered with more than {BODY_BYTES_MAX // 1024 // 1024} MiB.")
        if time.monotonic() - began > TOTAL_S:
            raise FetchFailed(f"{url} took longer than {TOTAL_S:g} seconds.")
    return bytes(body)
