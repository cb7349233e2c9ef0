"""A decision for those who ask about it: every candidate with its score and the values seen, everybody else with the
reason. JSON here; the command line makes sentences of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.money import format_usd
from gateway.routing.candidate import Contender, Skipped
from gateway.routing.decision import Decision, is_the_same, read_route, replay
from gateway.routing.ordering import score
from gateway.routing.situation import Bound, Situation, Terms

JsonObject = dict[str, Any]


def decision_view(decision: Decision) -> JsonObject:
    """What was decided, as it was then."""
    again, situation = replay(decision), decision.situation
    if is_the_same(decision, again):
        return situation_view(situation, again.order, again.skipped)
    rules = "left out by the rules of the version that routed it"
    kept = read_route(decision.route)
    places = {terms.provider: place for place, terms in enumerate(situation.offering.terms)}
    order = [places[name] for name in kept.order if name in places]
    return situation_view(situation, order, [Skipped(name, code, rules) for name, code in kept.skipped.items()])


def route_view(route: str) -> JsonObject:
    """The short form: candidates in order, and the codes of the others' reasons."""
    kept = read_route(route)
    return {"candidates": kept.order, "skipped": kept.skipped}


def situation_view(situation: Situation, order: Sequence[int], skipped: Sequence[Skipped]) -> JsonObject:
    offering = situation.offering
    view: JsonObject = {
        "policy": situation.policy,
        "policy_of": "the request" if situation.policy_asked else "the table",
        "draw": situation.draw,
        "alias": situation.alias,
        "pinned": situation.pinned,
        "needs": list(offering.needs),
        "prompt_tokens": situation.prompt_tokens,
        "max_tokens": situation.max_tokens or None,
        "wishes": _wishes_view(situation),
        "ceilings": _ceilings_view(situation),
        "candidates": [_candidate_view(situation, place) for place in order],
        "skipped": [_skipped_view(situation, skip) for skip in skipped],
    }
    return view


def _candidate_view(situation: Situation, place: int) -> JsonObject:
    terms, seen = situation.offering.terms[place], situation.seen[place]
    return {
        "provider": terms.provider,
        "provider_model": terms.provider_model,
        "score": score(situation.policy, Contender(terms, seen, place)),
        "price": price_view(terms),
        "weight": terms.weight,
        "context_length": terms.context_length,
        "output_tokens_max": terms.output_tokens_max,
        **seen._asdict(),
    }


def _skipped_view(situation: Situation, skip: Skipped) -> JsonObject:
    view: JsonObject = {"provider": skip.provider, "code": skip.code, "reason": skip.reason}
    if skip.code in ("breaker", "cooling", "barred"):
        found = zip(situation.offering.terms, situation.seen, strict=True)
        view.update(next(seen._asdict() for terms, seen in found if terms.provider == skip.provider))
    return view


def price_view(terms: Terms) -> JsonObject | None:
    if terms.input is None or terms.output is None:
        return None
    return {"input": format_usd(terms.input), "output": format_usd(terms.output)}


def _wishes_view(situation: Situation) -> JsonObject:
    """What the request's `provider` field said."""
    wishes = situation.wishes
    said: JsonObject = {
        "order": list(wishes.order),
        "only": list(wishes.only),
        "ignore": list(wishes.ignore),
        "sort": wishes.sort,
        "max_price": _max_price(wishes.price_input_max, wishes.price_output_max),
    }
    view = {name: value for name, value in said.items() if value}
    return view if wishes.allow_fallbacks else {**view, "allow_fallbacks": False}


def _ceilings_view(situation: Situation) -> JsonObject:
    """What the organisation, the team and the key rule out."""
    offering, rights = situation.offering, situation.rights
    view: JsonObject = {"organisation": _bound_view(offering.bound, offering.refuses_unpriced)}
    if rights is not None:
        view["team"] = _bound_view(rights.bound, rights.refuses_unpriced)
        view["providers"] = [list(names) for names in rights.providers]
        view["strict_budget"] = rights.strict_budget
    return {name: value for name, value in view.items() if value}


def _bound_view(bound: Bound | None, refuses_unpriced: bool) -> JsonObject:
    view: JsonObject = {"unpriced": "refuse"} if refuses_unpriced else {}
    if bound is not None:
        said = {
            "only": list(bound.only),
            "ignore": list(bound.ignore),
            "max_price": _max_price(bound.input_max, bound.output_max),
        }
        view.update({name: value for name, value in said.items() if value})
    return view


def _max_price(input_max: int | None, output_max: int | None) -> JsonObject:
    given = {"input": input_max, "output": output_max}
    return {kind: format_usd(price) for kind, price in given.items() if price is not None}
