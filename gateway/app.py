"""The one place where everything is built and wired, and the application that a worker serves.

All state that changes over time is made here: the store and its journal, the catalog (one reference, swapped), the
health book and retry budget inside the service, the pool of connections, the cache of keys, the metrics.
"""

from __future__ import annotations

import asyncio
import os
import random
import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from gateway.administration import Administration
from gateway.adoption import Adoption
from gateway.breaker_watch import BreakerWatch
from gateway.budget_warnings import BudgetWarnings
from gateway.config.catalog import Catalog, Offer
from gateway.config.hub import Measured
from gateway.config.mapping_faults import MappingFaults
from gateway.config.settings import Settings
from gateway.errors import GatewayError, InternalError, MethodNotAllowed, NotFound
from gateway.exchange import Exchange
from gateway.from_settings import kept_of, store_of
from gateway.health_beat import HealthBeat
from gateway.idempotency import KeptAnswers
from gateway.ids import InferenceIds, new_instance_id, new_team_id
from gateway.janitor import Janitor
from gateway.journal.local import LocalJournals
from gateway.journal.writer import JournalWriter
from gateway.journal_watch import JournalWatch
from gateway.log import Forward, Log
from gateway.metering import Meter
from gateway.metrics import Metrics
from gateway.organisation import OrganisationWatch
from gateway.presence import Presence
from gateway.records import Attempt
from gateway.reports import Reports
from gateway.retirement import Retirement
from gateway.rollbacks import Rollbacks
from gateway.routing.health import STAGGER_S_MAX, HealthBook
from gateway.service import Service
from gateway.store.base import Store, StoreAway, StoreUnfit
from gateway.store.shipper import Shipper
from gateway.table_watch import TableWatch
from gateway.tenant_watch import TenantWatch
from gateway.unpriced import UnpricedTokens
from gateway.upstream.client import Door, HttpxDoor, PoolDoor
from gateway.upstream.notify import Notifier
from gateway.upstream.pool import Pool
from gateway.web.admin import AdminServices, admin_routes
from gateway.web.auth import AdminGuard, Authenticator
from gateway.web.chat import ChatEndpoint
from gateway.web.console import console_routes
from gateway.web.cors import Cors
from gateway.web.models import ModelServices, model_routes
from gateway.web.ops import Readiness, metrics_route, probe_routes
from gateway.web.request import HeaderMap, Receive, Scope, Send
from gateway.web.responses import error_response
from gateway.web.team import team_routes
from providers.registry import ADAPTERS
from providers.wire import Headers, ProviderFailure

CHAT_PATH: Final = "/v1/chat/completions"
PINNED_END: Final = "/chat/completions"
SHIP_AT_EXIT_S: Final = 5.0
JOURNAL_FOLDER: Final = "journal"


class StartupFailed(Exception):
    """The worker cannot work with what it was given; the message says why."""


