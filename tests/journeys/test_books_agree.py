"""A thousand mixed requests of four teams: `gateway usage` says what was counted, to the token and the nano-dollar.

Three books are kept apart: the gateway's, read by its command line once it has stopped; what each simulated provider
put on the wire; and what the callers were told, from which every cost is computed here again. Nscale's streams report
no usage, so it is asked for whole answers only.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml

from gateway.config.demo_table import DOWN_MODEL
from tests.clients.grid import PLACES, REFUSALS, fields
from tests.journeys.caller import events_of
from tests.journeys.gateway_process import PATIENCE_S, ROOT, GatewayProcess, running, until
from tests.journeys.simulator_process import Stats, simulators
from tests.store.redis_server import RedisServer

REQUESTS: Final = 1000
CONCURRENCY: Final = 16
STRICT_TEAM: Final = "billing"
TEAMS: Final[Mapping[str, dict[str, Any]]] = {
    "search": {},
    "support": {"budget": {"usd": "5000", "period": "month", "enforce": "soft"}},
    "labs": {"limits": {"requests_per_minute": 100_000, "tokens_per_minute": 100_000_000, "concurrency": 100}},
    STRICT_TEAM: {"budget": {"usd": "5000", "period": "month"}},
}
UNPINNED: Final = (
    "default",  # an alias; the first account of its model is down
    "meta-llama/Llama-3.3-70B-Instruct",
    "meta-llama/Llama-4-Scout-17B-16E-Instruct",
    "deepseek-ai/DeepSeek-R1:preferred",
    "deepseek-ai/DeepSeek-R1-0528:cheapest",
    "moonshotai/Kimi-K2.5:fastest",
    "openai/gpt-oss-120b",
    "CohereLabs/c4ai-command-r7b-12-2024",  # half a nano-dollar a token: rounding shows
)
WORDS: Final = ("the", "tide", "comes", "in", "and", "nobody", "counts", "how", "often", "it", "goes", "out")
TOKENS: Final = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")

Table = Mapping[str, Any]
Line = tuple[str, str, str]
"""Team, Hub model, provider."""


@dataclass(frozen=True, slots=True)
class Asked:
    team: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """What one caller learned of its request."""

    line: Line
    tokens: Mapping[str, int]


def requests(table: Table, seed: int) -> Iterator[Asked]:
    """Every provider by suffix with every feature it has, and models without one."""
    draw = random.Random(seed)
    pinned = [
        (place.provider, feature, row.hub_model)
        for place in PLACES.values()
        for feature in ("plain", "streamed", "tools", "schema", "image")
        if (place.provider, feature) not in REFUSALS and (feature != "streamed" or place.streams_tell_usage)
        for row in place.rows(feature)
    ]
    priced = [cell for cell in pinned if pricing_of(table, cell[2], cell[0]) is not None]
    for number in range(REQUESTS):
        team = list(TEAMS)[number % len(TEAMS)]
        provider, feature, model = draw.choice(priced if team == STRICT_TEAM else pinned)
        model = f"{model}:{provider}"
        if draw.random() < 0.25:
            provider, feature, model = "", draw.choice(["plain", "streamed"]), draw.choice(UNPINNED)
        body = {"model": model, **fields(feature)}
        # Long enough that some of it is read from a provider's cache, which has a price of its own.
        story = " ".join(draw.choices(WORDS, k=draw.randrange(300)))
        body["messages"] = [{"role": "system", "content": story or "Be brief."}, *body["messages"]]
        if feature == "streamed" or (feature != "plain" and provider != "nscale" and draw.random() < 0.4):
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        # Hyperbolic counts one token too many at the cap, which is not billed to anybody.
        if provider not in ("", "hyperbolic") and feature in ("plain", "streamed", "image") and draw.random() < 0.2:
            body["max_tokens"] = draw.randrange(8, 24)
        yield Asked(team, body)


def pricing_of(table: Table, hub_model: str, provider: str) -> Mapping[str, str] | None:
    pricing: Mapping[str, str] | None = table["models"][hub_model]["providersMapping"][provider].get("pricing")
    return pricing


def cost_nano_usd(tokens: Mapping[str, int], pricing: Mapping[str, str]) -> int:
    """The published rule: tokens × price per million, summed, and rounded half to even once per attempt."""

    def price(name: str) -> Fraction:
        return Fraction(Decimal(pricing.get(name, pricing["input"]))) * 10**9

    exact = (
        (tokens["prompt_tokens"] - tokens["cached_tokens"]) * price("input")
        + tokens["cached_tokens"] * price("cachedInput")
        + tokens["completion_tokens"] * price("output")
    )
    return round(exact / 10**6)


async def ask_all(gateway: GatewayProcess, asked: Iterator[Asked], aliases: Mapping[str, str]) -> list[Told]:
    """Sixteen callers at once, each with its next request as soon as it has an answer."""
    told: list[Told] = []
    url = f"{gateway.url}/v1/chat/completions"

    async def one_caller(client: httpx.AsyncClient) -> None:
        for request in asked:
            answer = await client.post(url, json=request.body, headers=gateway.headers(request.team))
            assert answer.status_code == 200, (request, answer.text)
            model = request.body["model"].partition(":")[0]
            line = (request.team, aliases.get(model, model), answer.headers["x-inference-provider"])
            told.append(Told(line, usage_of(answer, streamed="stream" in request.body)))

    limits = httpx.Limits(max_connections=CONCURRENCY)
    async with httpx.AsyncClient(verify=False, timeout=PATIENCE_S, limits=limits) as client:
        await asyncio.gather(*(one_caller(client) for _ in range(CONCURRENCY)))
    return told


def usage_of(answer: httpx.Response, *, streamed: bool) -> Mapping[str, int]:
    usage = events_of(answer.content)[-1]["usage"] if streamed else answer.json()["usage"]
    return {
        "prompt_tokens": usage["prompt_tokens"],
        "cached_tokens": usage["prompt_tokens_details"]["cached_tokens"],
        "completion_tokens": usage["completion_tokens"],
        "reasoning_tokens": usage["completion_tokens_details"]["reasoning_tokens"],
    }


def expected_rows(told: list[Told], table: Table) -> dict[Line, dict[str, int]]:
    """What `gateway usage` must say, computed request by request from what the callers were told."""
    rows: dict[Line, Counter[str]] = {}
    for one in told:
        _, model, provider = one.line
        pricing = pricing_of(table, model, provider)
        cost = 0 if pricing is None else cost_nano_usd(one.tokens, pricing)
        counts = {"requests": 1, "unpriced_requests": int(pricing is None), "cost": cost, "provider_cost": cost}
        rows.setdefault(one.line, Counter()).update({**counts, **one.tokens})
    return {line: dict(row) for line, row in rows.items()}


def reported_rows(report: Mapping[str, Any]) -> dict[Line, dict[str, int]]:
    rows = {}
    for row in report["data"]:
        assert (row["failed_requests"], row["estimated_requests"], row["unknown_requests"]) == (0, 0, 0), row
        assert row["lost_entries"] == 0
        counts = {name: row[name] for name in ("requests", "unpriced_requests", *TOKENS)}
        amounts = {name: nano_usd(row[f"{name}_usd"]) for name in ("cost", "provider_cost")}
        rows[row["team"], row["model"], row["provider"]] = {**counts, **amounts}
    return rows


def nano_usd(text: str) -> int:
    amount = Fraction(Decimal(text)) * 10**9
    assert amount.denominator == 1
    return int(amount)


def tokens_of(told: list[Told]) -> dict[tuple[str, str], int]:
    """By provider and kind, those of which there are any."""
    sums: Counter[tuple[str, str]] = Counter()
    for one in told:
        sums.update({(one.line[2], name.removesuffix("_tokens")): one.tokens[name] for name in TOKENS})
    return {place: tokens for place, tokens in sums.items() if tokens}


def metered(gateway: GatewayProcess) -> dict[tuple[str, str], int]:
    text = gateway.http.get(f"{gateway.url}/metrics").text
    found = re.findall(r'^gateway_tokens_total\{kind="(\w+)",provider="([\w-]+)"\} (\S+)$', text, re.MULTILINE)
    return {(provider, kind): int(float(tokens)) for kind, provider, tokens in found}


def assert_providers_agree(rows: Mapping[Line, Mapping[str, int]], stats: Stats, table: Table) -> None:
    """Each provider's own sums, by its own names of models."""
    ours: dict[tuple[str, str], Counter[str]] = {}
    for (_, model, provider), row in rows.items():
        provider_model = table["models"][model]["providersMapping"][provider]["providerModelId"]
        ours.setdefault((provider, provider_model), Counter()).update(row)
    theirs = {
        (provider, model): counts
        for provider, models in stats.items()
        for model, counts in models.items()
        if model != DOWN_MODEL
    }
    assert ours.keys() == theirs.keys()
    for place, counts in theirs.items():
        assert (counts["refused"], counts["interrupted"], counts["abandoned"]) == (0, 0, 0), place
        assert counts["answered"] == ours[place]["requests"], place
        # Cohere's cached tokens are those of a preamble too, which it does not bill.
        names = [name for name in TOKENS if (place[0], name) != ("cohere", "cached_tokens")]
        assert {name: counts[name] for name in names} == {name: ours[place][name] for name in names}, place


