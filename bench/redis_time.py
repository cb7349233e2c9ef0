"""`python bench/redis_time.py`: what the ledger costs a real redis-server: its time for a thousand entries, and its
memory for what is kept of ten million requests.

Time is the server's own (`INFO commandstats`, and SLOWLOG for the longest run), of entries as traffic makes them: keys,
models and providers, a tag, each the end of its request and of what was held for it. Memory is measured on a day in
which every cell of the rollups is there (`MEMORY USAGE` of its keys), and counted up: a cell takes the same room for a
request as for a million.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from ledger import start_redis
from redis import Redis

from gateway.ids import InferenceIds, new_team_id
from gateway.periods import hour_of
from gateway.records import Admission, Admit, ClosedEntry, PriceTaken, Run, Scope
from gateway.store.base import KEEP
from gateway.store.redis.names import TeamNames
from gateway.store.redis.store import RedisStore

RUN_ENTRIES = 200
ENTRIES = 1_000
ALL_MS_MAX = 15.0
RUN_MS_MAX = 4.0
HOUR_MS = 3_600_000
REQUESTS = 10_000_000
DAYS = 30
TEAMS = 50
KEYS = 4
MODELS = ("meta-llama/Llama-3.3-70B-Instruct", "deepseek-ai/DeepSeek-R1-0528", "openai/gpt-oss-120b")
PROVIDERS = ("groq", "together")
PRICE = PriceTaken(590_000_000, 790_000_000, 590_000_000, 590_000_000)

ids = InferenceIds()


def entry(dice: random.Random, seq: int, team: str, at_ms: int, place: tuple[str, str, str]) -> ClosedEntry:
    hour = hour_of(at_ms, "UTC")
    key, model, provider = place
    prompt, completion = dice.randint(20, 4000), dice.randint(1, 900)
    cost = (prompt * PRICE.input + completion * PRICE.output) // 10**6
    return ClosedEntry(
        kind="use", seq=seq, prev=seq - 1, inference_id=ids.next(), number=1, last=True, at_ms=at_ms, day=hour.day,
        team_id=team, key_id=key, hub_model=model, provider=provider, provider_model=model.lower(), request_id="r",
        upstream_id=f"chatcmpl-{dice.getrandbits(64):x}", reported_model=model.lower(), status=200, answered=True,
        prompt_tokens=prompt, cached_tokens=prompt // 4, completion_tokens=completion,
        reasoning_tokens=completion // 3, charge_nano_usd=cost, provider_cost_nano_usd=cost, price=PRICE,
        generation="0123456789abcdef", duration_ms=900, first_content_ms=120,
        tags={"project": f"p{dice.randint(1, 5)}"}, hour_start_ms=hour.start_ms, day_start_ms=hour.day_start_ms,
    )  # fmt: skip


def places() -> list[tuple[str, str, str]]:
    return [(f"k{key:07d}", model, provider) for key in range(KEYS) for model in MODELS for provider in PROVIDERS]


async def settle_all(store: RedisStore, team: str, entries: list[ClosedEntry], believed: int = 0) -> None:
    """In runs of one day."""
    while entries:
        day = entries[0].day
        run = [one for one in entries[:RUN_ENTRIES] if one.day == day]
        settled = await store.settle(Run(team, "i_bench", believed, tuple(run)))
        assert settled.outcome == "applied", settled
        believed = run[-1].seq
        entries = entries[len(run) :]


def script_ms(server: Redis) -> float:
    """What the server spent in scripts so far."""
    return float(server.info("commandstats").get("cmdstat_evalsha", {"usec": 0})["usec"]) / 1000


STRESS = "everything at once"
"""Told, not judged: each run touches nearly every cell, and each cell's five tag values, for a few entries."""
TRAFFIC = {
    "one application": [("k0000000", MODELS[0], PROVIDERS[0])],
    "a small team": [(f"k{key:07d}", model, PROVIDERS[0]) for key in range(2) for model in MODELS[:2]],
    STRESS: places(),
}
"""By name, the (key, model, provider) that requests are spread over."""
LIMITS = {
    "without limits": (),
    "with a budget": (Scope("team", budget_nano_usd=1 << 52, budget_window="total"),),
    "with all limits": tuple(
        Scope(scope, budget_nano_usd=1 << 52, budget_window="total", tokens_per_minute=10**12, concurrency=10**6)
        for scope in ("team", "key:k0000000")
    ),
}


