"""Who is asked, in which order, and why everybody else is not: the choice, joined to the offers that it is about.

A plan explains itself: to `gateway explain`, to the story of a request, and in the text of a refusal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from gateway.ask import Ask
from gateway.config.catalog import Offer
from gateway.errors import Forbidden, GatewayError, InvalidRequest, NoProviderAvailable, NotFound
from gateway.routing.candidate import Candidate, Skipped
from gateway.routing.choice import Choice, choose
from gateway.routing.decision import pack, route_of
from gateway.routing.health import UNSEEN, Seen
from gateway.routing.naming import Resolved
from gateway.routing.offerings import Offerings, rights_of
from gateway.routing.situation import Situation
from gateway.tenants import Principal

Look = Callable[[Offer], Seen]

PROMPT_BYTES_PER_TOKEN: Final = 4
"""What English prose comes to. Only what is clearly too long is ruled out by it."""
_SORT_POLICY: Final = {"price": "cheapest", "throughput": "fastest", "latency": "latency"}
"""What `provider.sort` means."""
_PASSING: Final = frozenset({"breaker", "cooling", "barred"})
"""Codes of what says nothing about the request."""


class Plan(NamedTuple):
    """A tuple, and no frozen dataclass: one is made for every request."""

    hub_model: str
    candidates: tuple[Candidate, ...]
    situation: Situation
    choice: Choice

    @property
    def skipped(self) -> list[Skipped]:
        return self.choice.skipped

    @property
    def silence_s(self) -> float | None:
        """How long until the first of those who asked for silence may be asked; None where nobody did."""
        return min((skip.ready_in_s for skip in self.skipped if skip.code == "cooling"), default=None)

    @property
    def route(self) -> str:
        """What was chosen, in a few words; see `gateway.routing.decision`."""
        return route_of(self.situation.offering, self.choice)

    def decision(self) -> bytes:
        """All that was looked at, for the journal."""
        return pack(self.situation)


def make_plan(
    ask: Ask,
    resolved: Resolved,
    offerings: Offerings,
    principal: Principal,
    look: Look,
    *,
    day: str,
    draw: float,
) -> Plan:
    """Ordered candidates and the reasons of all who are not. `day` (ISO) chooses among dated prices."""
    model, wishes = resolved.model, ask.wishes
    offering, packed = offerings.of(resolved, ask.features, day)
    offers, pinned = model.offers, resolved.pinned
    if pinned is None:
        seen = [look(offer) for offer in offers]
    else:
        seen = [look(offer) if offer.provider.name == pinned else UNSEEN for offer in offers]
    situation = Situation(
        offering,
        seen,
        draw,
        resolved.policy or (None if wishes.sort is None else _SORT_POLICY[wishes.sort]),
        pinned,
        wishes,
        rights_of(principal),
        ask.prompt_bytes // PROMPT_BYTES_PER_TOKEN,
        ask.max_tokens or 0,
        None if ask.model == model.id else ask.model,
        packed,
    )
    choice = choose(situation)
    return Plan(model.id, tuple([Candidate(offers[i], seen[i]) for i in choice.order]), situation, choice)


def refusal(plan: Plan) -> GatewayError:
    """Why a plan without candidates has none, as the caller's answer."""
    # Who was passed over for want of being named says nothing about the one who was.
    telling = [skip for skip in plan.skipped if skip.code != "pin"]
    codes = {skip.code for skip in telling}
    reasons = "; ".join(f"{skip.provider}: {skip.reason}" for skip in telling)
    if codes & _PASSING:
        soonest = min(skip.ready_in_s for skip in telling if skip.code in _PASSING)
        return NoProviderAvailable(
            f"No provider of {plan.hub_model} can be asked right now ({reasons}).", retry_after_s=max(1.0, soonest)
        )
    if "feature" in codes:
        return InvalidRequest(f"No provider of {plan.hub_model} supports what this request needs ({reasons}).")
    if "wish" in codes or "price" in codes:
        ruled_out = f"The request rules out every provider of {plan.hub_model}"
        if "access" in codes:
            ruled_out = f"What the request wishes and what it may have are different providers of {plan.hub_model}"
        return InvalidRequest(f"{ruled_out} ({reasons}).", param="provider")
    if "access" in codes:
        return Forbidden(f"No provider of {plan.hub_model} may be used with this key ({reasons}).")
    return NotFound(f"The model {plan.hub_model!r} has no live provider here ({reasons}).", param="model")
