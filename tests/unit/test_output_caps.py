"""The output cap that a strict budget sets, and what answers say of limits: for any remainder, price and request."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.admission import Admissions, Wanted, limit_headers
from gateway.config.catalog import Price
from gateway.errors import BudgetExceeded
from gateway.records import Admission, Admit, Refusal, Scope
from gateway.routing.pricing import OUTPUT_TOKENS_MIN, hold_nano_usd, output_cap_tokens
from gateway.scopes import scopes_of
from gateway.tenants import Budget
from tests.unit.metered_house import limited
from tests.unit.offers import offer, principal

DAY = "2026-11-23"


class OneBudget:
    """A store in which this much is left; nobody else asks."""

    def __init__(self, budget: int, left: int) -> None:
        self.budget = budget
        self.left = left
        self.held: list[int] = []

    async def admit(self, asked: Sequence[Admit]) -> list[Admission | Refusal]:
        (ask,) = asked
        if ask.hold_nano_usd > self.left:
            return [Refusal(ask.inference_id, 0, "budget", "team", 1.0, self.budget - self.left)]
        self.held.append(ask.hold_nano_usd)
        return [Admission(ask.inference_id, 0, {"team": {"budget_nano_usd": self.left - ask.hold_nano_usd}})]


@settings(max_examples=60, deadline=None)
@given(
    left=st.integers(0, 10**9),
    input_price=st.integers(10**6, 10**10),
    output_price=st.integers(10**6, 10**11),
    prompt_bytes=st.integers(0, 100_000),
    choices=st.integers(1, 4),
    own_cap=st.one_of(st.none(), st.integers(1, 50_000)),
)
def test_what_is_granted_fits_and_what_is_refused_does_not(
    left: int, input_price: int, output_price: int, prompt_bytes: int, choices: int, own_cap: int | None
) -> None:
    offers = (offer(prices=(Price(input_price, output_price),)),)
    who = limited(budget=Budget(10**9, period="total"))

    def worst(output_tokens: int) -> int:
        return hold_nano_usd(
            offers, DAY, prompt_bytes=prompt_bytes, messages=2, images=0, output_tokens=output_tokens * choices
        )

    wanted = Wanted(
        inference_id="r", principal=who, scopes=scopes_of(who, DAY, "UTC"), day=DAY, prompt_bytes=prompt_bytes,
        prompt_tokens=prompt_bytes // 4, messages=2, images=0, choices=choices, max_tokens=own_cap,
        max_tokens_default=8192, offers=offers, deadline_s=60,
    )  # fmt: skip
    store = OneBudget(10**9, left)

    async def ask() -> int | None:
        granted = await Admissions(store).ask(wanted)  # type: ignore[arg-type]
        assert granted.charge_max_nano_usd == store.held[-1] <= left
        return granted.max_tokens_set

    try:
        cap = asyncio.run(ask())
    except BudgetExceeded:
        # Neither what the caller wants, nor, where we may choose, the least that is worth an answer.
        assert worst(own_cap or OUTPUT_TOKENS_MIN + 1) > left
        return
    if own_cap is not None:
        assert cap is None  # a caller's cap is never lowered
        assert store.held == [worst(own_cap)]
    else:
        assert cap is not None
        assert cap >= OUTPUT_TOKENS_MIN
        assert store.held == [worst(cap)]
        most = output_cap_tokens(offers, prompt_tokens=wanted.prompt_tokens, max_tokens_default=8192)
        assert cap == most or worst(cap + 2) > left  # one more may round down to what is left


@given(
    budget=st.integers(1, 10**12),
    spent=st.integers(0, 2 * 10**12),
    warn_at=st.lists(st.integers(1, 1000), max_size=3),
)
def test_the_warning_comes_with_the_lowest_threshold(budget: int, spent: int, warn_at: list[int]) -> None:
    who = limited(budget=Budget(budget, enforce="soft", warn_at=tuple(warn_at)))
    answer = Admission("r", 0, {"team": {"budget_nano_usd": budget - spent}})
    warning = limit_headers(who, scopes_of(who, DAY, "UTC"), answer).get("x-gateway-budget-warning")
    assert (warning is not None) is any(spent * 100 >= budget * percent for percent in warn_at)


def test_a_budget_of_nothing_has_no_percentage() -> None:
    who = limited(budget=Budget(0, enforce="soft", warn_at=(80,)))
    headers = limit_headers(who, scopes_of(who, DAY, "UTC"), Admission("r", 0, {"team": {"budget_nano_usd": -7}}))
    assert headers["x-gateway-budget-warning"] == "the month budget of team 'search' is 0 USD"


@pytest.mark.parametrize(
    ("team_left", "key_left", "told"),
    [
        ((5, 40), (9, 30), ("5", "100", "40s")),
        ((9, 30), (5, 40), ("5", "10", "40s")),
    ],
)
def test_of_team_and_key_the_one_with_less_left_is_told(
    team_left: tuple[int, int], key_left: tuple[int, int], told: tuple[str, str, str]
) -> None:
    who = principal()
    scopes = [Scope("team", requests_per_minute=100), Scope("key:k", requests_per_minute=10)]
    left = {
        scope.id: {"requests": requests, "reset_requests_s": reset_s}
        for scope, (requests, reset_s) in zip(scopes, (team_left, key_left), strict=True)
    }
    headers = limit_headers(who, scopes, Admission("r", 0, left))
    names = ("remaining", "limit", "reset")
    assert tuple(headers[f"x-ratelimit-{name}-requests"] for name in names) == told
