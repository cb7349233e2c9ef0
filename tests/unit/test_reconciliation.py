"""A provider's bill against our books: each difference has its kind, and their sum leaves nothing over."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.provider_export import BilledRow, ExportFaults, read_export
from gateway.reconciliation import Reconciliation, reconcile
from gateway.records import ClosedEntry, PriceTaken, attempt_id
from tests.store.samples import entry

PRICE = PriceTaken(590_000_000, 790_000_000, 300_000_000, 590_000_000)
COST = 74_800
"""Of 100 + 20 tokens at that price."""


def booked(**changes: Any) -> ClosedEntry:
    return entry(1, **{"price": PRICE, "upstream_id": "up-1", "provider_cost_nano_usd": COST, **changes})


def row(*ids: str, cost: int = COST, prompt: int | None = 100, completion: int | None = 20) -> BilledRow:
    return BilledRow(2, ids or ("up-1",), cost, prompt, None, completion)


def told(rows: list[BilledRow], entries: list[ClosedEntry], total: int | None = None) -> Reconciliation:
    booked_nano_usd = sum(one.provider_cost_nano_usd or 0 for one in entries)
    found = reconcile(rows, entries, booked_nano_usd if total is None else total)
    assert found.remainder_nano_usd == 0
    return found


def kinds(found: Reconciliation) -> list[tuple[str, int]]:
    return [(one.kind, one.nano_usd) for one in found.differences]


def test_what_agrees_is_matched_by_the_providers_id_or_by_ours() -> None:
    first, second = booked(), booked(upstream_id=None)
    found = told([row("up-1"), row("unknown", attempt_id(second.inference_id, 1))], [first, second])
    assert (found.matched, found.differences) == (2, ())


def test_each_difference_has_its_kind() -> None:
    assert kinds(told([row("up-2", cost=9)], [])) == [("missing_here", 9)]
    assert kinds(told([], [booked()])) == [("missing_there", -COST)]
    assert kinds(told([row(cost=COST + 590, prompt=101)], [booked()])) == [("token_delta", 590)]
    assert kinds(told([row(cost=COST - 1)], [booked()])) == [("price_delta", -1)]
    assert kinds(told([row(cost=COST + 600, prompt=101)], [booked()])) == [("token_delta", 590), ("price_delta", 10)]
    assert kinds(told([], [], total=5)) == [("not_itemised", -5)]


def test_what_used_and_cost_nothing_is_no_difference_on_either_side() -> None:
    refused = booked(kind="void", answered=False, prompt_tokens=0, completion_tokens=0, provider_cost_nano_usd=0)
    assert told([row("up-2", cost=0, prompt=0, completion=0)], [refused]).differences == ()
    assert kinds(told([row("up-2", cost=0)], [])) == [("missing_here", 0)]


def test_what_is_billed_twice_is_missing_here_once() -> None:
    found = told([row(), row()], [booked()])
    assert (found.matched, kinds(found)) == (1, [("missing_here", COST)])
    assert found.differences[0].note == "billed more than once"


def test_an_unknown_attempt_is_settled_by_the_bill_either_way() -> None:
    unknown = booked(
        unknown=True, answered=False, prompt_tokens=0, completion_tokens=0, charge_nano_usd=0, provider_cost_nano_usd=0
    )
    assert kinds(told([row()], [unknown])) == [("token_delta", COST)]
    assert kinds(told([], [unknown])) == []


def test_an_attempt_without_a_price_is_a_difference_of_price() -> None:
    found = told([row()], [booked(price=None, charge_nano_usd=None, provider_cost_nano_usd=None)])
    assert kinds(found) == [("price_delta", COST)]
    assert "no price known" in found.differences[0].note


def test_tokens_that_the_file_does_not_tell_are_not_compared() -> None:
    assert told([row(prompt=None, completion=None)], [booked()]).matched == 1


@st.composite
def pairs(draw: st.DrawFn) -> tuple[BilledRow | None, ClosedEntry | None]:
    name = f"up-{draw(st.integers(0, 5))}"
    tokens = st.integers(0, 3)
    billed = BilledRow(
        2, (name,), draw(st.integers(-5, 9)), draw(st.none() | tokens), draw(st.none() | tokens),
        draw(st.none() | tokens),
    )  # fmt: skip
    ours = booked(
        upstream_id=name, prompt_tokens=draw(tokens), completion_tokens=draw(tokens),
        price=draw(st.sampled_from([PRICE, None])), provider_cost_nano_usd=draw(st.none() | st.integers(0, 9)),
    )  # fmt: skip
    return draw(st.sampled_from([billed, None])), draw(st.sampled_from([ours, None]))


@given(st.lists(pairs(), max_size=8), st.integers(0, 50))
def test_nothing_remains(found: list[tuple[BilledRow | None, ClosedEntry | None]], total: int) -> None:
    rows = [billed for billed, _ in found if billed is not None]
    result = told(rows, [ours for _, ours in found if ours is not None], total)
    assert result.provider_total_nano_usd - total == sum(one.nano_usd for one in result.differences)


def test_columns_go_by_many_names() -> None:
    text = '\ufeffRequest ID;Input Tokens;Output Tokens;Total Cost;Currency\r\nup-1;1,000;20;"$1,234.5";usd\r\n\r\n'
    assert read_export(text, "x.csv") == [BilledRow(2, ("up-1",), 1_234_500_000_000, 1000, None, 20)]
    ours = "attempt_id,upstream_id,cost_usd,provider_cost_usd\na.1,'-u,1,2\nb.1,,1,0.0000000005\n"
    assert read_export(ours, "x.csv") == [
        BilledRow(2, ("-u", "a.1"), 2_000_000_000), BilledRow(3, ("b.1",), 0)
    ]  # fmt: skip
    assert read_export("id,cost\nu,1.5e-7\n", "x.csv")[0].cost_nano_usd == 150


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "x.csv:1: the file is empty"),
        ("id,tokens\n", "x.csv:1: no column for the cost, expected one of provider_cost_usd"),
        ("id,cost\nu,free\n", "x.csv:2: the cost 'free'"),
        ("id,cost\nu,1,\nu\n", "x.csv:3: 1 cells, expected at least 2"),
        ("id,cost\n,1\n", "x.csv:2: no id"),
        ("id,cost,input_tokens\nu,1,1.5\n", "x.csv:2: '1.5' is not a number of tokens"),
        ("id,cost,currency\nu,1,EUR\n", "x.csv:2: the currency is 'EUR'"),
        ('id,cost\n"u\nv",1\nu,1e99\n', "x.csv:4: the cost '1e99' is beyond all bounds"),
        ('id,cost\nu,"1\n', "x.csv:2: this is not CSV"),
    ],
)
def test_a_fault_is_told_with_its_line(text: str, says: str) -> None:
    with pytest.raises(ExportFaults) as caught:
        read_export(text, "x.csv")
    assert says in str(caught.value)
