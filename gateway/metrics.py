"""Every metric, by what it tells of, with its labels spelled out.

Labels are names of the mapping table, statuses and fixed words, and up to a hundred words of providers: nothing that a
caller can choose freely. With several workers each writes to files that `exposition` adds up
(PROMETHEUS_MULTIPROC_DIR, set by the supervisor).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from gateway.records import Run

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """Counters of one process. Label sets are resolved once and kept."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._declare_requests()
        self._declare_attempts()
        self._declare_tokens()
        self._declare_mapping()
        self._declare_ledger()
        self._declare_budgets()
        self._refused: dict[str, Counter] = {}
        self._requests: dict[tuple[str, int], Counter] = {}
        self._attempts: dict[tuple[str, str], Counter] = {}
        self._request_seconds: dict[str, Histogram] = {}
        self._attempt_seconds: dict[str, Histogram] = {}

    def _declare_requests(self) -> None:
        self.requests = self._counter(
            "gateway_requests_total", "Requests of inference routes, by status.", ["route", "status"]
        )
        self.request_seconds = self._histogram("gateway_request_seconds", "Duration of answered requests.", ["route"])
        self.in_flight = self._gauge("gateway_in_flight_requests", "Requests under way.")
        self.queued = self._gauge(
            "gateway_queued_requests", "Requests that wait for a place in the worker or for room at a provider."
        )
        self.refused = self._counter(
            "gateway_overload_refusals_total", "Requests refused because too many waited, by reason.", ["reason"]
        )

    def _declare_attempts(self) -> None:
        self.attempts = self._counter(
            "gateway_attempts_total",
            "Calls to providers; outcome is answered or a kind of failure.",
            ["provider", "outcome"],
        )
        self.attempt_seconds = self._histogram(
            "gateway_attempt_seconds", "Time to a whole answer, or to the first content of a stream.", ["provider"]
        )
        self.broken_streams = self._counter(
            "gateway_streams_broken_total",
            "Streams that broke after content had gone out; what came next is an error or a continuation.",
            ["provider", "outcome", "next"],
        )
        self.skipped_events = self._counter(
            "gateway_stream_events_skipped_total",
            "Malformed events that were passed over in providers' streams.",
            ["provider"],
        )
        self.open_breakers = self._gauge(
            "gateway_open_breakers",
            "Workers that ask a provider's model for a probe at most, after failures.",
            ["provider", "provider_model"],
        )
        self.key_refusals = self._counter(
            "gateway_provider_key_refusals_total",
            "Times that a provider refused our key and was taken out until the next reload.",
            ["provider"],
        )

    def _declare_tokens(self) -> None:
        self.tokens = self._counter(
            "gateway_tokens_total",
            "Tokens that the ledger has; cached ones are part of the prompt, reasoning of the completion.",
            ["provider", "kind"],
        )
        self.unpriced_tokens = self._counter(
            "gateway_unpriced_tokens_total",
            "Tokens of classes that a provider counts apart and that no price is for.",
            ["provider", "token_class"],
        )

    def _declare_mapping(self) -> None:
        self.mapping_reloads = self._counter(
            "gateway_mapping_reloads_total", "Reloads of the mapping table, by result.", ["result"]
        )
        self.mapping_refused = self._gauge(
            "gateway_mapping_refused", "Workers that go on with an older mapping table, as the newest is faulty."
        )

    def _declare_ledger(self) -> None:
        self.unshipped_entries = self._gauge(
            "gateway_unshipped_entries", "Entries of journals that the store does not have yet."
        )
        self.parked_journals = self._gauge(
            "gateway_parked_journals",
            "Journals, by team, of which something waits for a person: see gateway journal list.",
        )
        self.lost_entries = self._counter(
            "gateway_lost_entries_total", "Entries that a journal should have had and has not."
        )
        self.bad_entries = self._counter(
            "gateway_bad_entries_total", "Damaged entries of adopted journals, which were kept aside."
        )
        self.store_away = self._gauge("gateway_store_away", "Workers that cannot ask the store now.")

    def _declare_budgets(self) -> None:
        self.organisation_spent = self._gauge(
            "gateway_organisation_spent_nano_usd",
            "What all teams were charged in the window of the organisation's budget, as of the last minute.",
            mode="mostrecent",
        )
        self.organisation_budget = self._gauge(
            "gateway_organisation_budget_nano_usd",
            "The organisation's budget; 0 where there is none.",
            mode="mostrecent",
        )
        self.budget_overrun = self._counter(
            "gateway_budget_overrun_nano_usd_total",
            "Spent past a strict budget, by cause: store_away, late_journal or store_lost.",
            ["cause"],
        )
        self.budget_warnings = self._counter(
            "gateway_budget_warnings_total", "Thresholds of budgets that were reached."
        )
        self.webhooks = self._counter(
            "gateway_webhooks_total",
            "Budget warnings sent to webhooks; outcome is delivered, failed (and tried again) or given_up.",
            ["outcome"],
        )

    def _counter(self, name: str, says: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(name, says, labels, registry=self.registry)

    def _histogram(self, name: str, says: str, labels: Sequence[str] = ()) -> Histogram:
        return Histogram(name, says, labels, buckets=_SECONDS, registry=self.registry)

    def _gauge(
        self, name: str, says: str, labels: Sequence[str] = (), *, mode: Literal["livesum", "mostrecent"] = "livesum"
    ) -> Gauge:
        """The sum over the workers that live; `mostrecent` where each of them tells of the whole."""
        return Gauge(name, says, labels, registry=self.registry, multiprocess_mode=mode)

    def count_refusal(self, reason: str) -> None:
        counter = self._refused.get(reason)
        if counter is None:
            counter = self._refused[reason] = self.refused.labels(reason)
        counter.inc()

    def count_request(self, route: str, status: int, seconds: float) -> None:
        counter = self._requests.get((route, status))
        if counter is None:
            counter = self._requests[route, status] = self.requests.labels(route, str(status))
        counter.inc()
        histogram = self._request_seconds.get(route)
        if histogram is None:
            histogram = self._request_seconds[route] = self.request_seconds.labels(route)
        histogram.observe(seconds)

    def count_attempt(self, provider: str, outcome: str, seconds: float) -> None:
        counter = self._attempts.get((provider, outcome))
        if counter is None:
            counter = self._attempts[provider, outcome] = self.attempts.labels(provider, outcome)
        counter.inc()
        histogram = self._attempt_seconds.get(provider)
        if histogram is None:
            histogram = self._attempt_seconds[provider] = self.attempt_seconds.labels(provider)
        histogram.observe(seconds)

    def count_run(self, run: Run) -> None:
        """What the store took over. Counted here and not with each request: a run has many, and they are summed."""
        sums: dict[tuple[str, str], int] = {}
        for entry in run.entries:
            for kind, tokens in (
                ("prompt", entry.prompt_tokens),
                ("cached", entry.cached_tokens),
                ("completion", entry.completion_tokens),
                ("reasoning", entry.reasoning_tokens),
            ):
                if tokens:
                    sums[entry.provider, kind] = sums.get((entry.provider, kind), 0) + tokens
        for (provider, kind), tokens in sums.items():
            self.tokens.labels(provider, kind).inc(tokens)

    def count_broken(self, provider: str, outcome: str, *, continued: bool) -> None:
        self.broken_streams.labels(provider, outcome, "continuation" if continued else "error").inc()

    def count_skipped(self, provider: str, events: int) -> None:
        self.skipped_events.labels(provider).inc(events)

    def exposition(self) -> bytes:
        """The Prometheus text form: of all workers where there are several."""
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
            return generate_latest(registry)
        return generate_latest(self.registry)
