"""POST /v1/chat/completions: a plain ASGI endpoint, since it is the hot one.

Reads the request, hands it to the service, writes the answer. The order at a stream's end is what billing rests on:
what the stream cost is in the journal before its last byte goes out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from gateway.ask import Ask, parse_tags
from gateway.dialects import chat
from gateway.errors import GatewayError, InternalError, LedgerUnavailable, ShuttingDown
from gateway.idempotency import KeptAnswer, KeptAnswers, claim_of
from gateway.log import Log
from gateway.metrics import Metrics
from gateway.outcomes import CLIENT_GONE
from gateway.routing.naming import pin
from gateway.served import Completed, Served, Streamed
from gateway.service import Call, ClientGone, Service
from gateway.store.base import Claim
from gateway.tenants import Principal
from gateway.web.auth import Authenticator
from gateway.web.cors import Cors
from gateway.web.delivery import goes_on, is_whole
from gateway.web.keep_alive import KeepAlive
from gateway.web.relay import relay
from gateway.web.request import (
    DIRECT,
    CallerWatch,
    Direct,
    Disconnected,
    HeaderMap,
    Receive,
    Scope,
    Send,
    read_body,
    request_label,
)
from gateway.web.responses import (
    EVENT_STREAM,
    JSON,
    RawHeaders,
    error_body,
    error_headers,
    event,
)
from providers.wire import replace

CLIENT_CLOSED: Final = 499
"""The status in the log where there was nobody to answer."""
ROUTE: Final = "chat"
IDEMPOTENCY_KEY: Final = b"idempotency-key"
REPLAYED: Final = (b"idempotent-replayed", b"true")
"""Stands with an answer that was given before."""
UNREAD_S: Final = 0.5
"""The deadline is the provider's to keep; a caller who does not read gets this much longer."""


class ChatEndpoint:
    """One per worker; holds what it calls, nothing of a request."""

    def __init__(
        self,
        service: Service,
        authenticator: Authenticator,
        cors: Cors,
        log: Log,
        metrics: Metrics,
        kept: KeptAnswers,
        *,
        new_id: Callable[[], str],
    ) -> None:
        self._service = service
        self._auth = authenticator
        self._cors = cors
        self._log = log
        self._metrics = metrics
        self._kept = kept
        self._new_id = new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send, pinned: str | None = None) -> None:
        """`pinned` is the provider of a provider's own route."""
        exchange = _Exchange(self, scope, receive, send, pinned)
        if not self._service.places.is_full or not exchange.is_refused_at_once():
            await exchange.run()

    async def refuse(self, scope: Scope, receive: Receive, send: Send, error: GatewayError) -> None:
        """Answers with an error that was found before the request was looked at."""
        await _Exchange(self, scope, receive, send, None)._send_error(error)


