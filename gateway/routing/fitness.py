"""Whether an offer may be asked: what the request needs, what the caller wishes, what the team and the organisation
allow, and how the provider fares. The first reason against it counts.
"""

from __future__ import annotations

from typing import Final

from gateway.ask import NO_WISHES
from gateway.routing.candidate import Skipped
from gateway.routing.health import Seen
from gateway.routing.situation import Bound, Situation, Terms

BARRED_S: Final = 60.0
"""When to try again where nobody knows when our key is put right."""
_BREAKER_SAYS: Final = {
    "open": "its breaker is open",
    "half_open": "another worker probes whether it is well again",
    "probing": "a request probes whether it is well again",
}


def unfit(terms: Terms, situation: Situation) -> Skipped | None:
    """The first lasting reason against an offer: what the request, the team or the table says."""
    name, pinned = terms.provider, situation.pinned
    if pinned is not None:
        if name != pinned:
            return Skipped(name, "pin", f"the model's suffix asks for {pinned} only")
    elif terms.status != "live":
        return Skipped(name, "staging", f"its status is {terms.status}; only `:{name}` reaches it")
    wishes, bound, rights = situation.wishes, situation.offering.bound, situation.rights
    if wishes is not NO_WISHES:
        if wishes.only and name not in wishes.only:
            return Skipped(name, "wish", "not in provider.only")
        if name in wishes.ignore:
            return Skipped(name, "wish", "in provider.ignore")
    if bound is not None or rights is not None or situation.offering.refuses_unpriced:
        reason = _not_allowed(terms, situation)
        if reason is not None:
            return Skipped(name, "access", reason)
    if wishes is not NO_WISHES:
        dear = _above(terms, wishes.price_input_max, wishes.price_output_max, "provider.max_price")
        if dear is not None:
            return Skipped(name, "price", dear)
    if terms.lacks is not None:
        return Skipped(name, "feature", terms.lacks)
    return _too_long(terms, situation)


def unready(terms: Terms, seen: Seen) -> Skipped | None:
    """A passing reason against an offer."""
    if seen.barred:
        reason = "it refused the gateway's key or account; it is out until the table is reloaded"
        return Skipped(terms.provider, "barred", reason, BARRED_S)
    if seen.cooling_s > 0:
        wait_s = seen.cooling_s
        return Skipped(terms.provider, "cooling", f"it asked for silence for {wait_s:.0f} s more", wait_s)
    if not seen.ready:
        return Skipped(terms.provider, "breaker", _BREAKER_SAYS[seen.state], max(0.0, seen.ready_in_s))
    return None


def _not_allowed(terms: Terms, situation: Situation) -> str | None:
    name, offering, rights = terms.provider, situation.offering, situation.rights
    if _rules_out(offering.bound, name):
        return "ruled out by the organisation's ceiling"
    refuses_unpriced = offering.refuses_unpriced
    if rights is not None:
        if _rules_out(rights.bound, name):
            return "ruled out by the team's ceiling"
        if not all(name in names for names in rights.providers):
            return "not among the providers that this key may use"
        refuses_unpriced = refuses_unpriced or rights.refuses_unpriced
    if terms.output is None:
        if refuses_unpriced:
            return "no price of it is known, and unpriced offers are refused"
        if rights is not None and rights.strict_budget:
            return "no price of it is known, and a strict budget cannot be held against none"
    dear = _above_bound(terms, offering.bound, "the organisation's ceiling")
    return dear or (None if rights is None else _above_bound(terms, rights.bound, "the team's ceiling"))


def _rules_out(bound: Bound | None, name: str) -> bool:
    return bound is not None and bool((bound.only and name not in bound.only) or name in bound.ignore)


def _above_bound(terms: Terms, bound: Bound | None, whose: str) -> str | None:
    return None if bound is None else _above(terms, bound.input_max, bound.output_max, whose)


def _above(terms: Terms, input_max: int | None, output_max: int | None, whose: str) -> str | None:
    if input_max is None and output_max is None:
        return None
    if terms.input is None or terms.output is None:
        return f"its price is not known, and {whose} bounds it"
    if input_max is not None and terms.input > input_max:
        return f"its input tokens cost more than {whose}"
    if output_max is not None and terms.output > output_max:
        return f"its output tokens cost more than {whose}"
    return None


def _too_long(terms: Terms, situation: Situation) -> Skipped | None:
    name, wanted = terms.provider, situation.max_tokens
    most = terms.output_tokens_max
    if most is not None and wanted > most:
        return Skipped(name, "feature", f"it answers with at most {most} tokens, {wanted} are asked")
    if terms.context_length is not None:
        in_all = situation.prompt_tokens + wanted
        if in_all > terms.context_length:
            asked = f"prompt and max_tokens come to about {in_all}"
            return Skipped(name, "feature", f"its context holds {terms.context_length} tokens; {asked}")
    return None
