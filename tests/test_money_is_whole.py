"""Money is never a float: not in any line of the source, and not in any amount that passes through it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.catalog import Price
from gateway.invoice import invoice, month_named
from gateway.journal.entries import Intent
from gateway.ledger_period import LedgerPeriod
from gateway.losses import losses
from gateway.outcomes import answered, closed_entry
from gateway.routing.pricing import affordable_tokens, hold_nano_usd, price_taken
from gateway.store.base import UsageCell
from gateway.store.fold import counters_of
from gateway.usage_report import figures
from providers.wire import Usage
from tests.architecture import read_modules
from tests.money_lint import faults
from tests.unit.offers import offer

DAY = "2026-11-23"


def test_no_line_makes_a_float_of_money() -> None:
    found = {module.name: faults(module.path.read_text()) for module in read_modules().values()}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize(
    "line",
    [
        "x = charge_nano_usd / 2",
        "x = 0.5 * entry.charge_nano_usd",
        "x = float(charge_nano_usd)",
        "x = round(sum(one.cost_nano_usd for one in all) * share)",
        "x = math.floor(charge_nano_usd)",
        "cost = entry.charge_nano_usd\nhalf = cost / 2",
        "cost = entry.charge_nano_usd\nmore = cost + 1\nmore *= 1.1",
        "total = 0\nfor one in all:\n    total += one.charge_nano_usd\ntotal / 2",
        "a, b = one_nano_usd, two\na / b",
        "whole, rest = divmod(spent_nano_usd, 7)\nwhole / 2",
        "if (cost := charge_nano_usd(usage)) > 1:\n    cost / 2",
        "def charge_nano_usd(usage) -> float: ...",
        "def charge(held_nano_usd: float | None): ...",
        "class Entry:\n    charge_nano_usd: float = 0",
        "charge_nano_usd = 0.0",
        "Outcome(charge_nano_usd=tokens * price / 10)",
        "x = f'{charge_nano_usd:.2f}'",
        "x = sums['charge_nano_usd'] / 2",
        "x = max(spent_nano_usd, 0) / budget",
        "x = -(-spent_nano_usd / 7)",
        "charge = counters.get('charge_nano_usd', 0)\ncharge / 2",
        "def hold_nano_usd(tokens, price):\n    amount = tokens * price\n    return int(amount / 10**6)",
        "async def f(x):\n    cost = x.cost_nano_usd\n    return [cost / 2]",
    ],
)
def test_the_lint_sees_through(line: str) -> None:
    assert faults(line), line


@pytest.mark.parametrize(
    "line",
    [
        "x = charge_nano_usd // 2",
        "x = divide_half_even(tokens * price.input_nano_usd, 10**6)",
        "seconds = wait_ms / 1000",
        "x = f'{charge_nano_usd:09d}'",
        "percent = 100 * spent_nano_usd // budget_nano_usd",
        "x = format_usd(charge_nano_usd)",
    ],
)
def test_the_lint_lets_pass(line: str) -> None:
    assert faults(line) == []


class Whole(int):
    """An amount that tells whoever would make a float of it, however it was called on the way."""

    def _refuse(self, *_: object) -> Any:
        raise AssertionError("an amount became a float")

    def _whole(self, name: str, other: Any) -> Any:
        assert not isinstance(other, float), "an amount met a float"
        result = getattr(int, name)(self, other)
        return result if result is NotImplemented else Whole(result)

    __truediv__ = __rtruediv__ = __float__ = __round__ = _refuse

    def __add__(self, other: Any) -> Any:
        return self._whole("__add__", other)

    def __sub__(self, other: Any) -> Any:
        return self._whole("__sub__", other)

    def __rsub__(self, other: Any) -> Any:
        return self._whole("__rsub__", other)

    def __mul__(self, other: Any) -> Any:
        return self._whole("__mul__", other)

    def __floordiv__(self, other: Any) -> Any:
        return self._whole("__floordiv__", other)

    def __mod__(self, other: Any) -> Any:
        return self._whole("__mod__", other)

    def __neg__(self) -> Any:
        return Whole(int.__neg__(self))

    __radd__, __rmul__ = __add__, __mul__


tokens = st.integers(0, 10**7)
prices = st.integers(0, 10**13).map(Whole)


@given(tokens, tokens, tokens, prices, prices, prices, st.integers(0, 10**12))
def test_an_amount_stays_whole_from_its_price_to_the_reports(
    prompt: int, completion: int, cached: int, of_prompt: Whole, of_answer: Whole, of_cached: Whole, hold: int
) -> None:
    price = Price(of_prompt, of_answer, cached_input=of_cached)
    offers = (offer(price=price),)
    worst = hold_nano_usd(offers, DAY, prompt_bytes=prompt, messages=1, images=0, output_tokens=completion)
    affordable_tokens(offers, DAY, prompt_bytes=prompt, messages=1, images=0, left_nano_usd=Whole(hold))
    intent = Intent("i", 0, DAY, 0, 0, "t_a", "k_a", "org/model", "r", prompt, 0, hold_nano_usd=worst)
    outcome = answered(intent, price_taken(offers[0], DAY), Usage(prompt, completion, cached), estimated=False)
    closed = closed_entry(intent, None, outcome, (1, 0), last=True, failed=False)
    cell = UsageCell("t_a", 0, "k_a", "org/model", "groq", counters_of(closed))
    period = LedgerPeriod(0, 1, (cell,), (closed,))

    amounts = [
        outcome.charge_nano_usd,
        outcome.provider_cost_nano_usd,
        losses(period).total.lost_nano_usd,
        invoice("a", "t_a", month_named("2026-11", "UTC"), period, 0).amount_nano_usd,
    ]

    assert all(type(amount) in (int, Whole) for amount in amounts)
    assert (outcome.charge_nano_usd or 0) + outcome.overrun_nano_usd == outcome.provider_cost_nano_usd
    figures(cell.counters, provider_costs=True)
