"""Twenty gateways before five providers: the project's own routing, health, policy, retry budget and walk, on a frozen
clock. What is left out is what has sockets; what is told instead comes from the weather.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from gateway.ask import Ask
from gateway.config.catalog import Catalog, Model, Offer, Price, ProviderEntry, Routing
from gateway.errors import GatewayError
from gateway.failover import TIMER_S, Walk, begin_first
from gateway.routing.health import STAGGER_S_MAX, HealthBook
from gateway.routing.health_board import Post
from gateway.routing.naming import resolve
from gateway.routing.offerings import Offerings
from gateway.routing.plan import Plan, make_plan
from gateway.routing.retry_budget import RetryBudget
from gateway.tenants import Key, Principal, Team
from providers.registry import ADAPTERS
from providers.wire import ChatRequest, FailureKind, Target
from tests.simulation.frozen_loop import BEGIN_S, run_frozen
from tests.simulation.weather import PROVIDERS, Weather

REPLICAS: Final = 20
BEAT_S: Final = 1.0
NEWS_S: Final = 0.02
"""How long news is on its way to the other replicas."""
WINDOW_S: Final = 10
TOKENS: Final = 200
TOKENS_PER_S: Final = 80.0

MODEL: Final = "acme/chat"
DAY: Final = "2026-11-24"
TEAM: Final = Team("t_sim", "sim", 0)
CALLER: Final = Principal(Key("k_sim", TEAM.id, "hf_gw_si", ""), TEAM, TEAM)
ASK: Final = Ask(ChatRequest(MODEL, {"messages": []}), MODEL, prompt_bytes=400)


def catalog(routing: Routing) -> Catalog:
    entries = [ProviderEntry(name, ADAPTERS["openai"], f"http://{name}.example/v1") for name in PROVIDERS]
    price = (Price(100_000_000, 400_000_000),)
    offers = [Offer(MODEL, entry, "chat", Target("chat", MODEL, entry.base_url, ()), prices=price) for entry in entries]
    return Catalog({entry.name: entry for entry in entries}, {MODEL: Model(MODEL, tuple(offers))}, routing=routing)


@dataclass(slots=True)
class Record:
    """What was seen in one run. Windows are of `WINDOW_S` seconds from the start."""

    requests: int = 0
    attempts: int = 0
    attempts_most: int = 0
    errors: int = 0
    oracle_errors: int = 0
    hasty: int = 0
    """Attempts at an account that had told somebody to wait, later than news takes."""
    openings: int = 0
    """Breakers that opened, over all replicas."""
    first_asked: Counter[tuple[int, str]] = field(default_factory=Counter)
    """By window and provider: whom requests asked first."""
    failed: Counter[int] = field(default_factory=Counter)
    """Callers who saw an error, by window."""
    tried: Counter[int] = field(default_factory=Counter)
    """Attempts by window."""


class Replica:
    """One worker of the fleet: what it knows, and how it serves a request."""

    def __init__(self, fleet: Fleet, number: int) -> None:
        table = fleet.catalog
        self.book = HealthBook(table.routing.breaker, stagger_s=fleet.dice.random() * STAGGER_S_MAX)
        self.book.on_news = self._tell
        self._fleet = fleet
        self._number = number
        self._retry_budget = RetryBudget(table.routing.retry_budget_percent)
        self._offerings = Offerings(table)
        self._resolved = resolve(ASK, table)
        self._open: set[str] = set()
        self._telling = False

    async def beat(self) -> None:
        """Publishes and reads once a second."""
        await asyncio.sleep(BEAT_S * self._number / REPLICAS)
        while True:
            self._publish()
            self.hear()
            await asyncio.sleep(BEAT_S)

    def _tell(self) -> None:
        if not self._telling:
            self._telling = True
            asyncio.get_running_loop().call_later(NEWS_S, self._publish_news)

    def _publish_news(self) -> None:
        self._telling = False
        self._publish()
        for other in self._fleet.replicas:
            if other is not self:
                other.hear()

    def _publish(self) -> None:
        self._fleet.posts[self._number] = self.book.post(self._fleet.now_s())
        self._count_openings()

    def hear(self) -> None:
        others = [post for number, post in self._fleet.posts.items() if number != self._number]
        self.book.hear(others, self._fleet.now_s())

    def _count_openings(self) -> None:
        now_s = self._fleet.now_s()
        offers = self._resolved.model.offers
        is_open = {one.provider.name for one in offers if self.book.look(one, now_s).state != "closed"}
        self._fleet.record.openings += len(is_open - self._open)
        self._open = is_open

    async def serve(self, number: int) -> None:
        """One request, as the service serves it."""
        fleet, record = self._fleet, self._fleet.record
        asked: Counter[str] = Counter()

        async def once(offer: Offer) -> Offer:
            name = offer.provider.name
            now_s = fleet.now_s()
            if not asked:
                record.first_asked[fleet.window(now_s), name] += 1
            record.tried[fleet.window(now_s)] += 1
            record.hasty += fleet.is_quiet(name, now_s)
            provider = PROVIDERS.index(name)
            outcome = fleet.weather.outcome(provider, number, asked[name], now_s)
            asked[name] += 1
            await asyncio.sleep(outcome.after_s)
            if outcome.failure is None:
                return offer
            if outcome.failure is FailureKind.RATE_LIMITED and outcome.retry_after_s is not None:
                fleet.keep_quiet(name, fleet.now_s(), outcome.retry_after_s)
            raise outcome.as_failure()

        record.requests += 1
        begun_s = fleet.now_s()
        if all(fleet.weather.outcome(one, number, 0, begun_s).failure for one in range(len(PROVIDERS))):
            record.oracle_errors += 1
        plan = await self._plan()
        begun = begin_first(plan.candidates, self.book, begun_s)
        if begun is None:
            self._failed()
            return
        walk = Walk(
            plan=plan,
            entered=begun,
            routing=fleet.catalog.routing,
            book=self.book,
            retry_budget=self._retry_budget,
            deadline_s=begun_s + fleet.catalog.routing.deadline_s,
            on_failure=lambda offer, attempt, failure: None,
            on_barred=lambda offer, failure: None,
            gone=_stays,
            wait_for_room=_never_full,
            clock=fleet.now_s,
        )
        try:
            offer = await walk.first_success(once)
        except GatewayError:
            self._failed()
        else:
            now_s, took_ms = fleet.now_s(), walk.attempts[-1].duration_ms
            self.book.succeed(offer, now_s, first_content_ms=took_ms, tokens=TOKENS, took_s=TOKENS / TOKENS_PER_S)
        record.attempts += len(walk.attempts)
        record.attempts_most = max(record.attempts_most, len(walk.attempts))

    def _failed(self) -> None:
        record = self._fleet.record
        record.errors += 1
        record.failed[self._fleet.window(self._fleet.now_s())] += 1

    async def _plan(self) -> Plan:
        plan = self._planned()
        silence_s = plan.silence_s
        if plan.candidates or silence_s is None or silence_s > self._fleet.catalog.routing.retry_after_wait_s:
            return plan
        await asyncio.sleep(silence_s + TIMER_S)
        return self._planned()

    def _planned(self) -> Plan:
        fleet, now_s = self._fleet, self._fleet.now_s()
        return make_plan(
            ASK,
            self._resolved,
            self._offerings,
            CALLER,
            lambda offer: self.book.look(offer, now_s),
            day=DAY,
            draw=fleet.dice.random(),
        )


class Fleet:
    """Replicas, what they have told each other, and the traffic that is shared out to them at random."""

    def __init__(self, of: Weather, *, routing: Routing, requests_per_s: float) -> None:
        self.weather = of
        self.catalog = catalog(routing)
        self.record = Record()
        self.posts: dict[int, Post] = {}
        self.dice = random.Random(of.seed)
        self.replicas = [Replica(self, number) for number in range(REPLICAS)]
        self._requests_per_s = requests_per_s
        self._quiet: dict[str, tuple[float, float]] = {}

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    @staticmethod
    def window(at_s: float) -> int:
        return int(at_s - BEGIN_S) // WINDOW_S

    def keep_quiet(self, provider: str, now_s: float, wait_s: float) -> None:
        """The account asked for silence; the others can have heard of it a little later."""
        self._quiet[provider] = (now_s + NEWS_S, max(now_s + wait_s, self._quiet.get(provider, (0.0, 0.0))[1]))

    def is_quiet(self, provider: str, now_s: float) -> bool:
        heard_s, until_s = self._quiet.get(provider, (0.0, 0.0))
        return heard_s < now_s < until_s

    async def run(self, length_s: float) -> Record:
        random.seed(self.weather.seed)  # of the back-off's jitter
        beats = [asyncio.ensure_future(replica.beat()) for replica in self.replicas]
        serving: set[asyncio.Task[None]] = set()
        number = 0
        end_s = self.now_s() + length_s
        while self.now_s() < end_s:
            await asyncio.sleep(self.dice.expovariate(self._requests_per_s))
            task = asyncio.ensure_future(self.dice.choice(self.replicas).serve(number))
            serving.add(task)
            task.add_done_callback(serving.discard)
            number += 1
        await asyncio.gather(*serving)
        for beat in beats:
            beat.cancel()
        await asyncio.wait(beats)
        return self.record


def simulate(of: Weather, *, length_s: float, requests_per_s: float, routing: Routing) -> Record:
    return run_frozen(Fleet(of, routing=routing, requests_per_s=requests_per_s).run(length_s))


async def _stays() -> bool:
    return False


async def _never_full(providers: Collection[str]) -> str:
    raise AssertionError("no account has a bound here")
