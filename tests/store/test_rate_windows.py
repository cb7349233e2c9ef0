"""Whatever comes when: never more than the limit in any sixty seconds, and the told wait is right to the second.

Both stores are asked in earnest; only their clocks are ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha1
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.records import Admission, Refusal, Scope
from gateway.store.base import Store
from gateway.store.open import open_store
from gateway.store.redis import ledger as redis_ledger
from gateway.store.redis.scripts import Script
from gateway.store.sqlite import ledger as sqlite_ledger
from tests.store.redis_server import RedisServer
from tests.store.samples import admit

MINUTE_MS: Final = 60_000
START_MS: Final = 1_800_000_000_000
CLOCK: Final = "the clock of the tests"


@dataclass(slots=True)
class Clocked:
    """A store at a time of our choosing. Each scope that is asked for is a new one."""

    runner: asyncio.Runner
    store: Store
    set_ms: Callable[[int], object]
    scopes: int = 0

    def ask(self, at_ms: int, scope: Scope, tokens: int = 1) -> Admission | Refusal:
        self.set_ms(at_ms)
        return self.runner.run(self.store.admit([admit([scope], tokens=tokens, not_after_ms=1 << 52)]))[0]

    def scope(self, *, requests: int | None = None, tokens: int | None = None) -> Scope:
        self.scopes += 1
        return Scope(f"key:k_{self.scopes}", requests_per_minute=requests, tokens_per_minute=tokens)


@pytest.fixture(params=["sqlite", "redis"])
def clocked(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clocked]:
    with asyncio.Runner() as runner:
        if request.param == "sqlite":
            now = [START_MS]
            monkeypatch.setattr(sqlite_ledger, "_now_ms", lambda: now[0])
            store = runner.run(open_store(state_dir=tmp_path))
            yield Clocked(runner, store, lambda at_ms: now.insert(0, at_ms))
        else:
            server: RedisServer = request.getfixturevalue("redis_server")
            server.command("FLUSHALL")
            text = redis_ledger.ADMIT.text
            ours = text.replace("redis.call('TIME')", f"redis.call('LRANGE', '{CLOCK}', 0, 1)")
            assert ours != text
            monkeypatch.setattr(redis_ledger, "ADMIT", Script(ours, sha1(ours.encode()).hexdigest()))
            store = runner.run(open_store(state_dir=tmp_path, redis_url=server.url))

            async def set_clock(at_ms: int) -> None:
                seconds, rest_ms = divmod(at_ms, 1000)
                link = store._link  # type: ignore[attr-defined]
                await link.call(lambda client: client.lpush(CLOCK, rest_ms * 1000, seconds))

            yield Clocked(runner, store, lambda at_ms: runner.run(set_clock(at_ms)))
        runner.run(store.aclose())


gaps_ms = st.one_of(st.integers(0, 1_500), st.integers(0, 20_000), st.integers(55_000, 65_000))
relaxed = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@relaxed
@given(limit=st.integers(1, 6), gaps=st.lists(gaps_ms, min_size=1, max_size=25))
def test_no_minute_has_more_requests_than_the_limit(clocked: Clocked, limit: int, gaps: list[int]) -> None:
    scope, at_ms = clocked.scope(requests=limit), START_MS
    admitted: list[tuple[int, int]] = []
    for gap_ms in gaps:
        at_ms += gap_ms
        if isinstance(clocked.ask(at_ms, scope), Admission):
            admitted.append((at_ms, 1))
    assert most_in_a_minute(admitted) <= limit
    assert admitted


@relaxed
@given(asks=st.lists(st.tuples(gaps_ms, st.integers(1, 100)), min_size=1, max_size=25))
def test_no_minute_has_more_tokens_than_the_limit(clocked: Clocked, asks: list[tuple[int, int]]) -> None:
    scope, at_ms = clocked.scope(tokens=100), START_MS
    admitted: list[tuple[int, int]] = []
    for gap_ms, tokens in asks:
        at_ms += gap_ms
        if isinstance(clocked.ask(at_ms, scope, tokens), Admission):
            admitted.append((at_ms, tokens))
    assert most_in_a_minute(admitted) <= 100
    assert admitted


@relaxed
@given(asks=st.lists(st.tuples(gaps_ms, st.integers(1, 100)), max_size=10), tokens=st.integers(1, 100))
def test_the_wait_that_is_told_is_right_to_the_second(
    clocked: Clocked, asks: list[tuple[int, int]], tokens: int
) -> None:
    scope, at_ms = clocked.scope(tokens=100), START_MS
    for gap_ms, more in asks:
        at_ms += gap_ms
        clocked.ask(at_ms, scope, more)
    refused = clocked.ask(at_ms, scope, tokens)
    if isinstance(refused, Refusal):
        assert 1 <= refused.retry_after_s <= 61
        early_ms = at_ms + (int(refused.retry_after_s) - 1) * 1000
        assert isinstance(clocked.ask(early_ms, scope, tokens), Refusal)
        assert isinstance(clocked.ask(early_ms + 1000, scope, tokens), Admission)


@relaxed
@given(asks=st.lists(st.tuples(gaps_ms, st.integers(1, 100)), min_size=1, max_size=10))
def test_the_reset_that_is_told_is_right_to_the_second(clocked: Clocked, asks: list[tuple[int, int]]) -> None:
    """When it is over, everything is free again; a second before, something is not."""
    scope, at_ms = clocked.scope(tokens=100, requests=5), START_MS
    answer = None
    for gap_ms, tokens in asks:
        at_ms += gap_ms
        answer = clocked.ask(at_ms, scope, tokens)
    assert answer is not None
    left = answer.remaining[scope.id]
    assert (left["tokens"] == 100) is (left["reset_tokens_s"] == 0)
    # Both were taken by the same requests, so both are free again in the same second.
    assert left["reset_requests_s"] == left["reset_tokens_s"]
    free_ms = at_ms + left["reset_tokens_s"] * 1000
    if left["reset_tokens_s"]:
        early = clocked.ask(free_ms - 1000, scope, 100)
        assert isinstance(early, Refusal)
        assert early.remaining[scope.id]["tokens"] < 100
    assert isinstance(clocked.ask(free_ms, scope, 100), Admission)


def most_in_a_minute(admitted: list[tuple[int, int]]) -> int:
    """Of all spans shorter than a minute that begin and end with an admission."""
    spans = combinations_with_replacement(range(len(admitted)), 2)
    return max(
        (
            sum(amount for _, amount in admitted[first : last + 1])
            for first, last in spans
            if admitted[last][0] - admitted[first][0] < MINUTE_MS
        ),
        default=0,
    )
