"""An invoice as a page: one HTML file without scripts or anything to fetch, that reads on a screen and prints well."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any, Final
from zoneinfo import ZoneInfo

from gateway.invoice import Invoice, Line
from gateway.moments import format_moment
from gateway.money import format_usd

_STYLE: Final = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 2.5rem 2rem; background: #fff; color: #1a1a1a;
  font: 14px/1.45 system-ui, -apple-system, "Segoe UI", "Liberation Sans", Arial, sans-serif; }
header { display: flex; justify-content: space-between; align-items: flex-end; gap: 2rem;
  border-bottom: 2px solid #1a1a1a; padding-bottom: 1rem; margin-bottom: 1.5rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0; }
h1 small { display: block; font-size: 1rem; font-weight: normal; color: #555; }
.due { text-align: right; white-space: nowrap; }
.due b { display: block; font-size: 1.7rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 0 0 1.5rem; }
dt { color: #555; }
dd { margin: 0; overflow-wrap: anywhere; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
thead { display: table-header-group; }
tfoot { display: table-row-group; }
tr { break-inside: avoid; }
th, td { padding: .4rem .5rem; text-align: right; vertical-align: top; white-space: nowrap; }
th { border-bottom: 1px solid #1a1a1a; font-weight: 600; vertical-align: bottom; }
td { border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: normal; overflow-wrap: anywhere; }
th:last-child, td:last-child { padding-right: 0; }
td small, th small { display: block; color: #555; font-weight: normal; }
tfoot td { border-top: 2px solid #1a1a1a; border-bottom: 0; font-weight: 600; }
ul { padding-left: 1.2rem; }
footer { margin-top: 1.5rem; color: #555; font-size: .9em; }
@page { size: A4 landscape; margin: 14mm; }
@media print { body { max-width: none; padding: 0; font-size: 9.5pt; } }
"""

_KINDS: Final = (
    ("input_tokens", "Input", "input"),
    ("cached_tokens", "Cached input", "cached_input"),
    ("cache_write_tokens", "Cache writes", "cache_write"),
    ("output_tokens", "Output", "output"),
)
"""Columns of tokens: field, heading, and the price beneath."""


def invoice_page(invoice: Invoice) -> str:
    """The whole page. Every text in it is escaped."""
    month, zone = invoice.month, ZoneInfo(invoice.month.zone)
    until = format_moment(month.to_ms, zone)
    facts = (
        ("Team", f"{invoice.team} ({invoice.team_id})"),
        ("Period", f"{format_moment(month.from_ms, zone)} until before {until} ({month.zone})"),
        ("Made", format_moment(invoice.made_at_ms // 1000 * 1000, zone)),
    )
    title = f"Usage of {invoice.team}, {month.name}"
    columns = ("Model", "Requests", *(heading for _, heading, _ in _KINDS), "Amount, USD")
    return "".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n",
            f"<header><h1>Invoice {escape(month.name)}<small>{escape(invoice.team)}</small></h1>",
            f'<div class="due">Total<b>USD {_usd(invoice.amount_nano_usd)}</b></div></header>\n<dl>\n',
            *(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>\n" for name, value in facts),
            "</dl>\n<table>\n<thead><tr>",
            *(f"<th>{escape(column)}</th>" for column in columns),
            "</tr></thead>\n<tbody>\n",
            *(_row(line) for line in invoice.lines),
            f"</tbody>\n<tfoot>{_total(invoice)}</tfoot>\n</table>\n",
            _list(invoice.notes()),
            "<footer>Tokens by kind, each counted once; the price beneath is USD per million tokens. Every request is ",
            "rounded once to the nano-dollar (0.000000001 USD) and never charged above what was reserved for it, so ",
            "the amounts are those of the ledger and add up exactly.</footer>\n</body>\n</html>\n",
        )
    )


def _row(line: Line) -> str:
    tokens = line.tokens()
    failed = line.counters.get("failed_requests", 0)
    requests = _cell(f"{line.counters.get('requests', 0):,}", f"{failed:,} failed" if failed else "")
    kinds = (_cell(f"{tokens[field]:,}", _price(line, price) if tokens[field] else "") for field, _, price in _KINDS)
    model = _cell(line.hub_model or "–", line.provider or "no provider was reached")
    return f"<tr>{model}{requests}{''.join(kinds)}{_cell(_usd(line.amount_nano_usd))}</tr>\n"


def _price(line: Line, name: str) -> str:
    if line.price is not None:
        return f"at {_usd(getattr(line.price, name))}"
    return "no price known" if line.itemised and line.counters.get("unpriced_requests", 0) else "–"


def _total(invoice: Invoice) -> str:
    sums = Line("", "", None, invoice.total)
    tokens = sums.tokens()
    cells: Iterable[Any] = (
        "Total", f"{sums.counters.get('requests', 0):,}", *(f"{tokens[field]:,}" for field, _, _ in _KINDS),
        _usd(invoice.amount_nano_usd),
    )  # fmt: skip
    return f"<tr>{''.join(_cell(cell) for cell in cells)}</tr>"


def _cell(text: str, beneath: str = "") -> str:
    small = f"<small>{escape(beneath)}</small>" if beneath else ""
    return f"<td>{escape(text)}{small}</td>"


def _list(notes: list[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>\n" if notes else ""


def _usd(nano_usd: int) -> str:
    """Exact, with at least the cents: `12.50`, `0.000000007`."""
    whole, _, fraction = format_usd(nano_usd).partition(".")
    return f"{int(whole):,}.{fraction:0<2}" if whole != "-0" else f"-0.{fraction:0<2}"
