"""Small catalogs and principals for tests of pure decisions."""

from __future__ import annotations

from typing import Any

from gateway.config.catalog import Catalog, Model, Offer, Price, ProviderEntry, Routing, Supports
from gateway.money import NANO_PER_USD
from gateway.tenants import Key, Principal, Team
from providers.registry import ADAPTERS

MODEL = "org/model"
TEAM = Team(id="t_1", name="search", created_at_ms=0)


def offer(provider: str, *, adapter: str = "openai", usd: tuple[float, float] | None = (1, 2), **more: Any) -> Offer:
    """One offer of MODEL; `usd` are its input and output prices per million tokens."""
    made = ADAPTERS[adapter]
    entry = ProviderEntry(
        name=provider,
        adapter=made,
        base_url="http://127.0.0.1:9/v1",
        api_key=more.pop("api_key", f"key-of-{provider}"),
        max_concurrency=more.pop("max_concurrency", None),
    )
    model = more.pop("provider_model", f"{provider}-model")
    prices: tuple[Price, ...] = ()
    if usd is not None:
        prices = (Price(input=int(usd[0] * NANO_PER_USD), output=int(usd[1] * NANO_PER_USD)),)
    return Offer(
        hub_model=MODEL,
        provider=entry,
        provider_model=model,
        target=made.target(provider_model=model, hub_model=MODEL, base_url=entry.base_url, api_key="k"),
        prices=more.pop("prices", prices),
        supports=Supports(**more.pop("supports", {})),
        **more,
    )


def catalog(*offers: Offer, **routing: Any) -> Catalog:
    return Catalog(
        providers={one.provider.name: one.provider for one in offers},
        models={MODEL: Model(id=MODEL, offers=offers)},
        aliases={"default": MODEL},
        routing=Routing(**routing),
        left_out={"absent": "ABSENT_API_KEY is not set"},
    )


def principal(*, team: Team = TEAM, **key: Any) -> Principal:
    return Principal(key=Key(id="k1", team_id=team.id, prefix="hf_gw_k1", digest="", **key), team=team, billed=team)
