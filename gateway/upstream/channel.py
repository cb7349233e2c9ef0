"""One socket that carries one exchange after another, and the one timer that watches over it.

A channel writes a request, feeds what comes back to a `ResponseReader`, wakes whoever waits for it and tells its
owner when it is free for another request or gone for good. It does not choose sockets and does not retry.

The timer is lazy: each wait only notes a deadline, and the one running timer looks, when it fires, whether
that has passed. A stream of thousands of chunks therefore creates no timers at all.
"""

import asyncio
import select
from typing import Protocol, cast

from gateway.upstream.connection import ResponseReader
from gateway.upstream.faults import (
    ConnectionReset,
    FirstByteTimedOut,
    ReadTimedOut,
    TimedOut,
    UpstreamFault,
    WriteTimedOut,
)
from gateway.upstream.timeouts import Timeouts

# Beyond this much unread body the peer is left to wait, so that a slow client slows its provider down.
UNREAD_BYTES_MAX = 256 * 1024

_NEVER = float("inf")


class ChannelOwner(Protocol):
    """Who keeps the channels. Both calls come from the event loop and must not block."""

    def on_free(self, channel: "Channel") -> None:
        """The exchange is over and the channel may carry another one."""

    def on_gone(self, channel: "Channel") -> None:
        """The channel will never be used again; called once."""


class Channel(asyncio.Protocol):
    """States: connecting, free, busy with one exchange, gone. `gone` is final."""

    __slots__ = (
        "_deadline",
        "_first_byte_s",
        "_idle_s",
        "_loop",
        "_overdue",
        "_owner",
        "_poll",
        "_reader",
        "_reading_paused",
        "_timer",
        "_timer_at",
        "_transport",
        "_waiter",
        "_write_failed",
        "_write_paused",
        "gone",
        "lost",
        "used",
    )
    _transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: ChannelOwner, idle_s: float) -> None:
        self._loop = loop
        self._owner = owner
        self._idle_s = idle_s
        self._poll = select.poll()
        self._reader: ResponseReader | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._first_byte_s: float | None = None
        self._deadline = _NEVER
        self._overdue: type[TimedOut] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = _NEVER
        self._reading_paused = False
        self._write_paused = False
        self._write_failed = False
        self.used = False
        self.gone = False
        # Done once the socket is closed, which is a little later than `gone`.
        self.lost: asyncio.Future[None] = loop.create_future()

    # For the pool.

    def is_fresh(self) -> bool:
        """Whether a free channel may be written to: neither closed nor, unknown to the loop so far, readable.

        A peer that closes an idle connection, or writes to it, makes it readable before we have sent
        anything; asking the kernel (0.4 us) turns most failed exchanges into a change of connection.
        """
        return not (self.gone or self._transport.is_closing() or self._poll.poll(0))

    def start(self, request: bytes, method: bytes, timeouts: Timeouts) -> ResponseReader:
        """Write a whole request and return the reader that will fill. The channel must be free."""
        reader = self._reader = ResponseReader(method)
        self._first_byte_s = timeouts.first_byte_s
        self._transport.write(request)
        if self._write_paused:
            self._expect_within(timeouts.write_s, WriteTimedOut)
        else:
            self._write_failed = self._transport.is_closing()
            self._expect_within(timeouts.first_byte_s, FirstByteTimedOut)
        return reader

    def next_progress(self) -> asyncio.Future[None]:
        """Done when a head, body bytes, the end or a fault has come since; at most one waits at a time."""
        waiter = self._waiter = self._loop.create_future()
        return waiter

    def next_body(self, timeout_s: float | None) -> asyncio.Future[None]:
        """As `next_progress`, with a time-out; None waits for ever."""
        self._expect_within(timeout_s, ReadTimedOut)
        return self.next_progress()

    def resume_reading(self) -> None:
        """The caller has taken what was buffered."""
        if self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()

    def abandon(self, reader: ResponseReader, fault: UpstreamFault) -> None:
        """Drop the socket at once if that exchange is still running on it, else do nothing."""
        if self._reader is reader:
            self._fail(fault)

    def close(self) -> None:
        """Drop the socket at once, whatever runs on it."""
        if self._reader is not None:
            self._reader.cut()
        self._leave()

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass
        # Any unwritten byte counts as "not written in full". The TLS layer takes 0 for "always paused".
        self._transport.set_write_buffer_limits(high=1 if transport.get_extra_info("ssl_object") else 0, low=0)
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        if reader is None:
            self._leave()  # nobody asked: what these bytes answer, nobody knows
            return
        awaiting_head = not reader.head_complete
        reader.feed(data)
        if reader.complete:
            self._finish(reader)
        elif reader.fault is not None:
            self._fail(reader.fault)
        elif reader.body:
            self._wake()
            if reader.buffered_bytes > UNREAD_BYTES_MAX and not self._reading_paused:
                self._reading_paused = True
                self._transport.pause_reading()
        elif awaiting_head and reader.head_complete:
            self._wake()

    def eof_received(self) -> None:
        if self._reader is not None:
            self._reader.feed_eof()
        self._leave()

    def connection_lost(self, error: Exception | None) -> None:
        if self._reader is not None:
            self._end_by_loss(self._reader, error)
        self._leave()
        if not self.lost.done():
            self.lost.set_result(None)

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        if self._reader is not None and not self._reader.head_complete:
            self._expect_within(self._first_byte_s, FirstByteTimedOut)

    # The rest is private.

    def _end_by_loss(self, reader: ResponseReader, error: Exception | None) -> None:
        if error is None:
            reader.feed_eof()
        else:
            reader.cut()

    def _finish(self, reader: ResponseReader) -> None:
        self._reader = None
        self.used = True
        self._wake()
        # A peer that answers before it has read the whole request would take the rest for the next one.
        if not reader.keep_alive or self._write_paused or self._transport.is_closing():
            self._leave()
            return
        self.resume_reading()
        self._expect_within(self._idle_s, None)
        self._owner.on_free(self)

    def _fail(self, fault: UpstreamFault) -> None:
        if self._reader is not None:
            self._reader.fail(fault)
        self._leave()

    def _leave(self) -> None:
        if self.gone:
            return
        self.gone = True
        reader, self._reader = self._reader, None
        if reader is not None and isinstance(reader.fault, ConnectionReset):
            reader.fault.written = not (reader.untouched and (self._write_paused or self._write_failed))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport.abort()
        self._wake()
        self._owner.on_gone(self)

    def _wake(self) -> None:
        self._deadline = _NEVER
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def _expect_within(self, timeout_s: float | None, overdue: type[TimedOut] | None) -> None:
        """Note what must have happened by when; `overdue` None means that a free channel expires."""
        self._overdue = overdue
        if timeout_s is None:
            self._deadline = _NEVER
            return
        self._deadline = deadline = self._loop.time() + timeout_s
        if deadline < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = deadline
            self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_at = _NEVER
        if self._deadline == _NEVER:
            return
        if self._loop.time() < self._deadline:
            self._timer_at = self._deadline
            self._timer = self._loop.call_at(self._deadline, self._on_timer)
        elif self._overdue is None:
            self._leave()
        else:
            self._fail(self._overdue())
