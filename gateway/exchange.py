"""One try with one provider: an adapter and the door to providers joined.

`send` brings a whole answer, `open_stream` a live one with its first content in hand: the moment after which there
is no other provider any more. Whatever goes wrong is a ProviderFailure; nothing here decides what follows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from gateway.config.catalog import Offer
from gateway.upstream.client import Door, UpstreamResponse, failure_of
from gateway.upstream.content_type import EVENT_STREAM, JSON, other_type
from gateway.upstream.faults import UpstreamFault
from providers.base import Adapter, StreamReader
from providers.wire import ChatRequest, Delta, FailureKind, Headers, ProviderFailure, Reply, Usage

REPLY_BYTES_MAX: Final = 32 << 20
ERROR_BODY_BYTES_MAX: Final = 64 << 10
ERROR_BODY_S: Final = 5.0
"""An error's text is worth no more waiting than this; its status is known already."""
FRAMING_S: Final = 0.25
AFTER_FINISH_S: Final = 2.0
"""A stream that gave its finish_reason gets this long for its usage and its end."""

CLOCK_S: Final = 0.005
"""A timer of the event loop may be early by a few milliseconds."""
HURRIED_SHARE: Final = 0.5
"""An attempt that has less than this of the time that it would have alone is hurried: its silence says nothing."""
DEADLINE_CAME: Final = "the request's deadline came before the end of its answer"

OnHead = Callable[[int], None]
"""Told the status of an answer as soon as it is there, unless the whole answer is there with it."""
OnHeaders = Callable[[Offer, Headers], None]
"""Told the headers of every answer, also of one that is an error."""
OnSkipped = Callable[[str, int], None]
"""Told how many malformed events of a provider's stream were passed over, where there were any."""


DROPPED_NAMES_MAX: Final = 20
DROPPED_CHARS_MAX: Final = 64


def named(dropped: tuple[str, ...]) -> tuple[str, ...]:
    """Names of dropped fields as they are told and kept. Callers choose them: they are cut to printable ASCII of a
    bearable length, and a number stands for the rest of very many."""
    told = tuple(
        "".join(c if "!" <= c <= "~" and c != "," else "?" for c in name[:DROPPED_CHARS_MAX])
        for name in dropped[:DROPPED_NAMES_MAX]
    )
    more = len(dropped) - len(told)
    return (*told, f"and {more} more") if more else told


class Deadline(NamedTuple):
    """When a request ends, in monotonic seconds, and how long it had in all."""

    at_s: float
    whole_s: float

    def hurries(self, started_s: float, patience_s: float) -> bool:
        """Whether an attempt that begins then has hardly any of the time left that it would have alone."""
        return self.at_s - started_s < HURRIED_SHARE * min(patience_s, self.whole_s)


class Answer:
    """A whole answer and what it took."""

    __slots__ = ("dropped", "first_content_ms", "offer", "reply")

    def __init__(self, offer: Offer, reply: Reply, dropped: tuple[str, ...]) -> None:
        self.offer = offer
        self.reply = reply
        self.dropped = dropped
        self.first_content_ms: float | None = None


