"""The story of one request: what it cost, every attempt, and why it went where it went. Pure.

Made of what the store keeps for a week (the closed attempts) and of what the journal of the host that served it keeps
longer (how the request began, and the decision).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.journal.entries import Intent, Refused
from gateway.journal.local import Begun
from gateway.moments import format_moment
from gateway.records import CHARGED, ClosedEntry, attempt_id
from gateway.routing.decision import Decision, Unreadable, unpack
from gateway.routing.telling import decision_view, route_view
from gateway.usage_export import charge_of, usd

JsonObject = dict[str, Any]

TOKENS: Final = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
"""What is told of a request: what its team was charged for; and of an attempt: what its provider counted."""


@dataclass(frozen=True, slots=True)
class Story:
    """`head` is what told of the request first; `entries` are the closed attempts, in order; `begun` is None where no
    journal of this host has it."""

    head: ClosedEntry | Intent
    team_name: str
    entries: Sequence[ClosedEntry]
    begun: Begun | None

    @property
    def decision(self) -> Decision | None:
        """Why it went there; None where that is not kept here, or by another version."""
        if self.begun is None:
            return None
        try:
            intent = self.begun.intent
            return Decision(unpack(bytes(intent.decision)), intent.route)
        except Unreadable:
            return None

    @property
    def route(self) -> str | None:
        """Where routing would have it go, in short; None where neither store nor journal has it."""
        told = [self.entries[-1].route] if self.entries else []
        if self.begun is not None:
            told.append(self.begun.intent.route)
        return next((route for route in told if route), None)

    @property
    def ended(self) -> bool:
        return any(entry.last for entry in self.entries)

    @property
    def refused(self) -> Refused | None:
        """How it was refused before anything was sent; known on the host that did it."""
        return None if self.begun is None else self.begun.refused

    @property
    def state(self) -> str:
        """`answered`, `failed`, `left` (by its caller), `refused` (by routing, a budget or a limit, before anything was
        sent) or `under way`."""
        if self.refused is not None:
            return "refused"
        if not self.ended:
            return "under way"
        final = self.entries[-1]
        if final.failed:
            return "failed"
        return "answered" if final.answered and final.failure is None else "left"

    def as_json(self, *, provider_costs: bool) -> JsonObject:
        """`cost_usd` is null where nobody knows a price of what was used."""
        head = self.head
        charged = [entry for entry in self.entries if entry.answered]
        charges = [charge_of(entry) for entry in charged]
        known = [charge for charge in charges if charge is not None]
        decision = self.decision
        tokens = Counter[str]()
        for entry in charged:
            tokens.update({name: getattr(entry, name) for name in CHARGED[entry.charged_for]})
        return {
            "inference_id": head.inference_id,
            "request_id": head.request_id,
            "at": format_moment(head.at_ms),
            "team": self.team_name,
            "key": head.key_id,
            "model": head.hub_model,
            "generation": head.generation,
            "state": self.state,
            "refusal": None if self.refused is None else {"status": self.refused.status, "code": self.refused.code},
            "finished": self.ended or self.refused is not None,
            "failed": self.ended and self.entries[-1].failed,
            **{name: tokens[name] for name in TOKENS},
            "cost_usd": usd(sum(known)) if len(known) == len(charges) else None,
            "estimated": any(entry.estimated for entry in charged),
            "unknown": any(entry.unknown for entry in self.entries),
            "tags": dict(head.tags),
            "attempts": [_attempt_view(entry, provider_costs) for entry in self.entries if entry.number >= 1],
            "route": None if self.route is None else route_view(self.route),
            "decision": None if decision is None else decision_view(decision),
        }


def _attempt_view(entry: ClosedEntry, provider_costs: bool) -> JsonObject:
    view: JsonObject = {
        "attempt_id": attempt_id(entry.inference_id, entry.number),
        "provider": entry.provider,
        "provider_model": entry.provider_model,
        "reported_model": entry.reported_model,
        "upstream_id": entry.upstream_id,
        "at": format_moment(entry.at_ms + entry.sent_after_ms),
        "status": entry.status,
        "failure": entry.failure,
        "answered": entry.answered,
        "goes_on": entry.charged_for == "completion",
        "duration_ms": entry.duration_ms,
        "first_content_ms": entry.first_content_ms,
        **{name: getattr(entry, name) for name in TOKENS},
        "cost_usd": usd(charge_of(entry)),
        "estimated": entry.estimated,
        "unknown": entry.unknown,
        "dropped": list(entry.dropped),
    }
    if provider_costs:
        view["provider_cost_usd"] = usd(entry.provider_cost_nano_usd)
    return view
