"""Where a provider is reached: URL and headers of an offer, built once and checked. Pure.

`host` is left to the transport, which knows the origin behind the URL.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, urlsplit

from providers.wire import Target

USER_AGENT: Final = b"inference-providers-gateway"


def make_target(
    *, provider_model: str, hub_model: str, base_url: str, default_base_url: str, path: str, api_key: str | None
) -> Target:
    """A `Target` for `path` under `base_url`.

    A base URL that is a bare origin gets the path of `default_base_url`, so that naming a host is enough.
    Raises ValueError where the base URL or the key could not be sent as they are meant.
    """
    base = urlsplit(base_url.rstrip("/"))
    if base.scheme not in ("http", "https", "http+unix") or not base.hostname or base.username is not None:
        raise ValueError("a base URL is http(s)://host[:port][/path], without a user name")
    if base.query or base.fragment or not base_url.isascii() or any(c.isspace() for c in base_url):
        raise ValueError("a base URL holds no query, no fragment, no spaces and nothing but ASCII")
    root = base.path or urlsplit(default_base_url).path
    url = f"{base.scheme}://{base.netloc}{root}{path}"
    reached = urlsplit(url)
    if (reached.scheme, reached.netloc) != (base.scheme, base.netloc) or reached.query or reached.fragment:
        raise ValueError("the model id leads away from the base URL")
    return Target(provider_model=provider_model, hub_model=hub_model, url=url, headers=_headers(api_key))


def _headers(api_key: str | None) -> tuple[tuple[bytes, bytes], ...]:
    headers = [
        (b"accept", b"application/json, text/event-stream"),
        # Compressed events arrive in blocks, late; and an answer that is not compressed need not be unpacked.
        (b"accept-encoding", b"identity"),
        (b"content-type", b"application/json"),
        (b"user-agent", USER_AGENT),
    ]
    if api_key:
        if not all("!" <= c <= "~" for c in api_key):
            raise ValueError("a key is printable ASCII without spaces")
        headers.append((b"authorization", b"Bearer " + api_key.encode("ascii")))
    return tuple(headers)


def path_segments(model: str) -> str:
    """A model id as segments of a path, each percent-encoded. Raises ValueError for one that would climb."""
    segments = model.split("/")
    if any(segment in ("", ".", "..") for segment in segments):
        raise ValueError(f"{model!r} cannot stand in a path")
    return "/".join(quote(segment, safe="") for segment in segments)
