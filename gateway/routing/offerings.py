"""From the mapping table, a key and its team to the values of a situation, made once and kept as long as they hold."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from gateway.config.catalog import Catalog, Ceilings, Offer
from gateway.money import parse_usd
from gateway.routing.naming import Resolved
from gateway.routing.situation import Bound, Offering, Rights, Terms
from gateway.tenants import Principal
from providers.fields import Feature

OFFERINGS_MAX: Final = 4096
"""Kept at most. A table has hundreds of models, and callers a handful of combinations of needs."""

_TABLE_SAYS: Final = {
    Feature.TOOLS: "tools",
    Feature.FORCED_TOOL_CHOICE: "tools",
    Feature.JSON_SCHEMA: "structured_output",
    Feature.IMAGES: "vision",
    Feature.LOGPROBS: "logprobs",
    Feature.REGEX: "regex",
}
"""What a row's `supports` may deny."""

_encode = msgspec.json.Encoder().encode


class Packed(NamedTuple):
    """An offering, and the same as it is kept."""

    offering: Offering
    packed: msgspec.Raw


class Offerings:
    """What one table offers."""

    __slots__ = ("_day", "_made", "catalog")

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._day = ""
        self._made: dict[tuple[str, frozenset[Feature], bool], Packed] = {}

    def of(self, resolved: Resolved, needs: frozenset[Feature], day: str) -> Packed:
        """The offers of a model to requests with these needs. `day` (ISO) chooses among dated prices."""
        if day != self._day:
            self._day, self._made = day, {}
        key = (resolved.model.id, needs, resolved.pinned is not None)
        found = self._made.get(key)
        if found is None:
            if len(self._made) >= OFFERINGS_MAX:
                self._made.clear()
            offering = self._make(resolved, needs, day)
            found = self._made[key] = Packed(offering, msgspec.Raw(_encode(offering)))
        return found

    def _make(self, resolved: Resolved, needs: frozenset[Feature], day: str) -> Offering:
        routing, model = self.catalog.routing, resolved.model
        return Offering(
            terms=tuple(terms_of(offer, needs, day, pinned=resolved.pinned is not None) for offer in model.offers),
            policy=routing.policy,
            order=routing.order,
            bound=_bound(routing.ceilings),
            refuses_unpriced=routing.unpriced == "refuse",
            needs=tuple(sorted(feature.name for feature in needs)),
            left_out={name: self.catalog.left_out[name] for name in model.left_out},
        )


def terms_of(offer: Offer, needs: frozenset[Feature], day: str, *, pinned: bool) -> Terms:
    price = offer.price_on(day)
    return Terms(
        provider=offer.provider.name,
        provider_model=offer.provider_model,
        input=None if price is None else price.input,
        output=None if price is None else price.output,
        status=offer.status,
        weight=offer.weight,
        context_length=offer.context_length,
        output_tokens_max=offer.output_tokens_max,
        lacks=_lacking(offer, needs, pinned=pinned),
    )


def _lacking(offer: Offer, needs: frozenset[Feature], *, pinned: bool) -> str | None:
    """What the offer cannot do. Where the caller named the provider, the table's flags do not stand in its way: they
    come from catalogues and age, and the provider says for itself what its model cannot do."""
    refuses = offer.provider.adapter.refuses
    supports = offer.supports
    for feature in sorted(needs, key=lambda feature: feature.name):
        said = _TABLE_SAYS.get(feature)
        if said is not None and getattr(supports, said) is False and not pinned:
            return f"the model does not support {feature.value} there"
        if feature in refuses:
            return f"{feature.value}: {refuses[feature]}"
        # The generic adapter cannot know what server is behind it: there the table's row decides.
        if feature is Feature.REGEX and offer.provider.adapter.name == "openai" and not supports.regex:
            return "the table does not say that it supports response_format regex"
    return None


def rights_of(principal: Principal) -> Rights | None:
    """What a principal may not; None where it may all."""
    key, team = principal.key, principal.billed
    strict = (key.budget is not None or team.budget is not None) and principal.has_strict_budget
    if not (strict or key.providers or team.providers or team.ceilings or team.unpriced == "refuse"):
        return None
    kept = team.ceilings or {}
    # Amounts are kept as decimal text, USD per million tokens.
    prices = {kind: parse_usd(text) for kind, text in (kept.get("max_price") or {}).items() if text is not None}
    bound = Bound(
        tuple(kept.get("only") or ()), tuple(kept.get("ignore") or ()), prices.get("input"), prices.get("output")
    )
    return Rights(
        providers=tuple(names for names in (key.providers, team.providers) if names),
        bound=None if bound == Bound() else bound,
        refuses_unpriced=team.unpriced == "refuse",
        strict_budget=strict,
    )


def _bound(ceilings: Ceilings) -> Bound | None:
    bound = Bound(ceilings.only, ceilings.ignore, ceilings.max_price.input, ceilings.max_price.output)
    return None if bound == Bound() else bound
