"""An invoice adds up to the ledger, to the nano-dollar, and is a page that runs nothing."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidRequest
from gateway.invoice import Invoice, invoice, month_named
from gateway.invoice_page import invoice_page
from gateway.ledger_period import LedgerPeriod
from gateway.money import parse_usd
from gateway.records import ClosedEntry, PriceTaken
from gateway.store.base import InvoiceLine, UsageCell
from gateway.store.fold import sum_run
from tests.store.samples import entry

CHEAP = PriceTaken(590_000_000, 790_000_000, 300_000_000, 590_000_000)
DEAR = PriceTaken(900_000_000, 900_000_000, 900_000_000, 900_000_000)


def lines_of(entries: list[ClosedEntry]) -> list[InvoiceLine]:
    """What a store keeps of them."""
    return [InvoiceLine(*line, counters) for line, counters in sum_run(entries).lines.items()]


def made(entries: list[ClosedEntry], kept: list[ClosedEntry] | None = None, team: str = "search") -> Invoice:
    cells = [UsageCell("t_1", *cell, counters) for cell, counters in sum_run(entries).hours.items()]
    month = month_named("2026-11", "UTC")
    period = LedgerPeriod(month.from_ms, month.to_ms, tuple(cells), tuple(entries if kept is None else kept))
    return invoice(team, "t_1", month, period, month.to_ms)


def test_a_line_for_each_model_provider_and_price() -> None:
    found = made(
        [
            entry(1, price=CHEAP, charge_nano_usd=100),
            entry(2, price=CHEAP, charge_nano_usd=11, cached_tokens=40),
            entry(3, price=DEAR, charge_nano_usd=1000),
            entry(4, provider="together", price=CHEAP, charge_nano_usd=5),
            entry(5, provider="together", price=CHEAP, answered=False, failed=True, charge_nano_usd=0),
        ]
    )
    lines = [line.as_json() for line in found.lines]
    assert [(line["provider"], line["requests"], line["amount_usd"]) for line in lines] == [
        ("groq", 2, "0.000000111"), ("groq", 1, "0.000001"), ("together", 1, "0"), ("together", 1, "0.000000005"),
    ]  # fmt: skip
    assert (lines[0]["input_tokens"], lines[0]["cached_tokens"], lines[0]["output_tokens"]) == (160, 40, 40)
    assert lines[0]["price"] == {"input": "0.59", "cached_input": "0.3", "cache_write": "0.59", "output": "0.79"}
    assert found.as_json()["total_usd"] == "0.000001116"


def test_what_is_estimated_unpriced_lost_or_no_longer_itemised_is_said() -> None:
    entries = [
        entry(1, estimated=True),
        entry(2, charge_nano_usd=None, provider_cost_nano_usd=None),
        entry(3, kind="lost", answered=False, last=False, provider="", key_id="", hub_model="", lost_from=1, lost_to=2),
    ]
    notes = " ".join(made(entries).notes())
    assert "1 requests are charged by an estimate" in notes
    assert "1 requests used tokens that no price was known for" in notes
    assert "2 records of usage were lost" in notes
    assert "no longer kept" not in notes
    assert "no longer kept" in " ".join(made(entries, kept=[]).notes())


@st.composite
def attempts(draw: st.DrawFn) -> ClosedEntry:
    return entry(
        draw(st.integers(1, 99)), provider=draw(st.sampled_from(["a", "b", ""])),
        price=draw(st.sampled_from([CHEAP, DEAR, None])), charge_nano_usd=draw(st.integers(0, 10**12) | st.none()),
        answered=draw(st.booleans()), last=draw(st.booleans()),
    )  # fmt: skip


@given(st.lists(attempts(), max_size=8), st.integers(0, 8))
def test_the_lines_add_up_to_the_ledger(entries: list[ClosedEntry], kept: int) -> None:
    found = made(entries, entries[:kept])
    owed = sum(one.charge_nano_usd or 0 for one in entries if one.answered)
    assert found.amount_nano_usd == sum(line.amount_nano_usd for line in found.lines) == owed
    assert sum(line.counters.get("requests", 0) for line in found.lines) == sum(one.last for one in entries)
    rows = list(csv.DictReader(io.StringIO(found.as_csv())))
    assert sum(parse_usd(row["amount_usd"]) for row in rows) == owed


def test_the_page_runs_and_fetches_nothing_and_escapes_every_text() -> None:
    nasty = "<script>alert('1')</script>"
    page = invoice_page(made([entry(1, hub_model=nasty, provider='"&<b>', price=CHEAP)], team=nasty))
    assert nasty not in page
    assert "&lt;script&gt;" in page
    assert "&quot;&amp;&lt;b&gt;" in page
    assert not any(word in page.lower() for word in ("<script", "http:", "https:", "src=", "url(", "@import", '<b>"'))
    assert "USD 0.0000748<" in page


def test_a_cell_of_the_table_is_no_formula() -> None:
    text = made([entry(1, hub_model="=1+1", price=CHEAP)]).as_csv()
    assert next(csv.DictReader(io.StringIO(text)))["model"] == "'=1+1"


def test_a_month_is_that_of_its_zone_whatever_its_clocks_do() -> None:
    october = month_named("2026-10", "Europe/Berlin")
    assert (october.to_ms - october.from_ms) // 3_600_000 == 31 * 24 + 1
    assert month_named("2026-11", "Europe/Berlin").from_ms == october.to_ms
    assert month_named("2024-02", "UTC").to_ms - month_named("2024-02", "UTC").from_ms == 29 * 86_400_000


@pytest.mark.parametrize("text", ["2026-13", "2026", "26-11", "2026-11-01", "0000-01", "9999-12", "２０２６-11"])
def test_what_is_no_month_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="month"):
        month_named(text, "UTC")


def test_the_page_of_an_empty_month_says_zero() -> None:
    empty: dict[str, Any] = made([]).as_json()
    assert (empty["data"], empty["total_usd"]) == ([], "0")
    assert "USD 0.00<" in invoice_page(made([]))


def test_the_stores_lines_itemise_what_its_entries_no_longer_do() -> None:
    entries = [entry(1, price=CHEAP, charge_nano_usd=100), entry(2, price=DEAR, charge_nano_usd=7)]
    cells = [UsageCell("t_1", *cell, counters) for cell, counters in sum_run(entries).hours.items()]
    month = month_named("2026-11", "UTC")
    period = LedgerPeriod(month.from_ms, month.to_ms, tuple(cells), tuple(entries[1:]))
    whole = invoice("search", "t_1", month, period, month.to_ms, lines_of(entries))
    assert {line.price: line.amount_nano_usd for line in whole.lines} == {CHEAP: 100, DEAR: 7}
    assert all(line.itemised for line in whole.lines)
    # Lines that began in the middle of the month: whichever explain more, and a line for what is left.
    started = invoice("search", "t_1", month, period, month.to_ms, lines_of(entries[:1]))
    assert started.amount_nano_usd == 107
    assert [line.itemised for line in started.lines].count(False) == 1