@contextmanager
def store_of(kind: str) -> Iterator[dict[str, str]]:
    """The environment that chooses the store."""
    if kind == "sqlite":
        yield {}
        return
    with RedisServer() as server:
        yield {"REDIS_URL": server.url}


@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_the_books_agree(store: str, tmp_path: Path) -> None:
    with simulators() as providers, store_of(store) as environ:
        shipped = providers.shipped_table()
        table = yaml.safe_load(shipped)
        providers.behave("groq", "status=503", model=DOWN_MODEL)
        with running(tmp_path, shipped, workers=2, environ=environ) as gateway:
            for team, given in TEAMS.items():
                gateway.key(team, **given)
            told = asyncio.run(ask_all(gateway, requests(table, seed=11), table["aliases"]))
            until(lambda: metered(gateway) == tokens_of(told), "every token to be seen in /metrics")
            # A worker ships what it has before it goes.
            assert gateway.stop() == 0
            report = json.loads(gateway.command("usage", "--group-by", "team,model,provider", "--json"))
        stats = providers.stats()

    rows = reported_rows(report)
    assert len(told) == REQUESTS
    assert {line[2] for line in rows} == set(PLACES), "every provider has answered"
    assert rows == expected_rows(told, table)
    assert_providers_agree(rows, stats, table)
    assert stats["groq"][DOWN_MODEL]["refused"] > 0
    assert report["total"]["requests"] == REQUESTS
    assert nano_usd(report["total"]["cost_usd"]) == sum(row["cost"] for row in rows.values()) > 0


def test_the_mixture_has_everything() -> None:
    table = yaml.safe_load((ROOT / "mappings.yaml").read_text())
    mixture = [asked.body for asked in requests(table, seed=11)]
    kinds = Counter(
        name for body in mixture for name in ("stream", "tools", "response_format", "max_tokens") if name in body
    )
    assert len(kinds) == 4
    assert min(kinds.values()) >= 50
    assert sum("image_url" in json.dumps(body) for body in mixture) >= 50
    assert sum(body["model"] in UNPINNED for body in mixture) >= 100
