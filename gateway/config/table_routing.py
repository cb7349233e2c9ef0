"""`routing:` and `timezone:` of the mapping table: how requests choose among offers, and when days begin."""

from __future__ import annotations

import zoneinfo
from collections.abc import Collection, Mapping
from typing import Any, Final

from gateway.config import readers
from gateway.config.catalog import Breaker, Ceilings, MaxPrice, Routing
from gateway.config.readers import Reader, Wrong, read_section, show
from gateway.config.table_providers import unknown_provider
from gateway.config.yaml_tree import Node, Report, Scalar

_PROVIDER_LIST = readers.text_list("providers")
_KEYS: Final[Mapping[str, Reader[Any]]] = {
    "policy": readers.choice("preferred", "cheapest", "fastest", "balanced"),
    "order": _PROVIDER_LIST,
    "attempts": readers.integer(1, 20),
    "deadline": readers.seconds(),
    "retryAfterWait": readers.seconds(zero=True),
    "retryBudgetPercent": readers.integer(0, 100),
    "breaker": readers.raw,
    "keepAlive": readers.seconds(zero=True),
    "delivery": readers.choice("live", "whole"),
    "midStream": readers.choice("error", "continue"),
    "maxTokensDefault": readers.integer(1, 10_000_000),
    "unpriced": readers.choice("allow", "refuse"),
    "ceilings": readers.raw,
    "maxInFlight": readers.integer(1, 1_000_000),
    "queue": readers.integer(0, 1_000_000),
}
_FIELDS: Final = {
    "policy": "policy",
    "attempts": "attempts",
    "deadline": "deadline_s",
    "retryAfterWait": "retry_after_wait_s",
    "retryBudgetPercent": "retry_budget_percent",
    "keepAlive": "keep_alive_s",
    "delivery": "delivery",
    "midStream": "mid_stream",
    "maxTokensDefault": "max_tokens_default",
    "unpriced": "unpriced",
    "maxInFlight": "max_in_flight",
    "queue": "queue",
}
_BREAKER_KEYS: Final[Mapping[str, Reader[Any]]] = {
    "failures": readers.integer(1, 10_000),
    "percent": readers.integer(1, 100),
    "window": readers.seconds(),
    "open": readers.seconds(),
}
_BREAKER_FIELDS: Final = {"failures": "failures", "percent": "percent", "window": "window_s", "open": "open_s"}
_CEILING_KEYS: Final[Mapping[str, Reader[Any]]] = {
    "only": _PROVIDER_LIST,
    "ignore": _PROVIDER_LIST,
    "max_price": readers.raw,
}
_MAX_PRICE_KEYS: Final[Mapping[str, Reader[Any]]] = {"input": readers.usd, "output": readers.usd}


def read_routing(node: Node | None, declared: Collection[str], adapters: Collection[str], report: Report) -> Routing:
    """The routing section, with the documented defaults for what is left out or wrong (and reported)."""
    if node is None:
        return Routing()

    def names(scalars: tuple[Scalar, ...], where: str) -> tuple[str, ...]:
        found: list[str] = []
        for scalar in scalars:
            if scalar.text not in declared:
                report(scalar.line, f"{where}: {unknown_provider(scalar.text, declared, adapters)}")
            elif scalar.text in found:
                report(scalar.line, f"{where} names {show(scalar.text)} twice, expected once")
            else:
                found.append(scalar.text)
        return tuple(found)

    fields = read_section(node, "routing", _KEYS, report)
    given = {_FIELDS[key]: value for key, value in fields.items() if key in _FIELDS}
    if "breaker" in fields:
        breaker = read_section(fields["breaker"], "routing.breaker", _BREAKER_KEYS, report)
        given["breaker"] = Breaker(**{_BREAKER_FIELDS[key]: value for key, value in breaker.items()})
    if "ceilings" in fields:
        where = "routing.ceilings"
        ceilings = read_section(fields["ceilings"], where, _CEILING_KEYS, report)
        max_price = MaxPrice()
        if "max_price" in ceilings:
            max_price = MaxPrice(**read_section(ceilings["max_price"], f"{where}.max_price", _MAX_PRICE_KEYS, report))
        given["ceilings"] = Ceilings(
            only=names(ceilings.get("only", ()), f"{where}.only"),
            ignore=names(ceilings.get("ignore", ()), f"{where}.ignore"),
            max_price=max_price,
        )
    return Routing(order=names(fields.get("order", ()), "routing.order"), **given)


def timezone(node: Node, where: str) -> str:
    """The name of a zone of the IANA database."""
    expected = "a time zone such as UTC or Europe/Zurich"
    name = readers.text(expected, 64)(node, where)
    if name == "UTC":  # known even where the machine carries no time zone database
        return name
    try:
        zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        what = f"{where} is {show(name)}, expected {expected}"
        raise Wrong(node.line, readers.hinted(what, name, zoneinfo.available_timezones())) from None
    return name
