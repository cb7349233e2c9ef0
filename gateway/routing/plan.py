"""Who is asked, in which order, and why everybody else is not.

A pure function of the ask, the catalog, the principal, what was seen of each offer, and one random number. The
plan it returns explains itself: to `gateway explain`, to the story of a request, and in the text of a refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.ask import SUFFIX_POLICIES, Ask
from gateway.config.catalog import Catalog, Ceilings, MaxPrice, Model, Offer, Price
from gateway.errors import Forbidden, GatewayError, InvalidRequest, NoProviderAvailable, NotFound
from gateway.money import parse_usd
from gateway.routing.health import Seen
from gateway.suggest import did_you_mean
from gateway.tenants import Principal
from providers.fields import Feature

Look = Callable[[Offer], Seen]

EXPLORE_SHARE: Final = 0.1
"""How often `fastest` tries what nobody has measured yet."""


@dataclass(frozen=True, slots=True)
class Candidate:
    offer: Offer
    seen: Seen


@dataclass(frozen=True, slots=True)
class Skipped:
    """An offer (or a provider without one) that is not asked. `code` groups the reasons."""

    provider: str
    code: str
    reason: str
    ready_in_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    hub_model: str
    policy: str
    candidates: tuple[Candidate, ...]
    skipped: tuple[Skipped, ...] = ()
    draw: float = 0.0
    """The random number that was used, in [0, 1)."""

    @property
    def silence_s(self) -> float | None:
        """How long until the first of those who asked for silence may be asked; None where nobody did."""
        return min((skip.ready_in_s for skip in self.skipped if skip.code == "cooling"), default=None)

    def as_json(self) -> dict[str, Any]:
        """What was decided and seen, for the journal and for `gateway explain`."""
        return {
            "model": self.hub_model,
            "policy": self.policy,
            "draw": self.draw,
            "candidates": [
                {"provider": c.offer.provider.name, "provider_model": c.offer.provider_model, **c.seen._asdict()}
                for c in self.candidates
            ],
            "skipped": [{"provider": s.provider, "code": s.code, "reason": s.reason} for s in self.skipped],
        }


@dataclass(frozen=True, slots=True)
class Resolved:
    """A model's name understood: the model, and what its suffix asks for."""

    model: Model
    pinned: str | None = None
    policy: str | None = None


def resolve(ask: Ask, catalog: Catalog) -> Resolved:
    """The model behind a name, an alias or either with a suffix. NotFound says what would be right."""
    name = catalog.aliases.get(ask.model, ask.model)
    model = catalog.models.get(name)
    if model is None:
        known = [*catalog.models, *catalog.aliases]
        raise NotFound(
            f"The model {ask.model!r} does not exist here.{did_you_mean(ask.model, known)} GET /v1/models lists all.",
            param="model",
        )
    suffix = ask.suffix
    if suffix is None:
        return Resolved(model)
    if suffix in SUFFIX_POLICIES:
        return Resolved(model, policy=suffix)
    if any(offer.provider.name == suffix for offer in model.offers):
        return Resolved(model, pinned=suffix)
    if suffix in catalog.left_out:
        raise NotFound(f"{suffix} is not available: {catalog.left_out[suffix]}.", param="model")
    good = [*SUFFIX_POLICIES, *dict.fromkeys(offer.provider.name for offer in model.offers)]
    what = "does not serve" if suffix in catalog.providers else "is no known provider or policy for"
    raise NotFound(
        f"{suffix!r} {what} {model.id}; the suffixes are {', '.join(good)}.{did_you_mean(suffix, good)}",
        param="model",
    )


def pin(ask: Ask, provider: str, catalog: Catalog) -> Ask:
    """The ask of a provider's own route: that provider only, whose own model id is understood as well as the Hub's.

    NotFound where there is no such provider, or it is left out.
    """
    if provider not in catalog.providers:
        reason = catalog.left_out.get(provider)
        what = f"is not available: {reason}" if reason else "is no provider of this gateway"
        raise NotFound(f"{provider!r} {what}.{did_you_mean(provider, catalog.providers)}", code="provider_not_found")
    model = ask.model
    if catalog.aliases.get(model, model) not in catalog.models:
        model = next(
            (
                offer.hub_model
                for entry in catalog.models.values()
                for offer in entry.offers
                if offer.provider.name == provider and offer.provider_model == model
            ),
            model,
        )
    return replace(ask, model=model, suffix=provider)


def make_plan(
    ask: Ask,
    resolved: Resolved,
    catalog: Catalog,
    principal: Principal,
    look: Look,
    *,
    day: str,
    draw: float,
    in_flight: Callable[[str], int] = lambda provider: 0,
) -> Plan:
    """Ordered candidates and the reasons of all who are not. `day` (ISO) chooses among dated prices."""
    routing = catalog.routing
    wishes = ask.wishes
    policy = resolved.policy or _SORT_POLICY.get(wishes.sort or "", routing.policy)
    fit: list[Candidate] = []
    skipped = [Skipped(name, "unkeyed", catalog.left_out[name]) for name in resolved.model.left_out]
    resting: list[Candidate] = []
    for offer in resolved.model.offers:
        reason = _unfit(offer, ask, resolved, catalog, principal, day)
        if reason is None:
            seen = look(offer)
            reason = _unready(offer, seen, in_flight)
            if reason is None:
                fit.append(Candidate(offer, seen))
                continue
            if reason.code == "breaker":
                resting.append(Candidate(offer, seen))
        skipped.append(reason)
    if not fit and resting:
        # Nobody is left: the soonest ready is tried rather than nobody, as its own probe.
        free = [candidate for candidate in resting if candidate.seen.probe_free]
        if free:
            chosen = min(free, key=lambda candidate: candidate.seen.ready_in_s)
            fit = [chosen]
            skipped = [s for s in skipped if not (s.code == "breaker" and s.provider == chosen.offer.provider.name)]
    ordered = _ordered(fit, ask, catalog, policy, day, draw)
    if not wishes.allow_fallbacks:
        ordered = ordered[:1]
    return Plan(resolved.model.id, policy, tuple(ordered), tuple(skipped), draw)