async def measure_time(store: RedisStore, server: Redis, rounds: int) -> bool:
    """Prints for each traffic what all entries and the longest run take; whether all are within the bounds."""
    dice = random.Random(1)
    good = True
    for traffic, spread in TRAFFIC.items():
        for limits, scopes in LIMITS.items():
            team = new_team_id()
            found = [await one_round(store, server, dice, team, spread, scopes, number) for number in range(rounds)]
            all_ms, run_ms = [one[0] for one in found], [one[1] for one in found]
            print(
                f"{traffic}, {limits}: {min(all_ms):.1f} ms (median {statistics.median(all_ms):.1f}), "
                f"longest run {min(run_ms):.2f} ms (median {statistics.median(run_ms):.2f})"
            )
            good = good and (traffic == STRESS or (min(all_ms) < ALL_MS_MAX and min(run_ms) < RUN_MS_MAX))
    return good


async def one_round(
    store: RedisStore,
    server: Redis,
    dice: random.Random,
    team: str,
    spread: list[tuple[str, str, str]],
    scopes: tuple[Scope, ...],
    number: int,
) -> tuple[float, float]:
    """Milliseconds for all entries together, and for the longest run of them."""
    now_ms, first = time.time_ns() // 10**6, number * ENTRIES + 1
    entries = [entry(dice, first + i, team, now_ms, dice.choice(spread)) for i in range(ENTRIES)]
    if scopes:
        asked = [Admit(one.inference_id, team, scopes, 10**6, 1000, 60_000, now_ms + 60_000) for one in entries]
        assert all(isinstance(answer, Admission) for answer in await store.admit(asked))
    before_ms = script_ms(server)
    server.slowlog_reset()
    await settle_all(store, team, entries, believed=first - 1)
    longest_ms = max(one["duration"] for one in server.slowlog_get(128)) / 1000
    return script_ms(server) - before_ms, longest_ms


async def measure_memory(store: RedisStore, server: Redis) -> None:
    """Fills every cell of one team's day, and counts up."""
    dice = random.Random(2)
    names = TeamNames("gw", "t_memory000000")
    day_ms = time.time_ns() // 10**6 // (24 * HOUR_MS) * 24 * HOUR_MS - 24 * HOUR_MS
    asked = [(day_ms + hour * HOUR_MS, place) for hour in range(24) for place in places()]
    entries = [entry(dice, seq, names.team_id, at_ms, place) for seq, (at_ms, place) in enumerate(asked, 1)]
    await settle_all(store, names.team_id, entries)
    cells, day = len(places()), entries[0].day
    of_hour = server.memory_usage(names.hour(day_ms), samples=0) / cells
    of_day = server.memory_usage(names.day(day), samples=0) / cells
    of_tags = server.memory_usage(names.tag("project", day), samples=0)
    of_entry = server.memory_usage(names.entries, samples=0) / len(entries)
    hours = TEAMS * DAYS * 24 * cells * of_hour
    days = TEAMS * DAYS * (cells * of_day + of_tags)
    kept = TEAMS * min(KEEP.stories_max, REQUESTS * 7 // DAYS // TEAMS) * of_entry
    print(
        f"memory: a cell (key, model, provider) takes {of_hour:.0f} bytes of an hour, {of_day:.0f} of a day; the tag's "
        f"values of a day {of_tags:.0f}; a kept entry {of_entry:.0f}"
    )
    print(
        f"rollups of {REQUESTS:,} requests in {DAYS} days, {TEAMS} teams with {cells} cells in use every hour: "
        f"{hours / 2**20:.0f} MiB of hours (35 days), {days / 2**20:.1f} MiB of days (400); beside them the entries of "
        f"7 days, {kept / 2**20:.0f} MiB"
    )


async def main_async(rounds: int) -> int:
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder, ExitStack() as stack:
        socket = start_redis(Path(folder), stack)
        server = stack.enter_context(Redis(unix_socket_path=str(socket)))
        server.config_set("slowlog-log-slower-than", "0")
        store = RedisStore(f"unix://{socket}", "single", "gw")
        try:
            good = await measure_time(store, server, rounds)
            await measure_memory(store, server)
        finally:
            await store.aclose()
    print(
        f"time of {ENTRIES} entries in runs of {RUN_ENTRIES}, the best of {rounds} rounds, as others only "
        f"add to it: at most {ALL_MS_MAX:g} ms, and {RUN_MS_MAX:g} ms a run, but for '{STRESS}'"
    )
    return 0 if good else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    return asyncio.run(main_async(parser.parse_args().rounds))


if __name__ == "__main__":
    sys.exit(main())
