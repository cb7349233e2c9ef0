"""The story of a request: plan, open the bill, ask until somebody answers, and hand the answer over.

`complete` and `stream` are the whole of it; they know no HTTP. What is charged is written by the bill: for a whole
answer here, before it is handed over; for a stream by whoever relays it, with `Streamed.settle`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from zoneinfo import ZoneInfo

from gateway.ask import Ask
from gateway.config.catalog import Catalog, Offer
from gateway.continuation import Continuation, can_go_on, may_go_on
from gateway.errors import Forbidden, GatewayError
from gateway.exchange import Answer, Deadline, Exchange, LiveStream
from gateway.failover import TIMER_S, Begun, ClientGone, OnBarred, Walk, attempts_header, begin_first
from gateway.metering import Bill, Meter
from gateway.metrics import Metrics
from gateway.opening import Opening
from gateway.places import Caller, Guest, Places
from gateway.records import Attempt, attempt_id
from gateway.routing.health import HealthBook
from gateway.routing.naming import resolve
from gateway.routing.offerings import Offerings
from gateway.routing.plan import Plan, make_plan, refusal
from gateway.routing.policy import TIMED_OUT
from gateway.routing.retry_budget import RetryBudget
from gateway.served import Completed, Streamed, book_left
from gateway.tenants import Principal
from gateway.whole import KeptBack
from providers.wire import (
    ChatRequest,
    ProviderFailure,
    Reply,
    Usage,
    Value,
    decode_json,
    encode_json,
    replace,
)

AttemptSeen = Callable[[str, Attempt], None]
"""Told of every attempt with the provider's name."""


class Call(Value, frozen=True):
    """One request as the web side hands it over."""

    inference_id: str
    request_id: str
    """The caller's label, or the inference id."""
    ask: Ask
    principal: Principal
    caller: Caller
    arrived_s: float
    """When all of it was here, monotonic seconds: its deadline counts from then."""
    whole: bool = False
    """A stream is kept back until its provider has finished it."""
    goes_on: bool = False
    """A stream that breaks is gone on from by another provider, where one can."""


