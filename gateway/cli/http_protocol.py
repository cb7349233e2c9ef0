"""uvicorn's HTTP protocol, with bounds it does not have: on heads, on how long a request may take to arrive, and on
anything but exactly one Host.

Measured on uvicorn 0.54 with httptools: a header of 60 MB is buffered, 5 000 headers are served, no Host or two are
served, and a connection that never completes its request stays open for ever.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final, NoReturn

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.cli.direct_writer import DirectWriter
from gateway.errors import GatewayError, InvalidRequest
from gateway.web.request import DIRECT
from gateway.web.responses import error_body

URL_BYTES_MAX: Final = 8 << 10
HEAD_BYTES_MAX: Final = 32 << 10
HEADERS_MAX: Final = 100
HEAD_S_MAX: Final = 10.0
BODY_S_MAX: Final = 60.0
LAST_CALL_S: Final = 0.25
"""How long an idle connection stays open in a drain, for the request that may be on its way already."""
_CHECK_S: Final = 5.0
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
_UPGRADE_HEADERS: Final = frozenset({b"upgrade", b"connection", b"http2-settings"})


class HeadTooLarge(GatewayError):
    status = 431
    type = "invalid_request_error"
    default_code = "headers_too_large"


class RequestTimeout(GatewayError):
    status = 408
    type = "invalid_request_error"
    default_code = "request_timeout"


class _Refused(Exception):
    """Ends the parsing; what to answer is in `refusal` of the protocol."""


class GuardedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._refusal: GatewayError | None = None
        self._head_bytes = 0
        self._arriving: str | None = None  # "head", "body", or None between requests
        self._arriving_since_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._draining = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arrive("head")
        # One slow timer a connection; nothing is armed or cancelled per request.
        self._timer = self.loop.call_later(_CHECK_S, self._check)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._arriving is None:
            self._arrive("head")
        if self._arriving == "head":
            self._head_bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._pass_over_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("")
        # httptools hands a header over only when it is complete, so a huge one must be caught by counting.
        if self._arriving == "head" and self._head_bytes > HEAD_BYTES_MAX + URL_BYTES_MAX and not self._closing():
            self._refusal = HeadTooLarge(f"The headers are larger than {HEAD_BYTES_MAX >> 10} KiB.")
            self.send_400_response("")

    def _pass_over_upgrade(self, rest: bytes) -> None:
        """We change to no other protocol, so an offer to do so means nothing: the request is read again without it.
        The parser takes what follows such an offer for the other protocol, and would lose the body."""
        lines = [b"%b %b HTTP/1.1" % (self.parser.get_method(), self.url)]
        lines += [b"%b: %b" % pair for pair in self.headers if pair[0] not in _UPGRADE_HEADERS]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join([*lines, b"", b""]) + rest)

    def on_headers_complete(self) -> None:
        if self._offers_upgrade():
            return  # what comes of it is decided in `_pass_over_upgrade`
        headers = self.headers
        size, hosts, host = 0, 0, b""
        for name, value in headers:
            size += len(name) + len(value)
            if name == b"host":
                hosts, host = hosts + 1, value
            elif name == b"transfer-encoding" and value.strip().lower() != b"chunked":
                self._refuse(InvalidRequest("Transfer-Encoding may be chunked and nothing else.", code="bad_http"))
        if len(self.url) > URL_BYTES_MAX or len(headers) > HEADERS_MAX or size > HEAD_BYTES_MAX:
            self._refuse(
                HeadTooLarge(
                    f"At most {HEADERS_MAX} headers of {HEAD_BYTES_MAX >> 10} KiB together, and a target of "
                    f"{URL_BYTES_MAX >> 10} KiB."
                )
            )
        # HTTP/1.0 knows no Host, and old health probes speak it.
        if (hosts != 1 or not _HOST.fullmatch(host)) and (hosts or self.parser.get_http_version() != "1.0"):
            self._refuse(InvalidRequest("Exactly one valid Host header is needed.", code="bad_host"))
        if not self.url.startswith(b"/") and self.url != b"*":
            self._refuse(InvalidRequest("The target of a request begins with a slash.", code="bad_http"))
        self._arrive("body")
        super().on_headers_complete()
        if self._draining:
            self.cycle.keep_alive = False
        self.scope[DIRECT] = DirectWriter(self.cycle)  # type: ignore[typeddict-unknown-key]

    def on_message_complete(self) -> None:
        if self._offers_upgrade():
            return
        self._arriving = None
        self._head_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Every refusal of this connection, in the one form of errors."""
        if self._closing():
            return
        error = self._refusal or InvalidRequest("This is not a valid HTTP/1.1 request.", code="bad_http")
        body = error_body(error)
        line = STATUS_LINE.get(error.status, STATUS_LINE[400])
        self.transport.write(
            b"%bcontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (line, len(body), body)
        )
        self.transport.close()

    def shutdown(self) -> None:
        """The drain begins. What arrives, or still comes, is served as the last request of this connection."""
        self._draining = True
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(LAST_CALL_S, self._close_unused)
        else:
            super().shutdown()

    def _close_unused(self) -> None:
        if (self.cycle is None or self.cycle.response_complete) and not self._head_bytes and not self._closing():
            self.transport.close()

    def _offers_upgrade(self) -> bool:
        return bool(self.parser.should_upgrade()) and self.parser.get_method() != b"CONNECT"

    def _refuse(self, error: GatewayError) -> NoReturn:
        """Ends the parsing; `send_400_response` says why."""
        self._refusal = error
        raise _Refused

    def _arrive(self, part: str) -> None:
        self._arriving = part
        self._arriving_since_s = self.loop.time()

    def _closing(self) -> bool:
        return self.transport is None or self.transport.is_closing()

    def _check(self) -> None:
        if self._closing():
            return
        allowed_s = {"head": HEAD_S_MAX, "body": BODY_S_MAX}.get(self._arriving or "")
        idle = self._arriving == "head" and self._head_bytes == 0
        if allowed_s is not None and self.loop.time() - self._arriving_since_s > allowed_s:
            if idle:
                self.transport.close()
            else:
                self._refusal = RequestTimeout(f"The request's {self._arriving} did not arrive in {allowed_s:g} s.")
                self.send_400_response("")
            return
        self._timer = self.loop.call_later(_CHECK_S, self._check)
