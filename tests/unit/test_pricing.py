"""Costs are exact integers, holds are never below a charge, and estimates learn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.catalog import Price
from gateway.records import PriceTaken
from gateway.routing.pricing import (
    Estimator,
    affordable_tokens,
    charge_nano_usd,
    hold_nano_usd,
    is_plausible,
    output_cap_tokens,
    price_taken,
)
from providers.wire import TOKENS_MAX, Usage
from tests.unit.offers import offer

PRICE = PriceTaken(590_000_000, 790_000_000, 300_000_000, 737_500_000)
DAY = "2026-11-23"


@pytest.mark.parametrize(
    ("usage", "nano_usd"),
    [
        (Usage(0, 0), 0),
        (Usage(1_000_000, 1_000_000), 1_380_000_000),
        (Usage(100, 20), 74_800),
        (Usage(100, 20, cached_tokens=40), 63_200),
        (Usage(100, 0, cached_tokens=40, cache_write_tokens=60), 56_250),
        (Usage(100, 0, cached_tokens=400), 30_000),
        (Usage(100, 20, reasoning_tokens=20), 74_800),
    ],
)
def test_a_cost_is_tokens_times_price(usage: Usage, nano_usd: int) -> None:
    assert charge_nano_usd(usage, PRICE) == nano_usd


def test_a_cost_is_rounded_once_half_to_even() -> None:
    price = PriceTaken(500_000, 500_000, 500_000, 500_000)
    assert [charge_nano_usd(Usage(n, 0), price) for n in (1, 2, 3, 5)] == [0, 1, 2, 2]
    assert charge_nano_usd(Usage(1, 1), price) == 1


def test_a_kind_without_a_price_costs_what_input_costs() -> None:
    assert price_taken(offer(price=Price(7, 9)), DAY) == PriceTaken(7, 9, 7, 7)
    assert price_taken(offer(price=None), DAY) is None
    later = offer(price=Price(7, 9, from_day="2026-12-01"))
    assert price_taken(later, DAY) is None


sizes = st.integers(0, 100_000)


@given(sizes, sizes, st.integers(0, 10**12), st.integers(0, 10**12), st.integers(1, 4096))
def test_no_charge_within_the_bounds_is_above_the_hold(
    prompt: int, completion: int, dear: int, output: int, messages: int
) -> None:
    offers = (offer(price=Price(dear, output, cached_input=dear // 2)), offer("together", price=Price(1, 1)))
    hold = hold_nano_usd(offers, DAY, prompt_bytes=prompt, messages=messages, images=0, output_tokens=completion)
    taken = price_taken(offers[0], DAY)
    assert taken is not None
    assert charge_nano_usd(Usage(prompt, completion), taken) <= hold


@given(st.integers(0, 10**12), st.integers(0, 10**10), st.integers(1, 10**10))
def test_what_is_affordable_fits(left: int, dear: int, output: int) -> None:
    offers = (offer(price=Price(dear, output)), offer("free", price=None))
    tokens = affordable_tokens(offers, DAY, prompt_bytes=100, messages=1, images=1, left_nano_usd=left)
    hold = hold_nano_usd(offers, DAY, prompt_bytes=100, messages=1, images=1, output_tokens=tokens)
    assert tokens == 0 or hold <= left


def test_our_own_cap_is_the_least_that_every_candidate_can_give() -> None:
    offers = (offer(context_length=4096), offer("together", output_tokens_max=2000))
    assert output_cap_tokens(offers, prompt_tokens=100, max_tokens_default=8192) == 2000
    assert output_cap_tokens(offers, prompt_tokens=3000, max_tokens_default=8192) == 1096
    assert output_cap_tokens(offers, prompt_tokens=9000, max_tokens_default=8192) == 16


@pytest.mark.parametrize(
    ("usage", "cap", "context", "plausible"),
    [
        (Usage(0, 0), None, None, True),
        (Usage(10, 116), 100, 1000, True),
        (Usage(10, 117), 100, 1000, False),
        (Usage(1001, 1), None, 1000, False),
        (Usage(10, 1001), None, 1000, False),
        (Usage(-1, 1), None, None, False),
        (Usage(1, -1), None, None, False),
        (Usage(1, 1, cached_tokens=-1), None, None, False),
        (Usage(1, TOKENS_MAX + 1), None, None, False),
        (Usage(1, 10**18), None, None, False),
    ],
)
def test_usage_is_checked_and_not_believed(usage: Usage, cap: int | None, context: int | None, plausible: bool) -> None:
    assert is_plausible(usage, cap_tokens=cap, context_length=context) is plausible


def test_estimates_begin_at_four_and_learn_each_model_apart() -> None:
    estimator = Estimator()
    assert estimator.prompt_tokens("a/a", 400) == 100
    assert estimator.completion_tokens("a/a", 2) == 1
    assert estimator.prompt_tokens("a/a", 0) == 0
    for _ in range(200):
        estimator.learn("a/a", prompt_bytes=300, text_chars=500, usage=Usage(100, 150, reasoning_tokens=50))
    assert estimator.prompt_tokens("a/a", 300) == pytest.approx(100, abs=3)
    assert estimator.completion_tokens("a/a", 500) == pytest.approx(100, abs=3)
    assert estimator.prompt_tokens("b/b", 400) == 100