class _Exchange:
    """One request and its answer."""

    __slots__ = (
        "_ask",
        "_base",
        "_direct",
        "_endpoint",
        "_headers",
        "_id",
        "_label",
        "_pinned",
        "_placed",
        "_principal",
        "_receive",
        "_replayed",
        "_send",
        "_served",
        "_started_s",
        "_status",
        "_told",
    )

    def __init__(self, endpoint: ChatEndpoint, scope: Scope, receive: Receive, send: Send, pinned: str | None) -> None:
        self._endpoint = endpoint
        self._pinned = pinned
        self._receive = receive
        self._direct: Direct | None = scope.get(DIRECT)
        self._send = send
        self._started_s = time.monotonic()
        self._headers: HeaderMap = dict(scope["headers"])
        self._id = endpoint._new_id()
        self._label = request_label(self._headers, self._id)
        self._base: RawHeaders = [
            (b"inference-id", self._id.encode()),
            (b"x-request-id", self._label.encode()),
            *endpoint._cors.headers(self._headers.get(b"origin")),
        ]
        self._principal: Principal | None = None
        self._ask: Ask | None = None
        self._served: Served | None = None
        self._placed = False
        self._replayed = False
        self._status = 0
        self._told: str | None = None

    def is_refused_at_once(self) -> bool:
        """Whether the answer is that too many wait already, and was given, before anything was done for the request but
        to know its team: what a flood is made of has to cost little. Otherwise it takes the usual way, to the same end.
        """
        endpoint = self._endpoint
        principal = endpoint._auth.principal_cached(self._headers)
        if principal is None or self._direct is None:
            return False
        refusal = endpoint._service.places.refusal(principal.billed.id)
        if refusal is None or "inference" not in principal.key.scopes:
            return False
        headers = [*self._base, *error_headers(refusal)]
        if not self._direct.whole(refusal.status, headers, error_body(refusal)):
            return False
        endpoint._metrics.count_request(ROUTE, refusal.status, time.monotonic() - self._started_s)
        endpoint._log.tally("overloaded", principal.billed.name)
        return True

    async def run(self) -> None:
        endpoint = self._endpoint
        endpoint._metrics.in_flight.inc()
        try:
            await self._answer()
        except GatewayError as error:
            await self._tell(error)
        except (ClientGone, Disconnected):
            self._status = CLIENT_CLOSED
        except asyncio.CancelledError:
            # Nobody but a shutdown whose patience is over cancels what it did not begin: that ends it, in order.
            await self._tell(ShuttingDown("The gateway is shutting down; ask again.", retry_after_s=1.0))
        except Exception as error:  # the one place where an unforeseen fault becomes an answer
            endpoint._log.error(
                "unforeseen", inference_id=self._id, fault=f"{type(error).__name__}: {error}", where=_where(error)
            )
            await self._tell(InternalError(f"Something went wrong here; the request's id is {self._id}."))
        finally:
            if self._placed:
                endpoint._service.places.leave()
            endpoint._metrics.in_flight.dec()
            self._account()

    async def _answer(self) -> None:
        headers, endpoint = self._headers, self._endpoint
        principal = await endpoint._auth.principal(headers)
        endpoint._auth.require_scope(principal, "inference")
        self._principal = principal
        raw = await read_body(headers, self._receive)
        ask = chat.read(raw)
        if self._pinned is not None:
            ask = pin(ask, self._pinned, endpoint._service.catalog)
        tags = headers.get(b"x-gateway-tags")
        if tags is not None:
            ask = replace(ask, tags=parse_tags(tags))
        self._ask = ask
        watch = CallerWatch(self._receive)
        routing = endpoint._service.catalog.routing
        whole, on = is_whole(headers, routing), goes_on(headers, routing)
        call = Call(self._id, self._label, ask, principal, watch, time.monotonic(), whole, on)
        if ask.request.stream:
            await self._stream(call, watch)
        elif IDEMPOTENCY_KEY in headers:
            await self._once(call, headers[IDEMPOTENCY_KEY], raw)
        else:
            await self._plain(call)

    async def _enter(self, call: Call) -> None:
        """Takes a place in the worker, which `run` gives back."""
        service = self._endpoint._service
        if not service.places.enter_now():
            await service.wait_for_place(call)
        self._placed = True

    async def _plain(self, call: Call, claim: Claim | None = None) -> None:
        """`claim` is that of the request's `Idempotency-Key`, where it has one."""
        await self._enter(call)
        served = await self._endpoint._service.complete(call)
        self._served = served
        waiting = served.bill.synced()
        if waiting is not None:
            await waiting
        if claim is not None:
            await self._keep(claim, served)
        self._status = 200
        await self._send_whole(200, [JSON, *self._base, *served.headers()], served.reply.body)

    async def _send_whole(self, status: int, headers: RawHeaders, body: bytes) -> None:
        if self._direct is None or not self._direct.whole(status, headers, body):
            headers.append((b"content-length", b"%d" % len(body)))
            await self._send({"type": "http.response.start", "status": status, "headers": headers})
            await self._send({"type": "http.response.body", "body": body})

    async def _once(self, call: Call, key: bytes, raw: bytes) -> None:
        """A whole answer under an `Idempotency-Key`: a new one, or the one that was given before."""
        kept = self._endpoint._kept
        deadline_s = self._endpoint._service.catalog.routing.deadline_s
        claim = claim_of(key, call.principal, raw, pinned=self._pinned, inference_id=self._id, deadline_s=deadline_s)
        before = await kept.claim(claim)
        if before is not None:
            await self._replay(before)
            return
        try:
            await self._plain(call, claim)
        except (GatewayError, ClientGone, Disconnected):
            # Nothing was charged. How any other fault ended the journal knows.
            await kept.drop(claim)
            raise

    async def _keep(self, claim: Claim, served: Completed) -> None:
        """For whoever asks the same again; without what is told of limits, which is of this moment."""
        limits = served.bill.limit_headers
        lasting = [header for header in served.headers() if header[0].decode() not in limits]
        await self._endpoint._kept.keep(claim, lasting, served.reply.body)

    async def _replay(self, before: KeptAnswer) -> None:
        """The request of which this is the story is the first one; this one has none."""
        label = before.inference_id if self._label == self._id else self._label
        self._id, self._label, self._replayed = before.inference_id, label, True
        ids = [(b"inference-id", self._id.encode()), (b"x-request-id", label.encode())]
        length = (b"content-length", b"%d" % len(before.body))
        headers = [JSON, length, *ids, *self._base[len(ids) :], *before.headers, REPLAYED]
        self._status = 200
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": before.body})

    async def _stream(self, call: Call, watch: CallerWatch) -> None:
        service = self._endpoint._service
        task = asyncio.current_task()
        assert task is not None
        streamed: Streamed | None = None

        def hang_up() -> None:
            # Once the provider has finished it only owes us the usage: the relay comes to its end by itself, soon.
            if streamed is None or not streamed.live.reader.finished:
                task.cancel()

        watch.when_left(hang_up)
        head: RawHeaders = [*EVENT_STREAM, *self._base]
        keep_alive = KeepAlive(self._send, head, service.catalog.routing.keep_alive_s)
        try:
            try:
                await self._enter(call)
                streamed = await service.stream(call)
            finally:
                if await keep_alive.stop():
                    self._status = 200
            self._served = streamed
            if not self._status:
                head = [*head, *streamed.headers()]
                await self._send({"type": "http.response.start", "status": 200, "headers": head})
                self._status = 200
            async with asyncio.timeout(streamed.left_s + UNREAD_S):
                # In a task of its own: each chunk then wakes six coroutines and not twelve, which are cold in any
                # cache when hundreds of streams take turns.
                await asyncio.ensure_future(self._relay(streamed, watch, wants_usage=call.ask.request.wants_usage))
            await streamed.live.finish_connection()
        except asyncio.CancelledError:
            if not watch.left:
                raise
            task.uncancel()
            self._status = CLIENT_CLOSED
        except TimeoutError:
            # A provider that is too slow is a ProviderFailure: it is the caller who did not read until the deadline.
            self._status = CLIENT_CLOSED
        finally:
            watch.stop()
            keep_alive.cancel()
            if streamed is not None:
                await self._end(streamed)

    async def _relay(self, streamed: Streamed, watch: CallerWatch, *, wants_usage: bool) -> None:
        endpoint = self._endpoint
        error = await relay(streamed, self._send, self._direct, endpoint._metrics, wants_usage=wants_usage)
        if error is not None:
            await self._tell(error)
        self._all_sent(watch)

    def _all_sent(self, watch: CallerWatch) -> None:
        """Whoever goes from here on has got everything. Said in the same step of the loop as the last byte: the caller
        may hang up in the next."""
        if watch.left:
            self._status = CLIENT_CLOSED
        watch.stop()

    async def _end(self, streamed: Streamed) -> None:
        """However the stream ended: the provider is hung up on, and the bill is closed. Where it was not settled there
        is nobody to write to any more (the caller left, or a shutdown ran out of patience): charged is what was sent.
        """
        live = streamed.live
        try:
            if not streamed.settled:
                is_whole = live.reader.finished and live.reader.usage is not None
                streamed.settle(text_chars=streamed.sent_chars, broken=None if is_whole else CLIENT_GONE)
        except LedgerUnavailable:
            # It was logged where it happened, and `close` tries again.
            self._endpoint._log.warning("unwritten", inference_id=self._id)
        finally:
            live.close()
            await streamed.bill.close(failed=False)

    async def _tell(self, error: GatewayError) -> None:
        """The error as the answer; or, where a stream has begun, as its last event."""
        if self._status:
            self._told = error.code
            await self._send({"type": "http.response.body", "body": event(error_body(error))})
        else:
            await self._send_error(error)

    async def _send_error(self, error: GatewayError) -> None:
        self._status = error.status
        await self._send_whole(error.status, [*self._base, *error_headers(error)], error_body(error))

    def _account(self) -> None:
        """Metrics and the log line, after the last byte."""
        endpoint, served = self._endpoint, self._served
        seconds = time.monotonic() - self._started_s
        endpoint._metrics.count_request(ROUTE, self._status, seconds)
        fields: dict[str, Any] = {"id": self._id, "status": self._status, "ms": round(seconds * 1000, 1)}
        if self._label != self._id:
            fields["request_id"] = self._label
        if self._principal is not None:
            fields["team"] = self._principal.billed.name
            fields["key"] = self._principal.key.id
        if self._ask is not None:
            fields["model"] = self._ask.model
            fields["stream"] = self._ask.request.stream
        if served is not None:
            fields["provider"] = served.offer.provider.name
            fields["attempts"] = len(served.attempts)
        if self._replayed:
            fields["replayed"] = True
        if self._told is not None:
            fields["error"] = self._told
        endpoint._log.request(**fields)


def _where(error: BaseException) -> str:
    """File and line of the innermost frame; no values, which could be secrets."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "?"