class LiveStream:
    """A stream whose first content has come. `first` holds what was read until then; `read` gives the rest.

    Owned by whoever relays it, who must call `close`.
    """

    __slots__ = (
        "_between_s",
        "_by_request",
        "_content_due_s",
        "_deadline_s",
        "_hurried",
        "_on_skipped",
        "_response",
        "dropped",
        "ended",
        "first",
        "first_content_ms",
        "offer",
        "reader",
        "started_s",
    )

    def __init__(
        self,
        offer: Offer,
        reader: StreamReader,
        response: UpstreamResponse,
        dropped: tuple[str, ...],
        started_s: float,
        deadline_s: float,
        hurried: bool,
        on_skipped: OnSkipped,
    ) -> None:
        """`deadline_s` is the request's; what the provider may take ends it, too. `hurried`: not its silence."""
        timeouts = offer.provider.timeouts
        end_s = started_s + timeouts.total_s
        self.offer = offer
        self.reader = reader
        self.dropped = dropped
        self.first: list[Delta] = []
        self.first_content_ms: float | None = None
        self.started_s = time.monotonic()
        self.ended = False
        self._response = response
        self._by_request = deadline_s < end_s
        self._hurried = hurried
        self._deadline_s = min(deadline_s, end_s)
        self._content_due_s = started_s + timeouts.first_token_s
        self._between_s = timeouts.between_tokens_s
        self._on_skipped = on_skipped

    async def read(self) -> list[Delta]:
        """The next deltas; an empty list for bytes that held none. `ended` is set with the last.

        Raises ProviderFailure where the stream broke: cut, stalled, told of an error. Comments and empty chunks do
        not count as life: time runs from one content to the next.
        """
        reader = self.reader
        if reader.failure is not None:
            raise _safe(reader.hand_over_failure(), self.offer)
        response = self._response
        try:
            data = response.take_now()
            while data is None:
                due = self._content_due_s if self._content_due_s < self._deadline_s else self._deadline_s
                response.read_timeout_s = max(0.001, due - time.monotonic())
                await response.arrival()
                data = response.take_now()
        except (ProviderFailure, UpstreamFault) as error:
            if reader.finished:
                # It said that it had finished; what is missing is only the way it says goodbye.
                self.ended = True
                return reader.finish()
            raise self._broken_off(error) from error
        if not data:
            self.ended = True
            return reader.finish()
        deltas = reader.feed(data)
        if reader.failure is not None:
            if not deltas:
                raise _safe(reader.hand_over_failure(), self.offer)
            return deltas
        if reader.done:
            self.ended = True
            return deltas
        if reader.finished:
            self._content_due_s = time.monotonic() + AFTER_FINISH_S
        else:
            for delta in deltas:
                if delta.has_content:
                    now_s = time.monotonic()
                    if now_s >= self._deadline_s:
                        raise self._out_of_time()
                    self._content_due_s = now_s + self._between_s
                    break
        return deltas

    def _broken_off(self, error: ProviderFailure | UpstreamFault) -> ProviderFailure:
        """What a fault in the body of a stream means. Made here, since a frame that raises what it holds is a cycle."""
        failure = failure_of(error)
        if failure.kind is FailureKind.TIMEOUT and self._deadline_s <= self._content_due_s:
            return self._out_of_time()
        failure.status = 200
        failure.text_chars = 0
        return failure

    def _out_of_time(self) -> ProviderFailure:
        """The time of the request, or of the attempt, is over: the provider's fault unless it was still speaking, or
        had hardly been given any."""
        if self._by_request and (self._hurried or self.first_content_ms is not None):
            return ProviderFailure(FailureKind.DEADLINE, DEADLINE_CAME, status=200)
        return ProviderFailure(FailureKind.TIMEOUT, "the answer did not end in time", status=200)

    async def finish_connection(self) -> None:
        """After the end: takes the last bytes of the framing, so that the connection can be used again."""
        due_s = time.monotonic() + FRAMING_S
        try:
            while not self._response.complete and (left_s := due_s - time.monotonic()) > 0:
                self._response.read_timeout_s = left_s
                await self._response.read_chunk()
        except ProviderFailure:
            pass  # then the connection is not used again: `close` sees to it

    @property
    def left_s(self) -> float:
        """Until the request's deadline, which ends a stream too."""
        return max(0.0, self._deadline_s - time.monotonic())

    def close(self) -> None:
        """Hangs up on the provider, at once, unless its answer is complete. Idempotent."""
        self._response.close()
        reader = self.reader
        if reader.skipped_events:
            self._on_skipped(self.offer.provider.name, reader.skipped_events)
            reader.skipped_events = 0


class Exchange:
    """Sends calls through the door. Holds no state of its own."""

    def __init__(self, door: Door, *, on_headers: OnHeaders, on_skipped: OnSkipped) -> None:
        self._door = door
        self._on_headers = on_headers
        self._on_skipped = on_skipped

    async def send(
        self, offer: Offer, request: ChatRequest, attempt_id: str, deadline: Deadline, on_head: OnHead
    ) -> Answer:
        """A whole answer before the request's deadline."""
        timeouts = offer.provider.timeouts
        adapter = offer.provider.adapter
        call = adapter.build_call(request, offer.target)
        started_s = time.monotonic()
        due_s = min(deadline.at_s, started_s + timeouts.total_s)
        try:
            response = await self._door.post(call, attempt_id, timeouts, due_s)
            self._on_headers(offer, response.headers)
            try:
                if not response.complete:
                    on_head(response.status)
                if response.status != 200:
                    raise await _failure(offer, response)
                try:
                    reply = await _whole_reply(adapter, request, response, due_s, timeouts.between_tokens_s)
                except ProviderFailure as failure:
                    failure.status = failure.status or 200
                    raise
            finally:
                response.close()
        except ProviderFailure as failure:
            _safe(failure, offer)
            if deadline.hurries(started_s, timeouts.total_s):
                _excuse(failure, deadline)
            raise
        return Answer(offer, reply, named(call.dropped) if call.dropped else ())

    async def open_stream(
        self, offer: Offer, request: ChatRequest, attempt_id: str, deadline: Deadline, on_head: OnHead
    ) -> LiveStream:
        """A stream with its first content in hand, within the provider's `firstToken`."""
        timeouts = offer.provider.timeouts
        adapter = offer.provider.adapter
        call = adapter.build_call(request, offer.target)
        started_s = time.monotonic()
        patience_s = min(timeouts.total_s, timeouts.first_token_s)
        hurried = deadline.hurries(started_s, patience_s)
        try:
            response = await self._door.post(call, attempt_id, timeouts, min(deadline.at_s, started_s + patience_s))
        except ProviderFailure as failure:
            _safe(failure, offer)
            if hurried:
                _excuse(failure, deadline)
            raise
        self._on_headers(offer, response.headers)
        dropped = named(call.dropped) if call.dropped else ()
        reader = adapter.open_stream(request)
        live = LiveStream(offer, reader, response, dropped, started_s, deadline.at_s, hurried, self._on_skipped)
        try:
            on_head(response.status)
            if response.status != 200:
                raise await _failure(offer, response)
            first = live.first
            has_content = False
            while not has_content and not live.ended:
                deltas = await live.read()
                first.extend(deltas)
                has_content = any(delta.has_content for delta in deltas)
            if not any(delta.has_content or delta.has_finish for delta in first):
                raise ProviderFailure(FailureKind.UNREADABLE, "the stream ended without an answer", status=200)
            said = other_type(response.headers, EVENT_STREAM)
            if said is not None:
                raise _mislabelled(said, live.reader.usage, sum(delta.text_chars for delta in first))
            live.started_s = started_s
            live.first_content_ms = (time.monotonic() - started_s) * 1000
        except ProviderFailure as failure:
            _safe(failure, offer)
            failure.status = failure.status or 200
            live.close()
            raise
        except BaseException:
            live.close()
            raise
        return live


