"""Offers, principals and openings for tests of money."""

from __future__ import annotations

from typing import Any, cast

from gateway.config.catalog import Offer, Price, ProviderEntry
from gateway.ids import InferenceIds
from gateway.opening import Opening
from gateway.tenants import Key, Principal, Team
from providers.base import Adapter
from providers.wire import Target

MODEL = "meta-llama/Llama-3.3-70B-Instruct"
TEAM = Team("t_aaaaaaaaaaaa", "search", 0)
KEY = Key("k_one", TEAM.id, "hf_gw_ab", "d" * 64)
PRICE = Price(590_000_000, 790_000_000)
"""0.59 and 0.79 USD a million tokens."""
_ids = InferenceIds()


def offer(provider: str = "groq", price: Price | None = PRICE, **changes: Any) -> Offer:
    entry = ProviderEntry(provider, cast(Adapter, None), "http://127.0.0.1")
    target = Target(f"{provider}-model", MODEL, "http://127.0.0.1/v1", ())
    values: dict[str, Any] = {"prices": () if price is None else (price,), "context_length": 131_072, **changes}
    return Offer(MODEL, entry, f"{provider}-model", target, **values)


def principal(*, team: Team = TEAM, key: Key = KEY) -> Principal:
    return Principal(key, team, team)


def opening(who: Principal | None = None, **changes: Any) -> Opening:
    values: dict[str, Any] = {
        "inference_id": _ids.next(),
        "principal": who or principal(),
        "hub_model": MODEL,
        "request_id": "caller-1",
        "tags": {"project": "x"},
        "stream": False,
        "prompt_bytes": 400,
        "messages": 2,
        "images": 0,
        "choices": 1,
        "max_tokens": None,
        "offers": (offer(),),
        "deadline_s": 600.0,
        "generation": "g1",
        "decision": b'{"order":"preferred"}',
    }
    return Opening(**{**values, **changes})
