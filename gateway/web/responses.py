"""Answers of ours: errors in the one form, JSON, and the pieces of an event stream."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from gateway.errors import AllProvidersFailed, BudgetExceeded, GatewayError
from providers.wire import encode_json

RawHeaders = list[tuple[bytes, bytes]]

JSON: Final = (b"content-type", b"application/json")
EVENT_STREAM: Final[RawHeaders] = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
DONE: Final = b"data: [DONE]\n\n"
KEEP_ALIVE: Final = b": keep-alive\n\n"


def event(data: bytes) -> bytes:
    """One server-sent event of a JSON text without line breaks."""
    return b"data: " + data + b"\n\n"


def error_headers(error: GatewayError) -> RawHeaders:
    """What goes with an error: Retry-After in whole seconds, a word to clients that would re-send by themselves, and
    the message where some Hugging Face clients look for it."""
    headers: RawHeaders = [JSON, (b"x-error-message", _header_text(error.message))]
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % max(1, -(-error.retry_after_s // 1))))
    if isinstance(error, AllProvidersFailed | BudgetExceeded):
        headers.append((b"x-should-retry", b"false"))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    headers.extend((name.lower().encode(), _header_text(value)) for name, value in error.headers)
    return headers


def error_body(error: GatewayError) -> bytes:
    return encode_json(error.as_json())


def error_response(error: GatewayError) -> Response:
    """For routes that are served by Starlette."""
    response = Response(error_body(error), status_code=error.status)
    response.raw_headers = [
        *((b"content-length", b"%d" % len(response.body)),),
        *error_headers(error),
    ]
    return response


def json_response(value: Any, status: int = 200) -> Response:
    return Response(encode_json(value), status_code=status, media_type="application/json")


def _header_text(text: str) -> bytes:
    """One line of ASCII: a header can hold neither line breaks nor, safely, anything beyond."""
    text = text[:500]
    if not (text.isascii() and text.isprintable()):
        text = "".join(c if " " <= c <= "~" else "?" for c in text)
    return text.encode()
