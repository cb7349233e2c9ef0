"""Closed entries, runs and admissions for tests of the stores."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from gateway.ids import InferenceIds
from gateway.periods import hour_of
from gateway.records import Admit, ClosedEntry, Run, Scope
from gateway.store.base import Store
from gateway.tenants import Team

NOW_MS = time.time_ns() // 1_000_000
TEAM = "t_aaaaaaaaaaaa"
OTHER_TEAM = "t_bbbbbbbbbbbb"
ids = InferenceIds()


def entry(seq: int, **changes: Any) -> ClosedEntry:
    """An exact use of 100 + 20 tokens for 74 800 nano-USD, the only one of its request."""
    at_ms = changes.pop("at_ms", NOW_MS)
    hour = hour_of(at_ms, "UTC")
    values: dict[str, Any] = {
        "kind": "use",
        "seq": seq,
        "prev": seq - 1,
        "inference_id": ids.next(),
        "number": 1,
        "last": True,
        "at_ms": at_ms,
        "day": hour.day,
        "hour_start_ms": hour.start_ms,
        "day_start_ms": hour.day_start_ms,
        "team_id": TEAM,
        "key_id": "k_one",
        "hub_model": "meta-llama/Llama-3.3-70B-Instruct",
        "provider": "groq",
        "provider_model": "llama-3.3-70b-versatile",
        "request_id": "r",
        "status": 200,
        "answered": True,
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "charge_nano_usd": 74_800,
        "provider_cost_nano_usd": 74_800,
    }
    return ClosedEntry(**{**values, **changes})


def run_of(entries: Sequence[ClosedEntry], *, believed: int | None = None, instance: str = "i_one") -> Run:
    watermark = entries[0].prev if believed is None else believed
    return Run(entries[0].team_id, instance, watermark, tuple(entries))


def admit(scopes: Sequence[Scope], **changes: Any) -> Admit:
    values: dict[str, Any] = {
        "inference_id": ids.next(),
        "team_id": TEAM,
        "scopes": tuple(scopes),
        "hold_nano_usd": 1000,
        "tokens": 10,
        "lease_ms": 60_000,
        "not_after_ms": time.time_ns() // 1_000_000 + 5000,
    }
    return Admit(**{**values, **changes})


def budget(nano_usd: int, **changes: Any) -> Scope:
    return Scope("team", budget_nano_usd=nano_usd, budget_window="total", **changes)


async def with_store(opener: Callable[[], Awaitable[Store]], act: Callable[[Store], Awaitable[None]]) -> None:
    store = await opener()
    try:
        await act(store)
    finally:
        await store.aclose()


def with_teams(act: Callable[[Store], Awaitable[None]]) -> Callable[[Store], Awaitable[None]]:
    """The same, in a store that knows both teams of the samples."""

    async def acted(store: Store) -> None:
        await store.create_team(Team(TEAM, "search", 0))
        await store.create_team(Team(OTHER_TEAM, "ads", 0))
        await act(store)

    return acted