def _safe(failure: ProviderFailure, offer: Offer) -> ProviderFailure:
    """The same; adapters take out what looks like a key, and here goes the one that we know."""
    failure.message = offer.provider.without_key(failure.message)
    return failure


def _excuse(failure: ProviderFailure, deadline: Deadline) -> None:
    """A hurried attempt ended with the request's deadline: that is all its silence says."""
    is_silence = failure.kind in (FailureKind.TIMEOUT, FailureKind.CONNECT) and failure.status in (None, 200)
    if is_silence and time.monotonic() >= deadline.at_s - CLOCK_S:
        failure.unsent = failure.kind is FailureKind.CONNECT
        failure.kind, failure.message = FailureKind.DEADLINE, DEADLINE_CAME


async def _whole_reply(
    adapter: Adapter, request: ChatRequest, response: UpstreamResponse, due_s: float, between_s: float
) -> Reply:
    """The answer, before `due_s`; once it has begun it may not fall silent for `between_s`. Where the body breaks off,
    the failure says what the part that came is worth: the provider will bill it."""
    parts: list[bytes] = []
    bytes_left = REPLY_BYTES_MAX
    begun = False
    try:
        while (chunk := response.take_now()) != b"":
            if chunk is None:
                # What is left of the time is left of it for the next read, too: a drip does not earn more.
                left_s = due_s - time.monotonic()
                response.read_timeout_s = max(0.001, min(between_s, left_s) if begun else left_s)
                await response.arrival()
                continue
            # Blanks before the answer are a provider's way to say that it is at work.
            begun = begun or not chunk.isspace()
            parts.append(chunk)
            bytes_left -= len(chunk)
            if bytes_left < 0:
                raise ProviderFailure(FailureKind.UNREADABLE, f"the answer is longer than {REPLY_BYTES_MAX} bytes")
    except (ProviderFailure, UpstreamFault) as error:
        failure = failure_of(error)
        # Bytes that cannot be decoded are something written, too.
        came = bool(parts) or failure.kind is FailureKind.UNREADABLE
        try:
            partial = adapter.parse_reply(request, b"".join(parts))
        except ProviderFailure as seen:
            failure.usage, failure.text_chars = seen.usage, seen.text_chars or int(came)
        else:
            failure.usage, failure.text_chars = partial.usage, partial.text_chars
        raise failure from error
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    try:
        reply = adapter.parse_reply(request, body)
    except ProviderFailure as failure:
        if failure.kind is FailureKind.UNREADABLE:
            # Somebody wrote something: where no text can be seen in it, it still was not for nothing.
            failure.text_chars = failure.text_chars or int(bool(body))
        raise
    said = other_type(response.headers, JSON)
    if said is not None:
        raise _mislabelled(said, reply.usage, reply.text_chars)
    return reply


def _mislabelled(said: str, usage: Usage | None, text_chars: int) -> ProviderFailure:
    """An answer that says to be something else is none, whatever can be read in it."""
    message = f"the answer is labelled {said}"
    return ProviderFailure(FailureKind.UNREADABLE, message, status=200, usage=usage, text_chars=text_chars)


async def _failure(offer: Offer, response: UpstreamResponse) -> ProviderFailure:
    """What a status other than 200 means, in the provider's own words as far as they can be read."""
    due_s = time.monotonic() + ERROR_BODY_S
    parts: list[bytes] = []
    try:
        while sum(map(len, parts)) < ERROR_BODY_BYTES_MAX:
            response.read_timeout_s = max(0.001, due_s - time.monotonic())
            chunk = await response.read_chunk()
            if not chunk:
                break
            parts.append(chunk)
    except ProviderFailure:
        parts = []  # the status says enough
    body = b"".join(parts)[:ERROR_BODY_BYTES_MAX]
    failure = offer.provider.adapter.parse_failure(response.status, response.headers, body)
    failure.status = response.status
    return failure
