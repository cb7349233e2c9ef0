"""`models:` and `aliases:` of the mapping table: who serves which Hub model, under what name, at what price."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from gateway.config import readers
from gateway.config.catalog import Model, Offer, Price, Supports
from gateway.config.readers import Reader, Wrong, read_section, show
from gateway.config.table_providers import Providers, unknown_provider
from gateway.config.yaml_tree import Node, Report, Scalar, Sequence
from providers.base import Adapter

TASKS: Final = ("conversational", "text-generation", "image-text-to-text", "feature-extraction")
_TOKENS_MAX: Final = 1 << 31

_MODEL_KEYS: Final[Mapping[str, Reader[Any]]] = {
    "description": readers.text("a sentence of at most 1000 characters"),
    "recommended": readers.boolean,
    "providersMapping": readers.raw,
}
_OFFER_KEYS: Final[Mapping[str, Reader[Any]]] = {
    "providerModelId": readers.text("the provider's own name of the model, at most 300 characters", 300),
    "task": readers.choice(*TASKS),
    "status": readers.choice("live", "staging"),
    "contextLength": readers.integer(1, _TOKENS_MAX),
    "maxOutputTokens": readers.integer(1, _TOKENS_MAX),
    "pricing": readers.raw,
    "supports": readers.raw,
    "weight": readers.integer(1, 1_000_000),
    "promptOverheadTokens": readers.integer(0, 10_000_000),
    "imageTokensMax": readers.integer(0, 10_000_000),
}
_OFFER_FIELDS: Final = {
    "task": "task",
    "status": "status",
    "contextLength": "context_length",
    "maxOutputTokens": "output_tokens_max",
    "weight": "weight",
    "promptOverheadTokens": "prompt_overhead_tokens",
    "imageTokensMax": "image_tokens_max",
}
_PRICE_KEYS: Final[Mapping[str, Reader[Any]]] = {
    "input": readers.usd,
    "output": readers.usd,
    "cachedInput": readers.usd,
    "cacheWrite": readers.usd,
    "from": readers.day,
}
_SUPPORTS_FIELDS: Final = {
    "tools": "tools",
    "structuredOutput": "structured_output",
    "vision": "vision",
    "logprobs": "logprobs",
    "regex": "regex",
    "prefill": "prefill",
}
_SUPPORTS_KEYS: Final[Mapping[str, Reader[Any]]] = dict.fromkeys(_SUPPORTS_FIELDS, readers.boolean)


def read_models(
    node: Node | None, providers: Providers, adapters: Mapping[str, Adapter], report: Report
) -> dict[str, Model]:
    """Every model of the table by its Hub id; those whose providers are all left out have no offers."""
    models: dict[str, Model] = {}
    try:
        section = readers.as_section(node, "models") if node is not None else None
    except Wrong as wrong:
        report(wrong.line, wrong.what)
        return models
    if section is None or not section.items:
        report(section.line if section else 1, "models has no entry, expected at least one Hub model id")
        return models
    for key, value in section.items:
        if not readers.is_model_id(key.text):
            report(key.line, f"{show(key.text)} is not a Hub model id, expected one such as org/name in plain ASCII")
            continue
        models[key.text] = _model(key, value, providers, adapters, report)
    return models


def _model(key: Scalar, node: Node, providers: Providers, adapters: Mapping[str, Adapter], report: Report) -> Model:
    where = f"models.{key.text}"
    fields = read_section(node, where, _MODEL_KEYS, report)
    offers: list[Offer] = []
    mapping = fields.get("providersMapping")
    try:
        section = readers.as_section(mapping, f"{where}.providersMapping") if mapping is not None else None
    except Wrong as wrong:
        report(wrong.line, wrong.what)
        return Model(key.text, ())
    if section is None or not section.items:
        report(key.line, f"{where} has no providersMapping, expected at least one provider that serves it")
        return Model(key.text, ())
    for provider, row in section.items:
        if provider.text not in providers.names:
            report(provider.line, unknown_provider(provider.text, providers.names, adapters))
        offer = _offer(key.text, provider, row, providers, report)
        if offer is not None:
            offers.append(offer)
    left_out = tuple(provider.text for provider, _ in section.items if provider.text in providers.left_out)
    return Model(key.text, tuple(offers), fields.get("description"), fields.get("recommended", False), left_out)


def _offer(hub_model: str, name: Scalar, node: Node, providers: Providers, report: Report) -> Offer | None:
    """The row as an offer; None where it is faulty (and reported) or its provider is not served."""
    where = f"{hub_model}.{name.text}"
    fields = read_section(node, where, _OFFER_KEYS, report)
    prices = _prices(fields["pricing"], f"{where}.pricing", report) if "pricing" in fields else ()
    supports = Supports()
    if "supports" in fields:
        said = read_section(fields["supports"], f"{where}.supports", _SUPPORTS_KEYS, report)
        supports = Supports(**{_SUPPORTS_FIELDS[key]: value for key, value in said.items()})
    provider_model = fields.get("providerModelId")
    if provider_model is None:
        if readers.lacks(node, "providerModelId"):
            report(name.line, f"{where} has no providerModelId, expected the provider's own name of the model")
        return None
    provider = providers.entries.get(name.text)
    if provider is None:
        return None
    try:
        target = provider.adapter.target(
            provider_model=provider_model, hub_model=hub_model, base_url=provider.base_url, api_key=provider.api_key
        )
    except ValueError as error:
        report(name.line, f"{where} cannot be reached: {error}")
        return None
    given = {_OFFER_FIELDS[key]: value for key, value in fields.items() if key in _OFFER_FIELDS}
    return Offer(hub_model, provider, provider_model, target, prices=prices, supports=supports, **given)


def _prices(node: Node, where: str, report: Report) -> tuple[Price, ...]:
    """One price, or a list of them with their first days ascending."""
    if not isinstance(node, Sequence):
        price = _price(node, where, report)
        return () if price is None else (price,)
    prices: list[Price] = []
    if not node.items:
        report(node.line, f"{where} is an empty list, expected prices, each with `from:`")
    for item in node.items:
        price = _price(item, where, report, dated=True)
        if price is None:
            continue
        if prices and (prices[-1].from_day or "") >= (price.from_day or ""):
            report(item.line, f"{where} goes on with {price.from_day}, expected a later day than {prices[-1].from_day}")
        prices.append(price)
    return tuple(prices)


def _price(node: Node, where: str, report: Report, *, dated: bool = False) -> Price | None:
    fields = read_section(node, where, _PRICE_KEYS, report)
    needed = ("input", "output", "from") if dated else ("input", "output")
    absent = [name for name in needed if readers.lacks(node, name)]
    if absent:
        report(node.line, f"{where} has no {' and no '.join(absent)}, expected {', '.join(needed)}")
    if any(name not in fields for name in needed):
        return None
    return Price(
        fields["input"], fields["output"], fields.get("cachedInput"), fields.get("cacheWrite"), fields.get("from")
    )


def read_aliases(node: Node | None, models: Collection[str], report: Report) -> dict[str, str]:
    """Other names of models. An alias neither names another alias nor hides one of `models`."""
    aliases: dict[str, str] = {}
    if node is None:
        return aliases
    try:
        section = readers.as_section(node, "aliases")
    except Wrong as wrong:
        report(wrong.line, wrong.what)
        return aliases
    expected = "expected the id of a model of the table"
    for key, value in section.items:
        if not readers.is_model_id(key.text):
            report(key.line, f"{show(key.text)} is not a name for a model, expected letters, digits and . _ - /")
        elif key.text in models:
            report(key.line, f"alias {show(key.text)} is the id of a model of the table, expected another name")
        elif not isinstance(value, Scalar):
            report(value.line, f"aliases.{key.text} is not a text, {expected}")
        elif value.text not in models:
            what = f"aliases.{key.text} is {show(value.text)}, {expected}"
            report(value.line, readers.hinted(what, value.text, models))
        else:
            aliases[key.text] = value.text
    return aliases
