"""What became of one attempt, and the closed entry that follows from it. Pure.

The worker that made the attempt and the one that finds it open in a dead worker's journal close it through the same
functions, with times and prices from the intent: whoever does it writes the same entry.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gateway.journal.entries import Intent, Sent
from gateway.records import CHARGED, ClosedEntry, PriceTaken
from gateway.routing.pricing import charge_nano_usd
from providers.wire import FailureKind, ProviderFailure, Usage

CLIENT_GONE: Final = "client_gone"
NOTHING: Final = Usage(0, 0)


class Outcome(msgspec.Struct, frozen=True):
    """`kind`, flags and amounts as in ClosedEntry. `usage` holds exact or estimated tokens."""

    kind: str
    usage: Usage = NOTHING
    estimated: bool = False
    unknown: bool = False
    answered: bool = False
    charge_nano_usd: int | None = 0
    provider_cost_nano_usd: int | None = 0
    overrun_nano_usd: int = 0
    status: int | None = None
    failure: str | None = None
    upstream_id: str | None = None
    reported_model: str | None = None
    duration_ms: int = 0
    first_content_ms: int | None = None
    dropped: tuple[str, ...] = ()
    charged_for: str = "all"


def answered(
    intent: Intent,
    price: PriceTaken | None,
    usage: Usage,
    *,
    estimated: bool,
    status: int | None = 200,
    failure: str | None = None,
    upstream_id: str | None = None,
    reported_model: str | None = None,
    duration_ms: int = 0,
    first_content_ms: int | None = None,
    dropped: tuple[str, ...] = (),
    charged_for: str = "all",
    charged_nano_usd: int = 0,
) -> Outcome:
    """The attempt that the caller got, or got a part of: charged, but with what earlier attempts of the same answer
    were charged (`charged_nano_usd`) never above the hold."""
    cost = None if price is None else charge_nano_usd(usage, price)
    charge, overrun = cost, 0
    if price is not None and charged_for != "all":
        charge = charge_nano_usd(_owed(usage, charged_for), price)
    if charge is not None and intent.hold_nano_usd is not None:
        left = max(0, intent.hold_nano_usd - charged_nano_usd)
        charge, overrun = min(charge, left), max(0, charge - left)
    return Outcome(
        "use",
        usage,
        estimated=estimated,
        answered=True,
        charge_nano_usd=charge,
        provider_cost_nano_usd=cost,
        overrun_nano_usd=overrun,
        status=status,
        failure=failure,
        upstream_id=upstream_id,
        reported_model=reported_model,
        duration_ms=duration_ms,
        first_content_ms=first_content_ms,
        dropped=dropped,
        charged_for=charged_for,
    )


def _owed(usage: Usage, charged_for: str) -> Usage:
    """That part of a usage which the team owes, by the names of CHARGED."""
    owed = {name: getattr(usage, name) for name in CHARGED[charged_for]}
    return Usage(**{"prompt_tokens": 0, "completion_tokens": 0, **owed})


def gave_up(
    price: PriceTaken | None,
    failure: ProviderFailure,
    *,
    answered_200: bool,
    upstream_id: str | None,
    estimate: Usage,
    duration_ms: int,
) -> Outcome:
    """An attempt that did not answer: the team owes nothing; the provider may bill what it did."""
    kind = failure.kind.value
    if not answered_200:
        # No connection was made, or the provider itself refused: known to cost nothing.
        if failure.kind is FailureKind.CONNECT or failure.unsent or failure.status is not None:
            return Outcome(
                "void", status=failure.status, failure=kind, upstream_id=upstream_id, duration_ms=duration_ms
            )
        return Outcome("use", unknown=True, failure=kind, upstream_id=upstream_id, duration_ms=duration_ms)
    usage = failure.usage or estimate
    return Outcome(
        "use",
        usage,
        estimated=failure.usage is None,
        provider_cost_nano_usd=None if price is None else charge_nano_usd(usage, price),
        status=200,
        failure=kind,
        upstream_id=upstream_id,
        duration_ms=duration_ms,
    )


def abandoned(
    intent: Intent, sent: Sent, *, status: int | None, upstream_id: str | None, completion_tokens: int | None
) -> Outcome:
    """An attempt that was open when its worker died, by what the journal saw of it. `completion_tokens` None: no
    content was seen. Then the caller got none, and owes nothing, whatever the provider may bill."""
    if status is None or (status < 400 and completion_tokens is None):
        return Outcome("use", unknown=True, status=status, failure="worker_died", upstream_id=upstream_id)
    if status >= 400:
        return Outcome("void", status=status, failure="worker_died", upstream_id=upstream_id)
    usage = Usage(intent.prompt_tokens, completion_tokens or 0)
    return answered(
        intent,
        sent.price,
        usage,
        estimated=True,
        status=status,
        failure="worker_died",
        upstream_id=upstream_id,
        charged_for=sent.charged_for,
        charged_nano_usd=sent.charged_nano_usd,
    )


def closed_entry(
    intent: Intent, sent: Sent | None, outcome: Outcome, turn: tuple[int, int], *, last: bool, failed: bool
) -> ClosedEntry:
    """`sent` is None where nothing was ever sent; `turn` is (seq, prev)."""
    usage = outcome.usage
    return ClosedEntry(
        kind=outcome.kind,
        seq=turn[0],
        prev=turn[1],
        inference_id=intent.inference_id,
        number=0 if sent is None else sent.number,
        last=last,
        at_ms=intent.at_ms,
        day=intent.day,
        team_id=intent.team_id,
        key_id=intent.key_id,
        hub_model=intent.hub_model,
        provider="" if sent is None else sent.provider,
        provider_model="" if sent is None else sent.provider_model,
        request_id=intent.request_id,
        upstream_id=outcome.upstream_id,
        reported_model=outcome.reported_model,
        status=outcome.status,
        failure=outcome.failure,
        answered=outcome.answered,
        failed=failed,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        completion_tokens=usage.completion_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        estimated=outcome.estimated,
        unknown=outcome.unknown,
        charge_nano_usd=outcome.charge_nano_usd,
        provider_cost_nano_usd=outcome.provider_cost_nano_usd,
        overrun_nano_usd=outcome.overrun_nano_usd,
        price=None if sent is None else sent.price,
        generation=intent.generation,
        duration_ms=outcome.duration_ms,
        first_content_ms=outcome.first_content_ms,
        tags=intent.tags,
        dropped=outcome.dropped,
        hour_start_ms=intent.hour_start_ms,
        day_start_ms=intent.day_start_ms,
        sent_after_ms=0 if sent is None else max(0, sent.at_ms - intent.at_ms),
        route=intent.route if last else "",
        charged_for=outcome.charged_for,
        budgets=intent.budgets,
        away=intent.away,
    )
