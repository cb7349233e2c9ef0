"""What a request was served with, and how a stream is booked: at its end, at its break, or when its caller left."""

from __future__ import annotations

import time
from contextlib import suppress

from gateway.config.catalog import Offer
from gateway.continuation import Continuation
from gateway.errors import GatewayError, LedgerUnavailable
from gateway.exchange import Answer, LiveStream
from gateway.failover import attempts_header
from gateway.metering import Bill
from gateway.outcomes import CLIENT_GONE
from gateway.records import Attempt
from gateway.routing.health import HealthBook
from gateway.routing.plan import Plan
from gateway.routing.policy import POLICY
from providers.wire import FailureKind, ProviderFailure, Reply, Usage, replace


class Served:
    """What is common to a whole answer and a stream: who answered, and after which attempts."""

    __slots__ = ("attempts", "bill", "dropped", "offer", "plan")

    def __init__(self, plan: Plan, bill: Bill, attempts: list[Attempt], offer: Offer, dropped: tuple[str, ...]) -> None:
        self.plan = plan
        self.bill = bill
        self.attempts = attempts
        self.offer = offer
        self.dropped = dropped

    def headers(self) -> list[tuple[bytes, bytes]]:
        """`x-inference-provider` and its kin."""
        headers = [
            (b"x-inference-provider", self.offer.provider.name.encode()),
            (b"x-gateway-attempts", attempts_header(self.attempts).encode()),
        ]
        if self.dropped:
            headers.append((b"x-gateway-dropped", ", ".join(self.dropped).encode()))
        if self.bill.max_tokens_set is not None:
            headers.append((b"x-gateway-max-tokens", b"%d; reason=budget" % self.bill.max_tokens_set))
        headers.extend((name.encode(), value.encode()) for name, value in self.bill.limit_headers.items())
        return headers


class Completed(Served):
    __slots__ = ("reply",)

    def __init__(self, plan: Plan, bill: Bill, attempts: list[Attempt], answer: Answer) -> None:
        super().__init__(plan, bill, attempts, answer.offer, answer.dropped)
        self.reply: Reply = answer.reply


class Streamed(Served):
    """A live stream and its bill. Whoever relays it calls `settle` exactly before the last byte, or when it broke."""

    __slots__ = ("_book", "_started_s", "continuation", "live", "sent_chars", "settled")

    def __init__(
        self, plan: Plan, bill: Bill, attempts: list[Attempt], live: LiveStream, book: HealthBook, started_s: float
    ) -> None:
        super().__init__(plan, bill, attempts, live.offer, live.dropped)
        self.live = live
        self.settled = False
        self.sent_chars = 0
        """Of the attempt under way."""
        self.continuation: Continuation | None = None
        """Through which all that is sent must pass, where the stream may be gone on from."""
        self._book = book
        self._started_s = started_s

    def settle(self, *, text_chars: int, broken: str | None = None) -> None:
        """Writes what the stream cost, once. `text_chars` is what the caller was sent of the attempt under way;
        `broken` says why it did not end. Raises LedgerUnavailable where it cannot be written.
        """
        if not self.settled:
            self._settle(text_chars, broken)

    def broke(self, failure: ProviderFailure) -> None:
        """The attempt that was answering broke off: so it is told from now on."""
        place = max(i for i, one in enumerate(self.attempts) if one.failure is None)
        self.attempts[place] = replace(self.attempts[place], failure=failure.kind.value, reason=failure.message)

    @property
    def left_s(self) -> float:
        """How much longer it may take: its provider's time or, where others may go on, the request's."""
        if self.continuation is None:
            return self.live.left_s
        return max(0.0, self.continuation.deadline_s - time.monotonic())

    async def go_on(self, broken: str) -> LiveStream | None:
        """The stream of somebody who goes on from what was sent of one that broke; None where nobody can. `broken` as
        for `settle`. Raises ClientGone."""
        continuation = self.continuation
        text = None if continuation is None else continuation.text()
        if continuation is None or not text:
            return None
        booked = self._settle(self.sent_chars, broken, to_go_on=True)
        self.live.close()
        if not continuation.broke(booked):
            return None
        self._started_s = time.monotonic()
        try:
            live = await continuation.resume(text)
        except GatewayError:
            return None
        except BaseException:
            book_left(self.bill, self._started_s, text_chars=0)
            raise
        self.live, self.offer, self.dropped = live, live.offer, live.dropped
        self.sent_chars, self.settled = 0, False
        return live

    def _settle(self, text_chars: int, broken: str | None, *, to_go_on: bool = False) -> Usage:
        self.settled = True
        reader = self.live.reader
        now_s = time.monotonic()
        duration_ms = int((now_s - self._started_s) * 1000)
        # Usage that came while the answer was not yet over counts only a part of it.
        usage = reader.usage if broken is None or reader.finished else None
        self._tell_health(usage, text_chars, broken, now_s)
        return self.bill.won(
            usage=usage,
            text_chars=text_chars,
            upstream_id=reader.upstream_id,
            reported_model=reader.reported_model,
            duration_ms=duration_ms,
            first_content_ms=int(self.live.first_content_ms or 0),
            broken=broken,
            dropped=self.dropped,
            to_go_on=to_go_on,
        )

    def _tell_health(self, usage: Usage | None, text_chars: int, broken: str | None, now_s: float) -> None:
        if broken == CLIENT_GONE:
            self._book.abandon(self.offer)
        elif broken is not None:
            self._book.fail(self.offer, now_s, blames=POLICY[FailureKind(broken)].blames)
        else:
            live = self.live
            self._book.succeed(
                self.offer,
                now_s,
                first_content_ms=live.first_content_ms,
                tokens=usage.completion_tokens if usage is not None else text_chars // 4,
                took_s=now_s - live.started_s,
            )


def book_left(bill: Bill, started_s: float, *, text_chars: int) -> None:
    """The caller left an attempt of which nothing was sent to it. Its provider is at work, and bills the prompt and
    what it has written (`text_chars`). What cannot be written now is left to `close`."""
    if not bill.is_answering:
        return
    with suppress(LedgerUnavailable):
        bill.won(
            usage=None,
            text_chars=text_chars,
            upstream_id=None,
            reported_model=None,
            duration_ms=int((time.monotonic() - started_s) * 1000),
            first_content_ms=None,
            broken=CLIENT_GONE,
            nothing_sent=True,
        )