class Service:
    """Joins catalog, routing, metering and exchange. The catalog is one reference, swapped by `use_catalog`."""

    def __init__(
        self,
        catalog: Catalog,
        meter: Meter,
        exchange: Exchange,
        book: HealthBook,
        *,
        on_attempt: AttemptSeen,
        on_barred: OnBarred,
        metrics: Metrics,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.meter = meter
        self.book = book
        self.retry_budget = RetryBudget(catalog.routing.retry_budget_percent)
        self.places = Places(self.book, metrics)
        self._exchange = exchange
        self._on_attempt = on_attempt
        self._on_barred = on_barred
        self._draw = draw
        self._take(catalog)

    def use_catalog(self, catalog: Catalog) -> None:
        """From the next request on; those under way keep the old table."""
        self._take(catalog)
        self.book.reloaded(time.monotonic())

    def _take(self, catalog: Catalog) -> None:
        self.catalog = catalog
        offers = (offer for model in catalog.models.values() for offer in model.offers)
        self.book.use_table(catalog.routing.breaker, offers)
        self._offerings = Offerings(catalog)
        self.retry_budget.percent = catalog.routing.retry_budget_percent
        self.places.use_catalog(catalog)
        self._zone = ZoneInfo(catalog.timezone)
        self._day = ("", 0.0)

    def plan(self, ask: Ask, principal: Principal) -> Plan:
        """Where the request would go. Raises NotFound and Forbidden; an empty plan is returned as it is."""
        catalog = self.catalog
        resolved = resolve(ask, catalog)
        if not principal.may_use_model(resolved.model.id):
            raise Forbidden(f"This key may not use the model {resolved.model.id}.", param="model")
        now_s = time.monotonic()
        book = self.book
        return make_plan(
            ask,
            resolved,
            self._offerings,
            principal,
            lambda offer: book.look(offer, now_s),
            day=self._today(),
            draw=self._draw(),
        )

    async def wait_for_place(self, call: Call) -> None:
        """Where `places` has none now. Raises Overloaded, and what a caller raises who leaves."""
        await self.places.enter(self._guest(call))

    async def complete(self, call: Call) -> Completed:
        """A whole answer, its charge in the journal. Raises GatewayError and ClientGone."""
        plan, request, bill, walk = await self._open(call)

        async def once(offer: Offer) -> Answer:
            number = bill.sent(offer)
            return await self._exchange.send(
                offer, request, attempt_id(call.inference_id, number), _deadline(walk), bill.head
            )

        failed = True
        try:
            answer = await walk.first_success(once)
            attempt = walk.attempts[-1]
            self._on_attempt(attempt.provider, attempt)
            reply = answer.reply
            self.book.succeed(
                answer.offer,
                time.monotonic(),
                tokens=reply.usage.completion_tokens if reply.usage is not None else 0,
                took_s=attempt.duration_ms / 1000,
            )
            booked = bill.won(
                usage=reply.usage,
                text_chars=reply.text_chars,
                upstream_id=reply.upstream_id,
                reported_model=reply.reported_model,
                duration_ms=attempt.duration_ms,
                first_content_ms=attempt.duration_ms,
                dropped=answer.dropped,
            )
            if reply.usage is None:
                answer.reply = _with_usage(reply, booked)
            failed = False
        except GatewayError as error:
            _name_attempts(error, walk)
            bill.waive()
            raise
        finally:
            await bill.close(failed=failed)
        return Completed(plan, bill, walk.attempts, answer)

    async def stream(self, call: Call) -> Streamed:
        """A live stream with its first content in hand; or all of it. Raises GatewayError and ClientGone."""
        plan, request, bill, walk = await self._open(call)
        kept = KeptBack()

        async def once(offer: Offer) -> LiveStream:
            kept.text_chars = 0
            number = bill.sent(offer)
            live = await self._exchange.open_stream(
                offer, request, attempt_id(call.inference_id, number), _deadline(walk), bill.head
            )
            walk.answering(offer)
            if call.whole:
                await kept.fill(live)
            return live

        started_s = time.monotonic()
        try:
            live = await walk.first_success(once)
        except BaseException as error:
            if isinstance(error, GatewayError):
                _name_attempts(error, walk)
            elif await call.caller.gone():
                book_left(bill, started_s, text_chars=kept.text_chars)
            await bill.close(failed=True)
            raise
        self._on_attempt(live.offer.provider.name, walk.attempts[-1])
        streamed = Streamed(plan, bill, walk.attempts, live, self.book, started_s)
        if call.goes_on and not call.whole and may_go_on(request):
            streamed.continuation = self._continuation(call, request, bill, walk)
        return streamed

    def _continuation(self, call: Call, request: ChatRequest, bill: Bill, walk: Walk) -> Continuation:
        """How a stream is gone on from, should it break."""

        async def resume(ask_on: Callable[[Offer], ChatRequest]) -> LiveStream:
            async def once(offer: Offer) -> LiveStream:
                number = bill.sent(offer, goes_on=True)
                live = await self._exchange.open_stream(
                    offer, ask_on(offer), attempt_id(call.inference_id, number), _deadline(walk), bill.head
                )
                walk.answering(offer)
                return live

            live = await walk.go_on(once, can_go_on)
            self._on_attempt(live.offer.provider.name, walk.attempts[-1])
            return live

        return Continuation(request, resume, walk.deadline_s)

    async def _open(self, call: Call) -> tuple[Plan, ChatRequest, Bill, Walk]:
        ask = call.ask
        guest = self._guest(call)
        plan, entered = await self._enter(call, guest)
        catalog = self.catalog
        routing = catalog.routing
        try:
            bill = await self.meter.open(_opening(call, plan, catalog))
        except BaseException:
            self.book.abandon(entered.candidate.offer, probe=entered.probe)
            raise
        request = ask.request
        if request.hub_model != plan.hub_model:
            request = replace(request, hub_model=plan.hub_model)
        if bill.max_tokens_set is not None:
            request = replace(request, body={**request.body, "max_tokens": bill.max_tokens_set})

        def on_failure(offer: Offer, attempt: Attempt, failure: ProviderFailure) -> None:
            bill.failed(
                failure,
                # A 200 that holds an error, or nothing, is billed by nobody; one that fell silent was at work.
                answered_200=attempt.status == 200
                and (failure.usage is not None or failure.text_chars > 0 or failure.kind in TIMED_OUT),
                text_chars=failure.text_chars,
                duration_ms=attempt.duration_ms,
            )
            self._on_attempt(attempt.provider, attempt)

        walk = Walk(
            plan=plan,
            entered=entered,
            routing=routing,
            book=self.book,
            retry_budget=self.retry_budget,
            deadline_s=guest.deadline_s,
            on_failure=on_failure,
            on_barred=self._on_barred,
            gone=call.caller.gone,
            wait_for_room=partial(self.places.room, guest),
        )
        return plan, request, bill, walk

    def _guest(self, call: Call) -> Guest:
        return Guest(call.principal.billed.id, call.caller, call.arrived_s + self.catalog.routing.deadline_s)

    async def _enter(self, call: Call, guest: Guest) -> tuple[Plan, Begun]:
        """The plan, and the first of its candidates that has room, whose attempt is begun. Raises a plan's refusal,
        Overloaded, and what a caller raises who leaves."""
        plan = self.plan(call.ask, call.principal)
        entered = begin_first(plan.candidates, self.book, time.monotonic())
        while entered is None:
            if plan.candidates:
                plan, entered = await self._plan_with_room(call, guest, plan)
            else:
                plan = await self._plan_after_silence(call, plan)
                entered = begin_first(plan.candidates, self.book, time.monotonic())
        return plan, entered

    async def _plan_with_room(self, call: Call, guest: Guest, full: Plan) -> tuple[Plan, Begun | None]:
        """The plan once somebody of a full one has room: made anew, since what it saw is old by then."""
        name = await self.places.room(guest, [candidate.offer.provider.name for candidate in full.candidates])
        self.book.free_room(name)
        try:
            plan = self.plan(call.ask, call.principal)
            return plan, begin_first(plan.candidates, self.book, time.monotonic())
        finally:
            self.places.pass_on(name)  # whatever of it was not taken

    async def _plan_after_silence(self, call: Call, plan: Plan) -> Plan:
        """The plan once the first provider may be asked again, where all asked for silence that is short enough to be
        waited out. Raises the empty plan's refusal, and ClientGone."""
        silence_s = plan.silence_s
        if silence_s is None or silence_s > self.catalog.routing.retry_after_wait_s:
            raise self._refused(call, plan)
        await asyncio.sleep(silence_s + TIMER_S)
        if await call.caller.gone():
            raise ClientGone
        plan = self.plan(call.ask, call.principal)
        if not plan.candidates:
            raise self._refused(call, plan)
        return plan

    def _refused(self, call: Call, plan: Plan) -> GatewayError:
        """Why nobody can be asked, for the caller, and in the journal for whoever asks for the request's story."""
        error = refusal(plan)
        self.meter.refuse(_opening(call, plan, self.catalog), error)
        return error

    def _today(self) -> str:
        """ISO day in the table's time zone; looked at once a minute, as it is asked for by every request."""
        day, until_s = self._day
        now_s = time.time()
        if now_s >= until_s:
            day = datetime.fromtimestamp(now_s, self._zone).date().isoformat()
            self._day = (day, now_s - now_s % 60 + 60)
        return day


def _deadline(walk: Walk) -> Deadline:
    return Deadline(walk.deadline_s, walk.routing.deadline_s)


def _opening(call: Call, plan: Plan, catalog: Catalog) -> Opening:
    ask = call.ask
    return Opening(
        inference_id=call.inference_id,
        principal=call.principal,
        hub_model=plan.hub_model,
        request_id=call.request_id,
        tags=ask.tags,
        stream=ask.request.stream,
        prompt_bytes=ask.prompt_bytes,
        messages=ask.messages,
        images=ask.images,
        choices=ask.request.choices,
        max_tokens=ask.max_tokens,
        offers=[candidate.offer for candidate in plan.candidates],
        deadline_s=catalog.routing.deadline_s,
        generation=catalog.generation,
        decision=plan.decision(),
        route=plan.route,
    )


def _with_usage(reply: Reply, booked: Usage) -> Reply:
    """Clients rely on a whole answer to hold usage: where the provider gave none, what we booked."""
    body = {**decode_json(reply.body), "usage": booked.as_openai()}
    return replace(reply, body=encode_json(body))


def _name_attempts(error: GatewayError, walk: Walk) -> None:
    if walk.attempts:
        error.headers = (*error.headers, ("x-gateway-attempts", attempts_header(walk.attempts)))
        error.headers = (*error.headers, ("x-inference-provider", walk.attempts[-1].provider))


__all__ = ["Call", "ClientGone", "Service"]
