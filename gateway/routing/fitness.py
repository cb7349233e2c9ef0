"""Whether an offer may be asked: what the request needs, what the caller wishes, what the team and the organisation
allow, and how the provider fares. The first reason against it counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gateway.ask import Ask
from gateway.config.catalog import Catalog, Ceilings, MaxPrice, Offer, Price
from gateway.money import parse_usd
from gateway.routing.candidate import Skipped
from gateway.routing.health import Seen
from gateway.routing.naming import Resolved
from gateway.tenants import Principal
from providers.fields import Feature

_TABLE_SAYS: Final = {
    Feature.TOOLS: "tools",
    Feature.FORCED_TOOL_CHOICE: "tools",
    Feature.JSON_SCHEMA: "structured_output",
    Feature.IMAGES: "vision",
    Feature.LOGPROBS: "logprobs",
    Feature.REGEX: "regex",
}
"""What a row's `supports` may deny."""


def unfit(
    offer: Offer, ask: Ask, resolved: Resolved, catalog: Catalog, principal: Principal, day: str
) -> Skipped | None:
    """The first lasting reason against an offer: what the request, the team or the table says."""
    name = offer.provider.name
    wishes, routing = ask.wishes, catalog.routing
    if resolved.pinned is not None:
        if name != resolved.pinned:
            return Skipped(name, "pin", f"the model's suffix asks for {resolved.pinned} only")
    elif offer.status != "live":
        return Skipped(name, "staging", f"its status is {offer.status}; only `:{name}` reaches it")
    if wishes.only and name not in wishes.only:
        return Skipped(name, "wish", "not in provider.only")
    if name in wishes.ignore:
        return Skipped(name, "wish", "in provider.ignore")
    bounds = [(routing.ceilings, "the organisation's ceiling")]
    if principal.billed.ceilings is not None:
        bounds.append((_ceilings_of(principal.billed.ceilings), "the team's ceiling"))
    for ceilings, whose in bounds:
        if (ceilings.only and name not in ceilings.only) or name in ceilings.ignore:
            return Skipped(name, "access", f"ruled out by {whose}")
    if not principal.may_use_provider(name):
        return Skipped(name, "access", "not among the providers that this key may use")
    price = offer.price_on(day)
    if price is None and (routing.unpriced == "refuse" or principal.billed.unpriced == "refuse"):
        return Skipped(name, "access", "no price of it is known, and unpriced offers are refused")
    if price is None and principal.has_strict_budget:
        return Skipped(name, "access", "no price of it is known, and a strict budget cannot be held against none")
    dear = _too_dear(price, MaxPrice(wishes.price_input_max, wishes.price_output_max), "provider.max_price")
    for ceilings, whose in bounds:
        dear = dear or _too_dear(price, ceilings.max_price, whose)
    if dear:
        return Skipped(name, "price", dear)
    if ask.features:
        lacking = _lacking(offer, ask.features, pinned=resolved.pinned is not None)
        if lacking:
            return Skipped(name, "feature", lacking)
    return _too_long(offer, ask)


def _ceilings_of(kept: dict[str, Any]) -> Ceilings:
    """A team's ceilings as they are kept: amounts are decimal text, USD per million tokens."""
    amounts: dict[str, str | None] = kept.get("max_price") or {}
    prices = {kind: parse_usd(amount) for kind, amount in amounts.items() if amount is not None}
    return Ceilings(tuple(kept.get("only") or ()), tuple(kept.get("ignore") or ()), MaxPrice(**prices))


def _lacking(offer: Offer, features: frozenset[Feature], *, pinned: bool) -> str | None:
    """What the offer cannot do. Where the caller named the provider, the table's flags do not stand in its way: they
    come from catalogues and age, and the provider says for itself what its model cannot do."""
    refuses = offer.provider.adapter.refuses
    supports = offer.supports
    for feature in sorted(features, key=lambda feature: feature.name):
        said = _TABLE_SAYS.get(feature)
        if said is not None and getattr(supports, said) is False and not pinned:
            return f"the model has no {feature.value} there"
        if feature in refuses:
            return f"{feature.value}: {refuses[feature]}"
        # The generic adapter cannot know what server is behind it: there the table's row decides.
        if feature is Feature.REGEX and offer.provider.adapter.name == "openai" and not supports.regex:
            return "the table does not say that it supports response_format regex"
    return None


def _too_long(offer: Offer, ask: Ask) -> Skipped | None:
    name = offer.provider.name
    wanted = ask.max_tokens or 0
    if offer.output_tokens_max is not None and wanted > offer.output_tokens_max:
        return Skipped(name, "feature", f"it answers with at most {offer.output_tokens_max} tokens, {wanted} are asked")
    if offer.context_length is not None:
        # Four bytes a token is what English prose comes to; only what is clearly too long is ruled out here.
        prompt = ask.prompt_bytes // 4
        if prompt + wanted > offer.context_length:
            asked = f"prompt and max_tokens come to about {prompt + wanted}"
            return Skipped(name, "feature", f"its context holds {offer.context_length} tokens; {asked}")
    return None


def _too_dear(price: Price | None, ceiling: MaxPrice, whose: str) -> str | None:
    if ceiling.input is None and ceiling.output is None:
        return None
    if price is None:
        return f"its price is not known, and {whose} bounds it"
    if ceiling.input is not None and price.input > ceiling.input:
        return f"its input tokens cost more than {whose}"
    if ceiling.output is not None and price.output > ceiling.output:
        return f"its output tokens cost more than {whose}"
    return None


def unready(offer: Offer, seen: Seen, in_flight: Callable[[str], int]) -> Skipped | None:
    """A passing reason against an offer."""
    name = offer.provider.name
    if seen.cooling_s > 0:
        return Skipped(name, "cooling", f"it asked for silence for {seen.cooling_s:.0f} s more", seen.cooling_s)
    if not seen.ready:
        return Skipped(name, "breaker", f"its breaker is {seen.state.replace('_', ' ')}", max(0.0, seen.ready_in_s))
    bound = offer.provider.max_concurrency
    if bound is not None and in_flight(name) >= bound:
        return Skipped(name, "busy", f"{bound} requests are under way there", 1.0)
    return None
