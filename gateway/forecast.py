"""What another mapping table would have done with requests that were made: a fold over journals. Pure; no prompt is
kept, so none is sent.

A request is routed again with its own situation and the other table's offers. It is taken to be answered by the first
candidate that did not fail it when it was really made, and to use the same tokens there, at the other table's price of
its day. Budgets are not asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.config.catalog import Offer
from gateway.errors import NotFound
from gateway.journal.entries import Intent, Refused
from gateway.money import format_usd
from gateway.records import ClosedEntry
from gateway.routing.choice import choose
from gateway.routing.decision import Unreadable, read_route, unpack
from gateway.routing.offerings import Offerings
from gateway.routing.pricing import charge_nano_usd, price_taken
from gateway.routing.rerouting import rerouted
from providers.wire import Usage

NOBODY: Final = ""
"""Where a request goes that nobody may be asked for."""


@dataclass(slots=True)
class Shift:
    """Requests, and what providers bill for them, as it was and as it would be; of one provider or one team."""

    requests_before: int = 0
    requests_after: int = 0
    """Those that nobody would answer are after the change at nobody."""
    moved: int = 0
    """Would be answered by another provider."""
    newly_refused: int = 0
    cost_before_nano_usd: int = 0
    cost_after_nano_usd: int = 0

    @property
    def cost_delta_nano_usd(self) -> int:
        return self.cost_after_nano_usd - self.cost_before_nano_usd

    @property
    def is_affected(self) -> bool:
        return bool(self.moved or self.newly_refused or self.cost_delta_nano_usd)


@dataclass(slots=True)
class Refusal:
    """Requests for one model that would be refused for one reason."""

    hub_model: str
    reason: str
    requests: int = 0
    example: str = ""
    """An inference id."""


@dataclass(slots=True)
class Forecast:
    total: Shift = field(default_factory=Shift)
    providers: dict[str, Shift] = field(default_factory=dict)
    teams: dict[str, Shift] = field(default_factory=dict)
    """By team id."""
    refusals: dict[tuple[str, str], Refusal] = field(default_factory=dict)
    unpriced: int = 0
    """Answered, but before or after nobody knows a price: in no cost."""
    unreadable: int = 0
    """Without a decision that this version understands: in nothing else."""
    from_ms: int | None = None
    to_ms: int | None = None
    """Admission of the first and the last that was looked at."""

    def as_json(self, team_name: Callable[[str], str]) -> dict[str, Any]:
        total = self.total
        return {
            "requests": total.requests_before,
            "unreadable": self.unreadable,
            "unpriced_requests": self.unpriced,
            **_figures(total),
            "providers": [
                {
                    "provider": name or None,
                    **_figures(one),
                    "requests_before": one.requests_before,
                    "requests_after": one.requests_after,
                    "share_before": share(one.requests_before, total.requests_before),
                    "share_after": share(one.requests_after, total.requests_before),
                }
                for name, one in self.providers.items()
            ],
            "teams": [
                {"team": team_name(team_id), "requests": one.requests_before, **_figures(one)}
                for team_id, one in self.teams.items()
                if one.is_affected
            ],
            "refused": [
                {"model": one.hub_model, "reason": one.reason, "requests": one.requests, "example": one.example}
                for one in self.refusals.values()
            ],
        }


def share(part: int, whole: int) -> float:
    """Of one, to four places."""
    return round(part / whole, 4) if whole else 0.0


def _figures(shift: Shift) -> dict[str, Any]:
    return {
        "moved": shift.moved,
        "newly_refused": shift.newly_refused,
        "cost_before_usd": format_usd(shift.cost_before_nano_usd),
        "cost_after_usd": format_usd(shift.cost_after_nano_usd),
        "cost_delta_usd": format_usd(shift.cost_delta_nano_usd),
    }


@dataclass(slots=True)
class _Request:
    """One that has begun and not ended: where it would go, and what was seen of it so far."""

    intent: Intent
    before: Sequence[str]
    after: Sequence[Offer]
    reason: str
    """Why nobody could be asked."""
    failed: set[str] = field(default_factory=set)
    answered: list[ClosedEntry] = field(default_factory=list)
    """More than one where a broken stream was gone on with."""

    @property
    def is_as_before(self) -> bool:
        return [offer.provider.name for offer in self.after] == list(self.before)


def forecast(
    found: Iterable[Intent | Refused | ClosedEntry],
    offerings: Offerings,
    *,
    without: Collection[str] = (),
    wanted: Callable[[Intent], bool] = lambda intent: True,
) -> Forecast:
    """Folds what journals hold, each journal in its own order. `without`: providers that are not served if they were
    not when a request was made; `wanted` chooses among requests."""
    made = Forecast()
    under_way: dict[str, _Request] = {}
    for entry in found:
        if isinstance(entry, Intent):
            request = _routed_again(entry, offerings, without) if wanted(entry) else None
            if request is not None:
                under_way[entry.inference_id] = request
            elif wanted(entry):
                made.unreadable += 1
        elif isinstance(entry, Refused):
            under_way.pop(entry.inference_id, None)
        elif (request := under_way.get(entry.inference_id)) is not None:
            if entry.answered:
                request.answered.append(entry)
            elif entry.number:
                request.failed.add(entry.provider)
            if entry.last:
                _add(made, under_way.pop(entry.inference_id))
    for request in under_way.values():
        _add(made, request)
    made.providers = dict(sorted(made.providers.items(), key=lambda item: (-item[1].requests_before, item[0])))
    made.teams = dict(sorted(made.teams.items(), key=lambda item: (-item[1].requests_before, item[0])))
    return made


def _routed_again(intent: Intent, offerings: Offerings, without: Collection[str]) -> _Request | None:
    try:
        situation = unpack(bytes(intent.decision))
    except Unreadable:
        return None
    before = read_route(intent.route).order
    missing = without and [name for name in situation.offering.left_out if name in without]
    try:
        again, offers = rerouted(situation, intent.hub_model, offerings, intent.day, without=missing)
    except NotFound as error:
        return _Request(intent, before, (), error.message)
    choice = choose(again)
    reasons = sorted({f"{skip.provider}: {skip.reason}" for skip in choice.skipped if skip.code != "pin"})
    return _Request(intent, before, [offers[place] for place in choice.order], "; ".join(reasons) or "nobody offers it")


def _add(made: Forecast, request: _Request) -> None:
    intent, used = request.intent, request.answered
    made.from_ms = intent.at_ms if made.from_ms is None else min(made.from_ms, intent.at_ms)
    made.to_ms = intent.at_ms if made.to_ms is None else max(made.to_ms, intent.at_ms)
    before = used[-1].provider if used else next(iter(request.before), NOBODY)
    offer = _answering(request, before)
    after = NOBODY if offer is None else offer.provider.name
    sums = [made.total, made.teams.setdefault(intent.team_id, Shift())]
    leaving, coming = (made.providers.setdefault(name, Shift()) for name in (before, after))
    for one in (*sums, leaving):
        one.requests_before += 1
        one.moved += after not in (before, NOBODY)
        one.newly_refused += after == NOBODY
    for one in (*sums, coming):
        one.requests_after += 1
    if offer is None:
        key = (intent.hub_model, request.reason)
        refusal = made.refusals.setdefault(key, Refusal(*key, example=intent.inference_id))
        refusal.requests += 1
    costs = [(entry.provider_cost_nano_usd, _cost_nano_usd(entry, request, offer)) for entry in used]
    known = [(was, will) for was, will in costs if was is not None and will is not None]
    if len(known) < len(costs):
        made.unpriced += 1
        return
    for one in (*sums, leaving):
        one.cost_before_nano_usd += sum(was for was, _ in known)
    for one in (*sums, coming):
        one.cost_after_nano_usd += sum(will for _, will in known)


def _answering(request: _Request, before: str) -> Offer | None:
    """Who would answer: nobody knows how somebody else would have fared, so only known failures are passed over."""
    after = request.after
    if request.is_as_before:
        return next((offer for offer in after if offer.provider.name == before), None)
    willing = (offer for offer in after if offer.provider.name not in request.failed)
    return next(willing, next(iter(after), None))


def _cost_nano_usd(used: ClosedEntry, request: _Request, offer: Offer | None) -> int | None:
    """Of the same tokens where they would be used; None where nobody knows the price of that."""
    if offer is None:
        return 0
    if request.is_as_before:
        offer = next((one for one in request.after if one.provider.name == used.provider), offer)
    price = price_taken(offer, used.day)
    return None if price is None else charge_nano_usd(_usage(used), price)


def _usage(used: ClosedEntry) -> Usage:
    return Usage(
        prompt_tokens=used.prompt_tokens,
        completion_tokens=used.completion_tokens,
        cached_tokens=used.cached_tokens,
        cache_write_tokens=used.cache_write_tokens,
        reasoning_tokens=used.reasoning_tokens,
    )