def refusal(plan: Plan) -> GatewayError:
    """Why a plan without candidates has none, as the caller's answer."""
    codes = {skip.code for skip in plan.skipped}
    reasons = "; ".join(f"{skip.provider}: {skip.reason}" for skip in plan.skipped)
    if codes & {"breaker", "cooling", "busy"}:
        soonest = min(skip.ready_in_s for skip in plan.skipped if skip.code in ("breaker", "cooling", "busy"))
        return NoProviderAvailable(
            f"No provider of {plan.hub_model} can be asked right now ({reasons}).", retry_after_s=max(1.0, soonest)
        )
    if "feature" in codes:
        return InvalidRequest(f"No provider of {plan.hub_model} supports what this request needs ({reasons}).")
    if "wish" in codes or "price" in codes:
        return InvalidRequest(
            f"The request rules out every provider of {plan.hub_model} ({reasons}).", param="provider"
        )
    if "access" in codes:
        return Forbidden(f"No provider of {plan.hub_model} may be used with this key ({reasons}).")
    return NotFound(f"The model {plan.hub_model!r} has no live provider here ({reasons}).", param="model")


def _unfit(
    offer: Offer, ask: Ask, resolved: Resolved, catalog: Catalog, principal: Principal, day: str
) -> Skipped | None:
    """The first lasting reason against an offer: what the request, the team or the table says."""
    name = offer.provider.name
    wishes, routing = ask.wishes, catalog.routing
    if resolved.pinned is not None:
        if name != resolved.pinned:
            return Skipped(name, "wish", f"the model's suffix asks for {resolved.pinned} only")
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


def _unready(offer: Offer, seen: Seen, in_flight: Callable[[str], int]) -> Skipped | None:
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


def _ordered(fit: list[Candidate], ask: Ask, catalog: Catalog, policy: str, day: str, draw: float) -> list[Candidate]:
    if len(fit) > 1:
        fit = _ORDERINGS[policy](fit, catalog, day, draw)
        if ask.wishes.order:
            fit = _by_names(fit, ask.wishes.order)
    return fit


def _by_names(fit: list[Candidate], names: Sequence[str]) -> list[Candidate]:
    rank = {name: i for i, name in enumerate(names)}
    return sorted(fit, key=lambda candidate: rank.get(candidate.offer.provider.name, len(rank)))


def _preferred(fit: list[Candidate], catalog: Catalog, day: str, draw: float) -> list[Candidate]:
    return _by_names(fit, catalog.routing.order) if catalog.routing.order else fit


def _cheapest(fit: list[Candidate], catalog: Catalog, day: str, draw: float) -> list[Candidate]:
    def cost(candidate: Candidate) -> tuple[int, int, int]:
        price = candidate.offer.price_on(day)
        return (1, 0, 0) if price is None else (0, price.output, price.input)

    return sorted(fit, key=cost)


def _fastest(fit: list[Candidate], catalog: Catalog, day: str, draw: float) -> list[Candidate]:
    unmeasured = [candidate for candidate in fit if candidate.seen.tokens_per_s is None]
    measured = sorted(
        (candidate for candidate in fit if candidate.seen.tokens_per_s is not None),
        key=lambda candidate: -(candidate.seen.tokens_per_s or 0.0),
    )
    if not measured or draw < EXPLORE_SHARE:
        return unmeasured + measured
    return measured + unmeasured


def _quickest(fit: list[Candidate], catalog: Catalog, day: str, draw: float) -> list[Candidate]:
    return sorted(fit, key=lambda candidate: candidate.seen.first_content_ms or 0.0)


def _balanced(fit: list[Candidate], catalog: Catalog, day: str, draw: float) -> list[Candidate]:
    """Power of two choices: of two drawn by weight (they may be one), the one with less work and quicker answers."""
    first = _draw_by_weight(fit, draw)
    # A second number from the same draw: its digits below the first few are as good as new.
    second = _draw_by_weight(fit, draw * 4096 % 1.0)
    best = min((first, second), key=_load)
    return [best, *sorted((candidate for candidate in fit if candidate is not best), key=_load)]


def _load(candidate: Candidate) -> float:
    return (candidate.seen.in_flight + 1) * (candidate.seen.first_content_ms or 1.0)


def _draw_by_weight(fit: list[Candidate], draw: float) -> Candidate:
    point = draw * sum(candidate.offer.weight for candidate in fit)
    for candidate in fit:
        point -= candidate.offer.weight
        if point < 0:
            return candidate
    return fit[-1]


_ORDERINGS: Final = {
    "preferred": _preferred,
    "cheapest": _cheapest,
    "fastest": _fastest,
    "latency": _quickest,
    "balanced": _balanced,
}
_SORT_POLICY: Final = {"price": "cheapest", "throughput": "fastest", "latency": "latency"}
_TABLE_SAYS: Final = {
    Feature.TOOLS: "tools",
    Feature.FORCED_TOOL_CHOICE: "tools",
    Feature.JSON_SCHEMA: "structured_output",
    Feature.IMAGES: "vision",
    Feature.LOGPROBS: "logprobs",
    Feature.REGEX: "regex",
}
