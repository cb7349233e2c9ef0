"""What others say about who serves what: the documentation, the Hub API, a router's model list, as rows. Pure.

The text comes from elsewhere, so each value is taken only where it has the type and form that a table may hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from gateway.money import parse_usd

_DOCS = re.compile(r"(?:pipeline=([a-z-]+)\s+)?providersMapping=\{\s*(?=\{)")


@dataclass(frozen=True, slots=True)
class HubRow:
    """One provider of one Hub model. None: the source does not say."""

    hub_model: str
    provider: str
    provider_model: str | None = None
    task: str | None = None
    status: str | None = None
    context_length: int | None = None
    input_usd: str | None = None
    """USD per million tokens, as a plain decimal."""
    output_usd: str | None = None
    tools: bool | None = None
    structured_output: bool | None = None
    from_hub: bool = False
    """The source lists every provider of this model."""


_FACTS: Final = (
    "provider_model",
    "task",
    "status",
    "context_length",
    "input_usd",
    "output_usd",
    "tools",
    "structured_output",
)


class NoRows(Exception):
    """A document that holds no mapping in any known form."""


def rows_in_text(text: str) -> list[HubRow]:
    """Rows of a JSON document, or of a documentation page with `providersMapping={ {…} }` in it. Raises NoRows."""
    try:
        return rows_of(json.loads(text))
    except (ValueError, RecursionError):
        pass
    rows: list[HubRow] = []
    for match in _DOCS.finditer(text):
        try:
            document, _ = json.JSONDecoder().raw_decode(text, match.end())
        except (ValueError, RecursionError) as error:
            raise NoRows(f"the providersMapping at character {match.start()} is not JSON: {error}") from error
        task = "image-text-to-text" if match[1] == "image-text-to-text" else None
        rows += [replace(row, task=task) for row in rows_of(document)]
    if not rows:
        raise NoRows("neither JSON nor a page with providersMapping={ {…} } in it")
    return combined(rows)


def rows_of(document: Any) -> list[HubRow]:
    """Rows of a parsed JSON document, one per model and provider. Raises NoRows."""
    rows = combined(_rows(document))
    if not rows:
        raise NoRows(
            "no mapping in it, expected a providersMapping object, a Hub API answer with inferenceProviderMapping, "
            "or a router's model list"
        )
    return rows


def combined(rows: Iterable[HubRow]) -> list[HubRow]:
    """One row per model and provider; what an earlier row leaves open, a later one may fill in."""
    found: dict[tuple[str, str], HubRow] = {}
    for row in rows:
        held = found.get((row.hub_model, row.provider))
        if held is not None:
            filled = {name: getattr(row, name) for name in _FACTS if getattr(held, name) is None}
            row = replace(held, **filled, from_hub=held.from_hub or row.from_hub)
        found[row.hub_model, row.provider] = row
    return list(found.values())


def _rows(document: Any) -> Iterator[HubRow]:
    if isinstance(document, list):
        for item in document:
            yield from _rows(item)
    elif isinstance(document, dict):
        if document.get("object") == "list":
            yield from _rows(document.get("data"))
        elif "inferenceProviderMapping" in document:
            yield from _hub_rows(document)
        elif isinstance(document.get("providers"), list):
            yield from _router_rows(document)
        elif "providersMapping" in document:
            yield from _rows(document["providersMapping"])
        else:
            yield from _documented_rows(document)


def _documented_rows(document: dict[Any, Any]) -> Iterator[HubRow]:
    """`{"groq": {"modelId", "providerModelId"}}`, or one such entry with its provider's name inside."""
    entries = [(document.get("provider"), document)] if "providerModelId" in document else document.items()
    for provider, entry in entries:
        if not isinstance(entry, dict):
            continue
        hub_model, provider_model = _text(entry.get("modelId")), _text(entry.get("providerModelId"))
        if isinstance(provider, str) and hub_model and provider_model:
            yield HubRow(hub_model, provider, provider_model, status=_text(entry.get("status")))


def _hub_rows(document: dict[str, Any]) -> Iterator[HubRow]:
    hub_model, mapping = _text(document.get("id")), document["inferenceProviderMapping"]
    if isinstance(mapping, dict):
        mapping = [{"provider": provider, **entry} for provider, entry in mapping.items() if isinstance(entry, dict)]
    for entry in mapping if isinstance(mapping, list) else ():
        if not isinstance(entry, dict):
            continue
        provider, provider_model = _text(entry.get("provider")), _text(entry.get("providerId"))
        if hub_model and provider and provider_model:
            task, status = _text(entry.get("task")), _text(entry.get("status"))
            yield HubRow(hub_model, provider, provider_model, task, status, from_hub=True)


def _router_rows(document: dict[str, Any]) -> Iterator[HubRow]:
    hub_model = _text(document.get("id"))
    for entry in document["providers"]:
        provider = _text(entry.get("provider")) if isinstance(entry, dict) else None
        if not hub_model or not provider:
            continue
        pricing = entry.get("pricing")
        prices = pricing if isinstance(pricing, dict) else {}
        context = entry.get("context_length")
        yield HubRow(
            hub_model,
            provider,
            context_length=context if isinstance(context, int) and 0 < context < 1 << 31 else None,
            input_usd=_usd(prices.get("input")),
            output_usd=_usd(prices.get("output")),
            tools=_flag(entry.get("supports_tools")),
            structured_output=_flag(entry.get("supports_structured_output")),
        )


def _text(value: Any) -> str | None:
    """Text that a table may hold: printable, short, and no reference to a variable."""
    if isinstance(value, str) and value.strip() and len(value) <= 300 and value.isprintable() and "${" not in value:
        return value
    return None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _usd(value: Any) -> str | None:
    """A price as a plain decimal. Zero is a missing figure or a promotion, not a price to bill by."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        text = format(round(Decimal(str(value)), 9).normalize(), "f")
        return text if parse_usd(text) > 0 else None
    except (ArithmeticError, ValueError):
        return None