class Application:
    """An ASGI application: the hot route at once, all others by Starlette. Call `start` before it is served and `stop`
    after. `admin` is the application of the admin listener, where there is one."""

    def __init__(self, settings: Settings, table_in_force: Path | None = None) -> None:
        """`table_in_force` is where workers that serve together keep the mapping table that they last took."""
        self.settings = settings
        self._table_in_force = table_in_force
        self.readiness = Readiness()
        self._log = Log(settings.log_level)
        Forward(self._log).install()
        self._metrics = Metrics()
        self._store_answered = False
        self._cors = Cors(settings.cors_origins)

    async def start(self) -> None:
        """Builds all parts. Raises StartupFailed."""
        settings = self.settings
        try:
            self._watch = TableWatch(Path(settings.mappings), os.environ, ADAPTERS, in_force=self._table_in_force)
            catalog = self._watch.begin()
        except MappingFaults as faults:
            raise StartupFailed(str(faults)) from None
        if self._watch.fault is not None:
            self._reload_failed(self._watch.fault)
        self._store = await self._open_store()
        self._open_journal()
        self._meter = Meter(
            journal=self._journal,
            store=self._store,
            shipper=self._shipper,
            timezone=catalog.timezone,
            max_tokens_default=catalog.routing.max_tokens_default,
            tell_unpriced=UnpricedTokens(self._metrics).tell,
        )
        self._door = self._open_door()
        exchange = Exchange(self._door, on_headers=self._on_headers, on_skipped=self._metrics.count_skipped)
        self._book = HealthBook(catalog.routing.breaker, stagger_s=random.random() * STAGGER_S_MAX)  # noqa: S311
        self._service = Service(
            catalog,
            self._meter,
            exchange,
            self._book,
            on_attempt=self._on_attempt,
            on_barred=self._on_barred,
            metrics=self._metrics,
        )
        self._beat = HealthBeat(self._book, self._store.board(self._journal.instance))
        self._beat.start()
        self._authenticator = Authenticator(self._store)
        self._reports = Reports(
            self._store,
            lambda: self._service.catalog.timezone,
            LocalJournals(settings.state_dir / JOURNAL_FOLDER),
            settings.keep_story_d,
        )
        self._chat = ChatEndpoint(
            self._service,
            self._authenticator,
            self._cors,
            self._log,
            self._metrics,
            KeptAnswers(self._store, self._reports),
            new_id=InferenceIds().next,
        )
        self._mount()
        self._adoption = Adoption(
            settings.state_dir / JOURNAL_FOLDER,
            self._journal,
            self._shipper,
            self._store,
            budget_warnings=self._warnings,
        )
        rollbacks = Rollbacks(
            settings.state_dir / JOURNAL_FOLDER,
            self._adoption,
            self._shipper,
            self._store,
            hold_again=self._meter.admissions.hold_again,
            pause=self._meter.admissions.pause,
            resume=self._meter.admissions.resume,
        )
        retirement = Retirement(settings.state_dir / JOURNAL_FOLDER, lambda: self._adoption.writers, kept_of(settings))
        self._presence = Presence(self._journal.instance, self._store, self._meter.admissions, self._metrics)
        self.readiness.facts["store_away"] = lambda: self._presence.away
        self._background = [
            asyncio.ensure_future(work)
            for work in (
                self._adoption.run(),
                rollbacks.run(),
                retirement.run(),
                Janitor(self._store).run(),
                self._presence.run(),
                OrganisationWatch(
                    self._journal.instance, self._store, self._warnings, self._metrics, lambda: self._meter.timezone
                ).run(),
                JournalWatch(self._metrics, self._shipper, self._adoption).run(),
                TenantWatch(self._store, self._authenticator.changed).run(),
                BreakerWatch(self._metrics, self._log, self._book).run(),
                self._watch.run(self._use_catalog, self._reload_failed),
            )
        ]

    async def stop(self) -> None:
        """Ships what is left of the journal and closes everything, in that order."""
        for task in self._background:
            task.cancel()
        await asyncio.wait(self._background)
        await self._beat.aclose()
        await self._authenticator.aclose()
        if not await self._shipper.drain(SHIP_AT_EXIT_S):
            self._log.warning("unshipped", entries=self._shipper.pending_entries)
        await self._adoption.aclose()
        await self._shipper.aclose()
        await self._warnings.aclose()
        await self._notifier.aclose()
        await self._journal.aclose()
        await self._door.aclose()
        await self._store.aclose()
        self._log.close()

    def reload_soon(self) -> None:
        """Look at the mapping table now (SIGHUP), whether or not its file changed."""
        self._watch.look_now()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path: str = scope["path"]
            if path == CHAT_PATH and scope["method"] == "POST":
                await self._chat(scope, receive, send)
                return
            if scope["method"] == "OPTIONS":
                await self._preflight(scope, send)
                return
            if path.endswith(PINNED_END):
                await self._chat_elsewhere(scope, receive, send)
                return
            send = self._with_cors(scope, send)
        await self._web(scope, receive, send)

    async def _chat_elsewhere(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A provider's own chat route, `/groq/openai/v1/chat/completions`; or a method that no chat route has."""
        if scope["method"] == "POST":
            await self._chat(scope, receive, send, pinned=scope["path"].split("/", 2)[1])
        else:
            error = MethodNotAllowed(f"{scope['method']} is not possible here; POST is.", headers=[("Allow", "POST")])
            await self._chat.refuse(scope, receive, send, error)

    def _open_door(self) -> Door:
        settings = self.settings
        if settings.http_transport == "httpx":
            return HttpxDoor()
        context = None
        if settings.ssl_cert_file is not None:
            context = ssl.create_default_context(cafile=str(settings.ssl_cert_file))
        return PoolDoor(Pool(ssl_context=context))

    async def _open_store(self) -> Store:
        settings = self.settings
        try:
            return await store_of(settings)
        except StoreUnfit as unfit:
            raise StartupFailed(str(unfit)) from None
        except OSError as error:
            raise StartupFailed(f"{settings.state_dir}: {error.strerror or error}") from None

    def _open_journal(self) -> None:
        settings = self.settings
        try:
            self._journal = JournalWriter.create(
                settings.state_dir / JOURNAL_FOLDER, new_instance_id(), sync=settings.journal_sync
            )
        except OSError as error:
            raise StartupFailed(f"the journal cannot be opened under {settings.state_dir}: {error.strerror}") from None
        self._notifier = Notifier()
        self._warnings = BudgetWarnings(self._journal, self._store, self._notifier, self._metrics)
        self._shipper = Shipper(self._store, budget_listener=self._warnings, on_applied=self._metrics.count_run)
        self._shipper.add(self._journal)

    def _mount(self) -> None:
        settings = self.settings
        reports = self._reports
        services = AdminServices(
            AdminGuard(settings.admin_key),
            lambda: Administration(self._store, new_team_id=new_team_id),
            reports,
            self._authenticator.changed,
        )
        admin = admin_routes(services)
        probes = probe_routes(self.readiness)
        metrics = metrics_route(self._metrics)
        inference = [
            *model_routes(ModelServices(self._catalog, self._authenticator, settings.public_models, self._measured)),
            *team_routes(self._authenticator, reports),
            *console_routes(),
        ]
        self.readiness.checks["store"] = self._store_check
        self.readiness.checks["journal"] = self._journal_check
        self.readiness.facts["generation"] = lambda: self._service.catalog.generation
        self.readiness.facts["store"] = lambda: self._store.kind
        self.readiness.facts["mapping_fault"] = lambda: self._watch.fault
        self.readiness.facts["refused_keys"] = lambda: self._book.refusing(self._catalog().providers.values()) or None
        self.readiness.facts["health_board"] = lambda: self._beat.away
        self.readiness.facts["unshipped_entries"] = lambda: self._shipper.pending_entries
        self.readiness.facts["lost_entries"] = lambda: self._shipper.lost_entries or None
        self.readiness.facts["untold_budget_warnings"] = lambda: self._warnings.pending or None
        self.readiness.facts["parked_journals"] = lambda: self._shipper.parked_lanes or None
        self.admin = _starlette([*probes, metrics, *admin])
        # With a listener of its own, the admin side is not to be had on the public one.
        self._web = _starlette(
            [*probes, *inference] if settings.admin_port is not None else [*probes, metrics, *admin, *inference]
        )

    def _catalog(self) -> Catalog:
        return self._service.catalog

    def _measured(self, offer: Offer) -> Measured:
        """What this worker has seen of an offer, for the model list."""
        seen = self._book.look(offer, time.monotonic())
        return Measured(seen.state != "open", seen.first_content_ms, seen.tokens_per_s)

    async def _store_check(self) -> str | None:
        """The journal carries on without the store, so one that is away makes nobody unready; one that never answered
        does, since no key can be known."""
        await self._presence.beat()
        try:
            await self._store.ping()
        except StoreAway as away:
            self._log.warning("store_away", reason=away.reason)
            return None if self._store_answered else away.reason
        self._store_answered = True
        return None

    async def _journal_check(self) -> str | None:
        return None if self._journal.has_room() else "the journal cannot be written; nothing is sent to a provider"

    def _use_catalog(self, catalog: Catalog) -> None:
        self._service.use_catalog(catalog)
        self._meter.timezone = catalog.timezone
        self._meter.max_tokens_default = catalog.routing.max_tokens_default
        self._metrics.mapping_reloads.labels("ok").inc()
        self._metrics.mapping_refused.set(0)
        self._log.info("mapping_reloaded", generation=catalog.generation, left_out=dict(catalog.left_out))

    def _reload_failed(self, fault: str) -> None:
        self._metrics.mapping_reloads.labels("failed").inc()
        self._metrics.mapping_refused.set(1)
        self._log.error("mapping_refused", fault=fault)

    def _on_headers(self, offer: Offer, headers: Headers) -> None:
        self._book.read_limits(offer, headers, time.monotonic())

    def _on_barred(self, offer: Offer, failure: ProviderFailure) -> None:
        """Nothing but an operator helps: another key, or another table."""
        provider = offer.provider.name
        self._metrics.key_refusals.labels(provider).inc()
        self._log.error(
            "provider_key_refused",
            provider=provider,
            provider_model=offer.provider_model,
            status=failure.status,
            reason=failure.message,
            remedy="put the key or its account right and reload the mapping table; no request goes there until then",
        )

    def _on_attempt(self, provider: str, attempt: Attempt) -> None:
        self._metrics.count_attempt(provider, attempt.failure or "answered", attempt.duration_ms / 1000)

    async def _preflight(self, scope: Scope, send: Send) -> None:
        headers: HeaderMap = dict(scope["headers"])
        answer = self._cors.preflight(headers.get(b"origin"), headers.get(b"access-control-request-headers"))
        await send({"type": "http.response.start", "status": 204, "headers": answer})
        await send({"type": "http.response.body", "body": b""})

    def _with_cors(self, scope: Scope, send: Send) -> Send:
        origin = next((value for name, value in scope["headers"] if name == b"origin"), None)
        if origin is None or scope["path"].startswith("/admin/"):
            return send
        extra = self._cors.headers(origin)

        async def sending(message: dict) -> None:  # type: ignore[type-arg]
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        return sending  # type: ignore[return-value]


def _starlette(routes: Sequence[BaseRoute]) -> Starlette:
    """All routes that are not hot, with every error in the one form."""

    async def known(request: Request, error: Exception) -> Response:
        assert isinstance(error, GatewayError)
        return error_response(error)

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "")
            return error_response(
                MethodNotAllowed(f"{request.method} is not possible here; {allowed} is.", headers=[("Allow", allowed)])
            )
        return error_response(NotFound(f"There is nothing at {request.url.path[:200]}.", code="not_found"))

    async def unforeseen(request: Request, error: Exception) -> Response:
        return error_response(InternalError("Something went wrong here."))

    made = Starlette(
        routes=routes,
        exception_handlers={GatewayError: known, HTTPException: http, Exception: unforeseen},
    )
    # A redirect would lead to whatever Host the caller named.
    made.router.redirect_slashes = False
    return made
