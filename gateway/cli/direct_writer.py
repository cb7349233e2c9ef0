"""Answers written past uvicorn's `send`: the same bytes, in one call, for the two things that are done most often."""

from __future__ import annotations

import re
import weakref
from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from gateway.web.responses import RawHeaders

_UNFIT: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""What no header may hold. A tab may stand in a value."""


class DirectWriter:
    """Of one request. Each method says False where it cannot be done now; `send` then does it, and waits for a caller
    that reads slowly, passes over one that has left, or says what is wrong."""

    __slots__ = ("_cycle", "_flow", "_transport")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        # It stands in the scope, which the cycle holds: a strong reference would keep requests until the collector.
        self._cycle = weakref.ref(cycle)
        self._transport = cycle.transport
        self._flow = cycle.flow

    def whole(self, status: int, headers: RawHeaders, body: bytes) -> bool:
        """A whole answer; its length is stated here."""
        cycle = self._cycle()
        if cycle is None or self._flow.write_paused or cycle.disconnected or cycle.response_started:
            return False
        if not cycle.keep_alive or cycle.scope["method"] == "HEAD":
            return False
        fields = [name + b": " + value for name, value in (*cycle.default_headers, *headers)]
        # One search for all of them: what joins them is legal in a value, and looked for nowhere else.
        if _UNFIT.search(b"\t".join(fields)):
            return False
        fields.append(b"content-length: %d\r\n\r\n" % len(body))
        self._transport.write(STATUS_LINE[status] + b"\r\n".join(fields) + body)
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.message_event.set()
        cycle.on_response()
        return True

    def part(self, data: bytes) -> bool:
        """A part of a chunked answer that has begun."""
        cycle = self._cycle()
        if cycle is None or self._flow.write_paused or cycle.disconnected:
            return False
        if not cycle.response_started or not cycle.chunked_encoding:
            return False
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        return True
