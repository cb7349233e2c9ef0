"""The catalog in the shapes of Hugging Face: the router's model list and the Hub API's answers. Pure.

What a caller may see is decided by the caller of these functions (`may`); what a provider did lately is handed in
as `measured`. Nothing here names a key, an address or an account's settings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.config.catalog import Catalog, Model, Offer
from gateway.errors import InvalidRequest, NotFound
from gateway.money import format_usd
from gateway.suggest import did_you_mean
from providers.fields import Feature

LIMIT_MAX: Final = 1000
_CREATED: Final = 0
"""The table does not know when a model was made; clients want an integer."""

May = Callable[[Offer], bool]


@dataclass(frozen=True, slots=True)
class Measured:
    """What was seen of an offer lately; None where nobody has looked."""

    healthy: bool = True
    first_token_ms: float | None = None
    tokens_per_s: float | None = None


Measure = Callable[[Offer], Measured | None]


def everything(_: Offer) -> bool:
    """For lists without a key: every offer may be seen."""
    return True


def nothing_measured(_: Offer) -> Measured | None:
    return None


def router_models(catalog: Catalog, day: str, may: May = everything, measured: Measure = nothing_measured) -> Any:
    """`GET /v1/models`. `day` (ISO) picks the price. Models without a visible live offer are left out."""
    shown = (_router_model(model, day, may, measured) for model in catalog.models.values())
    return {"object": "list", "data": [model for model in shown if model["providers"]]}


def router_model(
    catalog: Catalog, name: str, day: str, may: May = everything, measured: Measure = nothing_measured
) -> Any:
    """`GET /v1/models/{name}`, an alias understood. Raises NotFound, with near names."""
    model = catalog.models.get(catalog.aliases.get(name, name))
    shown = _router_model(model, day, may, measured) if model is not None else None
    if shown is None or not shown["providers"]:
        raise _unknown_model(catalog, name, may)
    return shown


def _unknown_model(catalog: Catalog, name: str, may: May) -> NotFound:
    names = [model.id for model in catalog.models.values() if any(may(offer) for offer in model.offers)]
    return NotFound(f"The model {name[:200]!r} does not exist here.{did_you_mean(name, names)}", param="model")


def _router_model(model: Model, day: str, may: May, measured: Measure) -> dict[str, Any]:
    offers = [offer for offer in model.offers if offer.status == "live" and may(offer)]
    reads_images = any(_sees(offer) for offer in offers)
    embeds = bool(offers) and all(offer.task == "feature-extraction" for offer in offers)
    return {
        "id": model.id,
        "object": "model",
        "created": _CREATED,
        "owned_by": model.id.partition("/")[0],
        "architecture": {
            "input_modalities": ["text", "image"] if reads_images else ["text"],
            "output_modalities": ["embedding"] if embeds else ["text"],
        },
        "providers": [_router_provider(offer, day, measured(offer)) for offer in offers],
    }


def _router_provider(offer: Offer, day: str, seen: Measured | None) -> dict[str, Any]:
    """One entry of `providers`: only what is known, as on the router."""
    entry: dict[str, Any] = {
        "provider": offer.provider.name,
        "status": "live" if seen is None or seen.healthy else "error",
    }
    if offer.context_length is not None:
        entry["context_length"] = offer.context_length
    price = offer.price_on(day)
    if price is not None:
        # Numbers, since the router's are; the shortest ones that read back as the table's amounts.
        entry["pricing"] = {"input": float(format_usd(price.input)), "output": float(format_usd(price.output))}
    tools = _known(offer, offer.supports.tools, Feature.TOOLS)
    if tools is not None:
        entry["supports_tools"] = tools
    structured = _known(offer, offer.supports.structured_output, Feature.JSON_SCHEMA)
    if structured is not None:
        entry["supports_structured_output"] = structured
    if seen is not None and seen.first_token_ms is not None:
        entry["first_token_latency_ms"] = round(seen.first_token_ms)
    if seen is not None and seen.tokens_per_s is not None:
        entry["throughput"] = round(seen.tokens_per_s, 2)
    entry["is_model_author"] = False
    return entry


def _known(offer: Offer, said: bool | None, feature: Feature) -> bool | None:
    """What the table says, unless the adapter cannot do it at all."""
    return False if feature in offer.provider.adapter.refuses else said


def _sees(offer: Offer) -> bool:
    if offer.supports.vision is not None:
        return offer.supports.vision
    return offer.task == "image-text-to-text"


def hub_model(catalog: Catalog, name: str, query: Mapping[str, Sequence[str]], may: May = everything) -> Any:
    """`GET /api/models/{name}`. With `expand` only what was asked for, the mapping as an object keyed by provider."""
    model = catalog.models.get(catalog.aliases.get(name, name))
    if model is None or not _visible(model, may):
        raise _unknown_model(catalog, name, may)
    return _hub_model(model, _visible(model, may), _expansions(query), as_list=False)


@dataclass(frozen=True, slots=True)
class HubPage:
    """A page of `GET /api/models`; `next_skip` where there are more, for the Link header."""

    items: list[dict[str, Any]]
    next_skip: int | None


def hub_models(catalog: Catalog, query: Mapping[str, Sequence[str]], may: May = everything) -> HubPage:
    """`GET /api/models`, filtered by `inference_provider` (one, a comma list, repeated, `all`), `pipeline_tag`,
    `filter` and `other` (tags), `author` and `search`; paged by `limit` and `skip`. Raises InvalidRequest."""
    providers = set(_values(query, "inference_provider"))
    tags = {*_values(query, "filter"), *_values(query, "other"), *_values(query, "pipeline_tag")}
    authors = set(_values(query, "author"))
    words = [word.casefold() for word in query.get("search", ()) if word]
    limit = _number(query, "limit", 1, LIMIT_MAX, LIMIT_MAX)
    skip = _number(query, "skip", 0, 1 << 31, 0)
    expansions = _expansions(query)
    found: list[dict[str, Any]] = []
    for model in catalog.models.values():
        offers = _visible(model, may)
        if not offers or (authors and model.id.partition("/")[0] not in authors):
            continue
        if providers and "all" not in providers and providers.isdisjoint(offer.provider.name for offer in offers):
            continue
        if tags <= set(_tags(offers)) and all(word in model.id.casefold() for word in words):
            found.append(_hub_model(model, offers, expansions, as_list=True))
    more = len(found) > skip + limit
    return HubPage(found[skip : skip + limit], skip + limit if more else None)


def partner_models(
    catalog: Catalog, provider: str, query: Mapping[str, Sequence[str]], may: May = everything
) -> dict[str, Any]:
    """`GET /api/partners/{provider}/models`: rows by task and Hub model; `status` filters. Raises NotFound."""
    if provider not in catalog.providers:
        known = list(catalog.providers)
        raise NotFound(f"No provider is called {provider[:64]!r}.{did_you_mean(provider, known)}", code="not_found")
    wanted = set(_values(query, "status"))
    tasks: dict[str, Any] = {}
    for model in catalog.models.values():
        for offer in _visible(model, may):
            if offer.provider.name == provider and (not wanted or offer.status in wanted):
                row = {"_id": _object_id(f"{provider}/{model.id}"), **_provider_id(offer)}
                tasks.setdefault(_hub_task(offer), {})[model.id] = row
    return tasks


def _visible(model: Model, may: May) -> list[Offer]:
    return [offer for offer in model.offers if may(offer)]


def _hub_model(model: Model, offers: list[Offer], expansions: set[str], *, as_list: bool) -> dict[str, Any]:
    tags = _tags(offers)
    known: dict[str, Any] = {
        "author": model.id.partition("/")[0],
        "pipeline_tag": tags[0],
        "tags": tags,
        "private": False,
        "gated": False,
        "disabled": False,
        "inference": "warm",
    }
    answer: dict[str, Any] = {"_id": _object_id(model.id), "id": model.id}
    if not expansions:
        return {**answer, "modelId": model.id, **known}
    answer.update({name: known[name] for name in known if name in expansions})
    if "inferenceProviderMapping" in expansions:
        answer["inferenceProviderMapping"] = (
            [{"provider": offer.provider.name, **_mapping(offer)} for offer in offers]
            if as_list
            else {offer.provider.name: _mapping(offer) for offer in offers}
        )
    return answer


def _provider_id(offer: Offer) -> dict[str, Any]:
    return {"providerId": offer.provider_model, "status": offer.status}


def _mapping(offer: Offer) -> dict[str, Any]:
    return {**_provider_id(offer), "task": _hub_task(offer), "isModelAuthor": False}


def _hub_task(offer: Offer) -> str:
    """Clients call every chat `conversational`, whatever it can see, and refuse rows that say otherwise."""
    return offer.task if offer.task == "feature-extraction" else "conversational"


def _tags(offers: list[Offer]) -> list[str]:
    """The pipeline tag first, then what clients filter by."""
    if all(offer.task == "feature-extraction" for offer in offers):
        return ["feature-extraction"]
    pipeline = "image-text-to-text" if any(_sees(offer) for offer in offers) else "text-generation"
    return [pipeline, "conversational"]


def _object_id(name: str) -> str:
    """Twenty-four hexadecimal digits that stay the same for a name, as the Hub's ids look."""
    return hashlib.sha256(name.encode()).hexdigest()[:24]


def _values(query: Mapping[str, Sequence[str]], name: str) -> Iterator[str]:
    for text in query.get(name, ()):
        yield from (part.strip() for part in text.split(",") if part.strip())


def _expansions(query: Mapping[str, Sequence[str]]) -> set[str]:
    return {*_values(query, "expand"), *_values(query, "expand[]")}


def _number(query: Mapping[str, Sequence[str]], name: str, low: int, high: int, default: int) -> int:
    texts = query.get(name, ())
    if not texts:
        return default
    text = texts[-1]
    if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text) >= low):
        raise InvalidRequest(f"{name} is {text[:40]!r}, expected an integer from {low} to {high}", param=name)
    return min(int(text), high)
