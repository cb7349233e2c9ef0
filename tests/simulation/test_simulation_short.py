"""A short form of `make simulate`, and what the simulation itself rests on."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from itertools import pairwise

import pytest

from gateway.config.catalog import Routing
from tests.simulation.__main__ import DEADLINE_S, one_run
from tests.simulation.fleet import Record, simulate
from tests.simulation.frozen_loop import BEGIN_S, run_frozen
from tests.simulation.verdict import judge
from tests.simulation.weather import PROVIDERS, Sky, clear_sky, weather

HOUR_S = 3600.0


@pytest.mark.parametrize(("policy", "seed"), [("preferred", 1), ("balanced", 11)])
def test_a_fleet_holds_its_bounds_in_bad_weather(policy: str, seed: int) -> None:
    routing = Routing(policy=policy, deadline_s=DEADLINE_S)
    verdict, record = one_run(seed, length_s=240, requests_per_s=20, routing=routing)
    assert verdict.faults == []
    assert record.attempts > record.requests, "there was no bad weather"


def test_one_error_in_a_thousand_opens_nothing() -> None:
    record = simulate(clear_sky(3), length_s=10, requests_per_s=1_000, routing=Routing())
    assert record.attempts > record.requests > 9_000
    assert (record.openings, record.errors) == (0, 0)


def test_the_same_seed_is_the_same_run() -> None:
    first, again = (one_run(2, length_s=60, requests_per_s=10, routing=Routing())[1] for _ in range(2))
    assert first == again


def test_an_hour_passes_at_once_and_exactly() -> None:
    async def story() -> list[float]:
        loop = asyncio.get_running_loop()
        seen = []
        for wait_s in (0.5, HOUR_S):
            await asyncio.sleep(wait_s)
            seen.append(loop.time() - BEGIN_S)
        return seen

    begun_s = time.monotonic()
    assert run_frozen(story()) == [0.5, HOUR_S + 0.5]
    assert time.monotonic() - begun_s < 5


def test_whoever_waits_for_nothing_is_found() -> None:
    async def story() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="no timer"):
        run_frozen(story())


def test_twenty_hours_hold_every_kind_of_weather_and_no_two_at_one_provider() -> None:
    kinds = set()
    for seed in range(20):
        for spells in weather(seed, BEGIN_S, HOUR_S).spells:
            kinds |= {spell.sky for spell in spells}
            assert all(one.end_s <= other.begin_s for one, other in pairwise(spells))
    assert kinds == set(Sky)
    assert len(weather(1, BEGIN_S, HOUR_S).spells) == len(PROVIDERS)


def test_the_judge_finds_what_is_wrong() -> None:
    def faults(**seen: object) -> list[str]:
        record = Record(requests=1_000, attempts=1_000, attempts_most=1)
        for name, value in seen.items():
            setattr(record, name, value)
        return list(judge(record, clear_sky(1), Routing()).faults)

    to_and_fro = Counter({(window, PROVIDERS[window // 2 % 2]): 100 for window in range(40)})
    assert faults(first_asked=Counter({(window, "first"): 100 for window in range(40)})) == []
    assert faults(attempts=1_201) == ["too many attempts"]
    assert faults(attempts_most=4) == ["more attempts than the cap"]
    assert faults(errors=8, oracle_errors=3) == []
    assert faults(errors=9, oracle_errors=3) == ["more errors than the oracle"]
    assert faults(hasty=1) == ["an account was not left in peace"]
    assert faults(first_asked=to_and_fro) == ["oscillation"]
