"""The bill of one request: what it may cost, what it did cost, exactly once, into the journal.

    open → intent, and for limited principals a hold    sent → before the first byte to a provider
    head, part → what was seen                          won or failed → the close of an attempt

Every append is a plain write on the event loop; nothing here waits for the store but admission, and the close of a
limited request for at most 25 ms.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec

from gateway.admission import Admissions, Granted, Wanted
from gateway.config.catalog import Offer
from gateway.errors import GatewayError, LedgerUnavailable
from gateway.journal.entries import Head, Intent, Part, Refused, Sent
from gateway.journal.writer import JournalFailed, JournalWriter
from gateway.opening import Opening
from gateway.outcomes import CLIENT_GONE, Outcome, answered, closed_entry, gave_up
from gateway.periods import Periods
from gateway.routing.pricing import Estimator, is_plausible, price_taken
from gateway.scopes import budgets_taken, scopes_of
from gateway.store.base import Store
from gateway.store.shipper import Shipper
from providers.wire import ProviderFailure, Usage

PART_S: Final = 2.0
PART_TOKENS: Final = 256
SETTLE_WAIT_S: Final = 0.025
LEDGER_RETRY_S: Final = 1.0

log = logging.getLogger("gateway.metering")


class Meter:
    """Opens bills. `timezone` and `max_tokens_default` follow the mapping table and may be set at a reload.
    `tell_unpriced` hears of tokens that no price is for: the provider, and their classes with counts."""

    def __init__(
        self,
        *,
        journal: JournalWriter,
        store: Store,
        shipper: Shipper,
        estimator: Estimator | None = None,
        timezone: str = "UTC",
        max_tokens_default: int = 8192,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        tell_unpriced: Callable[[str, Sequence[tuple[str, int]]], None] = lambda _provider, _classes: None,
    ) -> None:
        self.journal = journal
        self.shipper = shipper
        self.estimator = estimator or Estimator()
        self.timezone = timezone
        self.max_tokens_default = max_tokens_default
        self.tell_unpriced = tell_unpriced
        self.implausible_usages = 0
        self.unpriced_requests = 0
        self.journal_failures = 0
        self.admissions = Admissions(store, clock_ms)
        self._periods = Periods()
        self._unwritten: deque[tuple[Bill, bool]] = deque()
        self._clock_ms = clock_ms

    def now_ms(self) -> int:
        """Unix milliseconds by the store's clock."""
        return self._clock_ms() + self.admissions.clock_ahead_ms

    def write_later(self, bill: Bill, *, failed: bool) -> None:
        """A close that could not be written: tried again before the next request opens."""
        self._unwritten.append((bill, failed))

    def _write_unwritten(self) -> None:
        while self._unwritten:
            bill, failed = self._unwritten[0]
            bill.write_again(failed=failed)
            self._unwritten.popleft()

    async def open(self, opening: Opening) -> Bill:
        """The bill of a request that may now be sent. Raises BudgetExceeded, RateLimited or LedgerUnavailable."""
        if self._unwritten:
            self._write_unwritten()
        timezone = opening.principal.billed.timezone or self.timezone
        bill = Bill(self, opening, self._intent(opening, timezone))
        if opening.principal.is_limited:
            await bill.reserve(timezone)
        return bill

    def refuse(self, opening: Opening, error: GatewayError) -> None:
        """A request of which nobody can be asked: nothing is held or charged, but why it is can be read."""
        intent = self._intent(opening, opening.principal.billed.timezone or self.timezone)
        self.note(intent, Refused(opening.inference_id, error.status, error.code))

    def note(self, *entries: Intent | Refused | Head | Part) -> None:
        """Notes make a later estimate better, or tell a story; a request does not fail for want of one."""
        try:
            # Not with the room that is kept for closes, which no disk may be too full for.
            self.journal.append(*entries, opening=True)
        except JournalFailed:
            self.journal_failures += 1

    def _intent(self, opening: Opening, timezone: str) -> Intent:
        now_ms = self.now_ms()
        prompt_tokens = self.estimator.prompt_tokens(opening.hub_model, opening.prompt_bytes)
        return opening.intent(now_ms, self._periods.hour(now_ms, timezone), prompt_tokens)


