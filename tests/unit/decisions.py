"""Decisions made at random, as live routing makes them: any table, health, wishes and rights."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from gateway.ask import NO_WISHES, SUFFIX_POLICIES, Ask, Wishes, split_model
from gateway.config.catalog import Catalog, Ceilings, MaxPrice, Offer, Price
from gateway.routing.breaker import State
from gateway.routing.health import UNSEEN, Seen
from gateway.routing.naming import resolve
from gateway.routing.offerings import Offerings
from gateway.routing.plan import Plan, make_plan
from gateway.tenants import Budget, Principal
from providers.fields import Feature
from providers.wire import ChatRequest
from tests.unit.catalogs import MODEL, TEAM, catalog, offer, principal

NAMES = ("a", "b", "c", "d", "e", "f", "g", "h")
DAY = "2026-11-24"


def random_plans(count: int, seed: int) -> Iterator[Plan]:
    return (plan for plan, _ in random_routes(count, seed))


def random_routes(count: int, seed: int) -> Iterator[tuple[Plan, Offerings]]:
    """Each with what its table offers."""
    rng = random.Random(seed)
    offerings = Offerings(_catalog(rng))
    for number in range(count):
        if number % 20 == 0:
            offerings = Offerings(_catalog(rng))
        ask = _ask(rng, offerings.catalog)
        seen = {name: _seen(rng) for name in NAMES}

        def look(one: Offer, seen: dict[str, Seen] = seen) -> Seen:
            return seen[one.provider.name]

        resolved = resolve(ask, offerings.catalog)
        yield make_plan(ask, resolved, offerings, _principal(rng), look, day=DAY, draw=rng.random()), offerings


def _some(rng: random.Random, chance: float = 0.15) -> tuple[str, ...]:
    return tuple(rng.sample(NAMES, rng.randint(1, 5))) if rng.random() < chance else ()


def _usd(rng: random.Random) -> int | None:
    return rng.randint(1, 9) * 500_000_000 if rng.random() < 0.2 else None


def _catalog(rng: random.Random) -> Catalog:
    offers = [
        offer(
            name,
            adapter=rng.choice(("openai", "groq", "together")),
            prices=() if rng.random() < 0.1 else (Price(rng.randint(1, 9) * 10**9, rng.randint(1, 9) * 10**9),),
            status="staging" if rng.random() < 0.05 else "live",
            weight=rng.randint(1, 5),
            context_length=rng.choice((None, 2_000, 8_000, 128_000)),
            output_tokens_max=rng.choice((None, 512, 32_768)),
            supports={"tools": rng.choice((None, True, False))},
        )
        for name in rng.sample(NAMES, rng.randint(1, len(NAMES)))
    ]
    made = catalog(*offers, policy=rng.choice(("preferred", "cheapest", "fastest", "balanced")))
    routing = replace(
        made.routing,
        order=_some(rng, 0.4),
        unpriced=rng.choice(("allow", "allow", "refuse")),
        ceilings=Ceilings(ignore=_some(rng), max_price=MaxPrice(_usd(rng), _usd(rng))),
    )
    model = replace(made.models[MODEL], left_out=("absent",) if rng.random() < 0.2 else ())
    return replace(made, routing=routing, models={MODEL: model})


def _ask(rng: random.Random, of: Catalog) -> Ask:
    served = [one.provider.name for one in of.models[MODEL].offers]
    suffix = rng.choice(("", "", "", *(f":{name}" for name in (*SUFFIX_POLICIES, rng.choice(served)))))
    model, asked = split_model(rng.choice((MODEL, "default")) + suffix)
    wishes = NO_WISHES
    if rng.random() < 0.4:
        sort = rng.choice((None, None, "price", "throughput", "latency"))
        wishes = Wishes(_some(rng), _some(rng), _some(rng), sort, _usd(rng), _usd(rng), rng.random() < 0.8)
    return Ask(
        request=ChatRequest(hub_model=model, body={"messages": []}),
        model=model,
        suffix=asked,
        wishes=wishes,
        features=frozenset(rng.sample(list(Feature), rng.choice((0, 0, 0, 1, 2)))),
        prompt_bytes=rng.randint(0, 40_000),
        max_tokens=rng.choice((None, 100, 1_000)),
    )


def _principal(rng: random.Random) -> Principal:
    if rng.random() < 0.6:
        return principal()
    team = replace(
        TEAM,
        providers=_some(rng),
        unpriced=rng.choice((None, "refuse")),
        budget=rng.choice((None, Budget(1))),
        ceilings=rng.choice((None, {"only": _some(rng), "max_price": {"output": "3.5"}})),
    )
    return principal(team=team, providers=_some(rng))


def _seen(rng: random.Random) -> Seen:
    if rng.random() < 0.3:
        return UNSEEN
    state = rng.choice((State.CLOSED,) * 6 + (State.OPEN, State.HALF_OPEN, State.PROBING))
    closed, free = state is State.CLOSED, state is not State.PROBING and rng.random() < 0.5
    return Seen(
        state.value,
        closed or (state is State.HALF_OPEN and free),
        closed or free,
        rng.uniform(0, 15) if state is State.OPEN else 0.0,
        rng.uniform(0, 60) if rng.random() < 0.05 else 0.0,
        rng.randint(0, 50),
        rng.choice((None, rng.uniform(20, 3_000))),
        rng.choice((None, rng.uniform(5, 500))),
        rng.random() < 0.95,
        rng.choice((0.0, rng.random() / 2)),
        rng.uniform(0, 60) if rng.random() < 0.05 else 0.0,
        rng.random() < 0.02,
    )