class Bill:
    """One request's. Calls come in the order open, (sent, head, part…, failed | won)…, close."""

    __slots__ = (
        "_before",
        "_charged_nano_usd",
        "_closed_seq",
        "_context_length",
        "_counted",
        "_granted",
        "_intent",
        "_intent_written",
        "_last_written",
        "_meter",
        "_opening",
        "_part_at_s",
        "_part_chars",
        "_pending",
        "_sent",
        "_status",
        "_upstream_id",
        "inference_id",
    )

    def __init__(self, meter: Meter, opening: Opening, intent: Intent) -> None:
        self.inference_id = opening.inference_id
        self._meter = meter
        self._opening = opening
        self._intent = intent
        self._intent_written = False
        self._counted = False
        self._before = 0  # tokens of the text that the attempt under way goes on from
        self._charged_nano_usd = 0
        self._granted: Granted | None = None
        self._sent: Sent | None = None
        self._context_length: int | None = None
        self._pending: Outcome | None = None
        self._status: int | None = None
        self._upstream_id: str | None = None
        self._part_chars = 0
        self._part_at_s = 0.0
        self._last_written = False
        self._closed_seq = 0

    @property
    def max_tokens_set(self) -> int | None:
        """The output cap that we chose because of a budget, to be sent upstream and told; None where the caller chose
        or nothing limits it."""
        return None if self._granted is None else self._granted.max_tokens_set

    @property
    def limit_headers(self) -> Mapping[str, str]:
        return {} if self._granted is None else self._granted.headers

    @property
    def is_answering(self) -> bool:
        """The attempt under way has got a 200, and is not closed."""
        return self._status == 200 and self._pending is None

    async def reserve(self, timezone: str) -> None:
        """Asks the store for room. The intent is in the journal first, so that a hold always has an owner."""
        admissions, opening = self._meter.admissions, self._opening
        scopes = scopes_of(opening.principal, self._intent.day, timezone)
        intent = self._intent = self._intent.under(budgets_taken(scopes))
        wanted = Wanted(
            inference_id=self.inference_id,
            principal=opening.principal,
            scopes=scopes,
            day=intent.day,
            prompt_bytes=opening.prompt_bytes,
            prompt_tokens=intent.prompt_tokens,
            messages=opening.messages,
            images=opening.images,
            choices=opening.choices,
            max_tokens=opening.max_tokens,
            max_tokens_default=self._meter.max_tokens_default,
            offers=opening.offers,
            deadline_s=opening.deadline_s,
        )
        self._append_opening(intent)
        self._intent_written = True
        try:
            self._granted = await admissions.ask(wanted)
        except BaseException as error:
            self._refused(error, unknown=not admissions.is_refusal(error))
            raise
        # What is charged is never above the hold, so whoever closes this bill must know it.
        if self._granted.charge_max_nano_usd is not None or self._granted.away:
            self._intent = intent.holding(self._granted.charge_max_nano_usd, away=self._granted.away)
            self._intent_written = False

    def sent(self, offer: Offer, *, goes_on: bool = False) -> int:
        """Before the first byte to a provider: writes that it happens, and returns the attempt's number (1, 2, …).
        `goes_on`: from an answer that broke, whose prompt is charged.

        Raises LedgerUnavailable where it cannot be written; then nothing may be sent.
        """
        number = 1 if self._sent is None else self._sent.number + 1
        sent = Sent(
            self.inference_id,
            number,
            offer.provider.name,
            offer.provider_model,
            self._meter.now_ms(),
            price_taken(offer, self._intent.day),
            charged_for="completion" if goes_on else "all",
            charged_nano_usd=self._charged_nano_usd,
        )
        if self._pending is not None:
            self._close_attempt(self._pending, sent, last=False, failed=False)
        elif self._intent_written:
            self._append_opening(sent)
        else:
            self._append_opening(self._intent, sent)
            self._intent_written = True
        self._sent = sent
        self._context_length = offer.context_length
        self._pending = None
        self._status = self._upstream_id = None
        self._part_chars = 0
        return number

    def head(self, status: int, upstream_id: str | None = None) -> None:
        """The provider's status has come."""
        sent = self._current()
        self._status, self._upstream_id = status, upstream_id
        self._part_at_s = time.monotonic()
        self._meter.note(Head(self.inference_id, sent.number, status, upstream_id))

    def part(self, text_chars: int) -> None:
        """How much text the stream has given so far. Written with the first of it, which is when the answer becomes the
        caller's, and then every 2 s or 256 tokens."""
        more_chars = text_chars - self._part_chars
        if not more_chars or (self._part_chars and more_chars < PART_TOKENS * 4 and not self._is_part_due()):
            return
        sent = self._current()
        self._part_chars, self._part_at_s = text_chars, time.monotonic()
        tokens = self._meter.estimator.completion_tokens(self._intent.hub_model, text_chars)
        self._meter.note(Part(self.inference_id, sent.number, tokens))

    def _is_part_due(self) -> bool:
        return time.monotonic() - self._part_at_s >= PART_S

    def failed(self, failure: ProviderFailure, *, answered_200: bool, text_chars: int, duration_ms: int) -> None:
        """The attempt did not answer. Its entry waits until it is known whether it is the last."""
        sent = self._current()
        if failure.usage is not None and not self._is_plausible(failure.usage):
            failure.usage = None
            self._meter.implausible_usages += 1
        self._pending = gave_up(
            sent.price,
            failure,
            answered_200=answered_200,
            upstream_id=self._upstream_id,
            estimate=self._estimate(max(text_chars, failure.text_chars)),
            duration_ms=duration_ms,
        )

    def won(
        self,
        *,
        usage: Usage | None,
        text_chars: int,
        upstream_id: str | None,
        reported_model: str | None,
        duration_ms: int,
        first_content_ms: int | None,
        status: int = 200,
        broken: str | None = None,
        dropped: tuple[str, ...] = (),
        nothing_sent: bool = False,
        to_go_on: bool = False,
    ) -> Usage:
        """The attempt answered, wholly or (`broken`: the failure's kind, or `client_gone`) in part. When this returns,
        with what was booked, the entry is in the journal's file; but where somebody is `to_go_on` from it, it waits for
        who that is. With `nothing_sent` the caller got nothing of the text. Raises LedgerUnavailable where it cannot be
        written; `close` tries again.
        """
        meter, opening = self._meter, self._opening
        sent = self._current()
        if usage is not None and not self._is_plausible(usage):
            log.warning("implausible usage of %s from %s: %s", opening.hub_model, sent.provider, usage)
            meter.implausible_usages += 1
            usage = None
        if usage is not None and broken is None and not opening.images and sent.charged_for == "all":
            meter.estimator.learn(
                opening.hub_model, prompt_bytes=opening.prompt_bytes, text_chars=text_chars, usage=usage
            )
        booked = usage or self._estimate(text_chars)
        if booked.unpriced:
            meter.tell_unpriced(sent.provider, booked.unpriced)
        self._pending = answered(
            self._intent,
            sent.price,
            booked,
            estimated=usage is None,
            status=status,
            failure=broken,
            upstream_id=upstream_id or self._upstream_id,
            reported_model=reported_model,
            duration_ms=duration_ms,
            first_content_ms=first_content_ms,
            dropped=dropped,
            charged_for="prompt" if nothing_sent and sent.charged_for == "all" else sent.charged_for,
            charged_nano_usd=sent.charged_nano_usd,
        )
        if sent.price is None:
            meter.unpriced_requests += 1
        if to_go_on:
            self._charged_nano_usd += self._pending.charge_nano_usd or 0
            self._before += booked.completion_tokens
        else:
            self._close_last(failed=broken not in (None, CLIENT_GONE))
        return booked

    def waive(self) -> None:
        """The caller got an error instead of the answer: what is still to be written of it charges nothing."""
        if self._pending is not None and self._pending.answered and not self._last_written:
            self._pending = msgspec.structs.replace(
                self._pending, answered=False, charge_nano_usd=0, overrun_nano_usd=0, failure="ledger_unavailable"
            )

    async def close(self, *, failed: bool) -> None:
        """Ends the bill, whatever happened; may be called more than once, and never raises. For a limited principal it
        waits a little for the store, so that the next request does not meet this one's hold."""
        if not self._last_written:
            try:
                self._close_open(failed)
            except LedgerUnavailable:
                self._meter.write_later(self, failed=failed)
        if self._granted is None:
            return
        self._meter.admissions.forget(self._intent.team_id, self._intent.key_id, self.inference_id)
        if self._closed_seq:
            await self._meter.shipper.settled(
                self._meter.journal, self._intent.team_id, self._closed_seq, timeout_s=SETTLE_WAIT_S
            )

    def write_again(self, *, failed: bool) -> None:
        """Another try to write the close. Raises LedgerUnavailable."""
        if not self._last_written:
            self._close_open(failed)

    def synced(self) -> Awaitable[None] | None:
        """What the last byte must wait for, in the journal's `group` mode; None in all others."""
        return self._meter.journal.synced()

    def _close_open(self, failed: bool) -> None:
        if self._sent is None:
            if not self._intent_written:
                self._append_opening(self._intent)
                self._intent_written = True
            self._pending = Outcome("void")
        elif self._pending is None:
            # Sent, and given up without a word of how it went: as a dead worker's would be closed.
            self._pending = Outcome("use", unknown=True, status=self._status, upstream_id=self._upstream_id)
        self._close_last(failed=failed)

    def _close_last(self, *, failed: bool) -> None:
        if self._pending is None:
            raise RuntimeError("there is nothing to close")
        self._close_attempt(self._pending, None, last=True, failed=failed)
        self._last_written = True
        self._uncount()
        if self._granted is not None:
            # Now, and not when the caller has heard it all: what is closed must never be held again.
            charged = self._pending.charge_nano_usd or 0
            self._meter.admissions.forget(self._intent.team_id, self._intent.key_id, self.inference_id, charged)

    def _close_attempt(self, outcome: Outcome, following: Sent | None, *, last: bool, failed: bool) -> None:
        journal = self._meter.journal
        turn = journal.turn(self._intent.team_id)
        entry = closed_entry(self._intent, self._sent, outcome, turn, last=last, failed=failed)
        try:
            if following is None:
                journal.append_closed(entry)
            else:
                journal.append_closed(entry, following)
        except JournalFailed as error:
            raise self._journal_failed(error) from error
        self._closed_seq = entry.seq

    def _append_opening(self, *entries: Intent | Sent) -> None:
        try:
            self._meter.journal.append(*entries, opening=True)
        except JournalFailed as error:
            raise self._journal_failed(error) from error
        if not self._counted:
            self._counted = True
            self._meter.journal.requests_open += 1

    def _refused(self, error: BaseException, *, unknown: bool) -> None:
        """Nothing was admitted; or, where the store's answer is `unknown`, a hold may exist and must be ended."""
        try:
            if unknown:
                self._close_open(failed=True)
            else:
                told = (error.status, error.code) if isinstance(error, GatewayError) else (0, None)
                self._meter.journal.append(Refused(self.inference_id, *told))
                self._last_written = True
                self._uncount()
        except (JournalFailed, LedgerUnavailable):
            self._meter.journal_failures += 1

    def _uncount(self) -> None:
        if self._counted:
            self._counted = False
            self._meter.journal.requests_open -= 1

    def _current(self) -> Sent:
        if self._sent is None:
            raise RuntimeError("nothing was sent")
        return self._sent

    def _estimate(self, text_chars: int) -> Usage:
        tokens = self._meter.estimator.completion_tokens(self._intent.hub_model, text_chars)
        return Usage(self._intent.prompt_tokens + self._before, tokens)

    def _is_plausible(self, usage: Usage) -> bool:
        cap = self._opening.max_tokens or self.max_tokens_set
        cap_tokens = None if cap is None else cap * self._opening.choices
        return is_plausible(usage, cap_tokens=cap_tokens, context_length=self._context_length)

    def _journal_failed(self, error: JournalFailed) -> LedgerUnavailable:
        self._meter.journal_failures += 1
        return LedgerUnavailable(f"Usage cannot be recorded now: {error}.", retry_after_s=LEDGER_RETRY_S)
