"""A provider's own list of what it billed, as CSV, read into rows. Pure.

Every provider names its columns differently; those that are understood stand below. All faults of a file are told at
once, each with its line.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Final

from gateway.money import NANO_PER_USD, NANO_USD_MAX

COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "id": (
        "upstream_id", "attempt_id", "id", "request_id", "x_request_id", "response_id", "generation_id",
        "completion_id",
    ),
    "prompt_tokens": ("prompt_tokens", "input_tokens", "tokens_in", "tokens_prompt", "num_input_tokens"),
    "cached_tokens": ("cached_tokens", "cached_input_tokens", "cached_prompt_tokens", "cache_read_tokens"),
    "completion_tokens": (
        "completion_tokens", "output_tokens", "tokens_out", "tokens_completion", "num_output_tokens",
        "generated_tokens",
    ),
    "cost": (
        "provider_cost_usd", "cost_usd", "amount_usd", "total_cost_usd", "cost", "amount", "total_cost", "charge",
        "price_usd",
    ),
    "currency": ("currency",),
}  # fmt: skip
"""By meaning: names of columns, in small letters with `_` for what is no letter or digit; the first that is there
counts. Of ids every one that is there is tried."""
REQUIRED: Final = ("id", "cost")
FAULTS_SHOWN: Final = 20
TOKENS_MAX: Final = 1 << 40
_DELIMITERS: Final = ",;\t"
_NOT_A_NAME: Final = re.compile(r"[^a-z0-9]+")
_GROUPED: Final = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?")
_AMOUNT: Final = re.compile(r"-?(\d{1,12}(\.\d{0,40})?|\.\d{1,40})(e[+-]?\d{1,2})?", re.IGNORECASE)


class ExportFaults(Exception):
    """Everything that is wrong with a file, one `file:line: …` a line."""

    def __init__(self, faults: Sequence[str]) -> None:
        more = len(faults) - FAULTS_SHOWN
        shown = [*faults[:FAULTS_SHOWN], *([f"and {more} more"] if more > 0 else [])]
        super().__init__("\n".join(shown))


@dataclass(frozen=True, slots=True)
class BilledRow:
    """One attempt as its provider bills it. Tokens are None where the file does not give them."""

    line: int
    ids: tuple[str, ...]
    cost_nano_usd: int
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None


def read_export(text: str, name: str) -> list[BilledRow]:
    """The rows of a file that is called `name` in messages. Raises ExportFaults."""
    first = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    lines = _lines(text, delimiter, name)
    header = next(lines, None)
    if header is None:
        raise ExportFaults([f"{name}:1: the file is empty, expected a line of column names"])
    places = _places(header[1], name)
    rows: list[BilledRow] = []
    faults: list[str] = []
    for line, cells in lines:
        if not any(cell.strip() for cell in cells):
            continue
        try:
            rows.append(_row(line, cells, places))
        except ValueError as error:
            faults.append(f"{name}:{line}: {error}")
    if faults:
        raise ExportFaults(faults)
    return rows


def _lines(text: str, delimiter: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Each record with the line that it begins on."""
    reader = csv.reader(io.StringIO(text.lstrip("\ufeff"), newline=""), delimiter=delimiter, strict=True)
    begins = 1
    try:
        for cells in reader:
            yield begins, cells
            begins = reader.line_num + 1
    except csv.Error as error:
        raise ExportFaults([f"{name}:{begins}: this is not CSV: {error}"]) from None


def _places(header: Sequence[str], name: str) -> dict[str, list[int]]:
    """Indexes of the columns by meaning, the preferred ones first."""
    names = [_NOT_A_NAME.sub("_", cell.strip().lower()).strip("_") for cell in header]
    places = {
        meaning: [names.index(known) for known in known_names if known in names]
        for meaning, known_names in COLUMNS.items()
    }
    faults = [
        f"{name}:1: no column for the {meaning}, expected one of {', '.join(COLUMNS[meaning])}"
        for meaning in REQUIRED
        if not places[meaning]
    ]
    if faults:
        raise ExportFaults(faults)
    return places


def _row(line: int, cells: Sequence[str], places: Mapping[str, Sequence[int]]) -> BilledRow:
    def cell(meaning: str) -> str:
        return _cell(cells, places[meaning][0]) if places[meaning] else ""

    ids = tuple(dict.fromkeys(text for place in places["id"] if (text := _cell(cells, place))))
    if not ids:
        raise ValueError("no id; lines that sum others up do not belong here")
    currency = cell("currency")
    if currency and currency.upper() != "USD":
        raise ValueError(f"the currency is {currency[:16]!r}, expected USD")
    return BilledRow(
        line,
        ids,
        _nano_usd(cell("cost")),
        _tokens(cell("prompt_tokens")),
        _tokens(cell("cached_tokens")),
        _tokens(cell("completion_tokens")),
    )


def _cell(cells: Sequence[str], place: int) -> str:
    """A cell without blanks around it, and without the apostrophe that keeps a spreadsheet from reading a formula."""
    if place >= len(cells):
        raise ValueError(f"{len(cells)} cells, expected at least {place + 1}")
    text = cells[place].strip()
    return text[1:] if text[:1] == "'" and text[1:2] in ("=", "+", "-", "@") else text


def _nano_usd(text: str) -> int:
    """An amount, rounded half to even to the nano-dollar where it is finer."""
    plain = text.removeprefix("USD").removeprefix("$").strip()
    if _GROUPED.fullmatch(plain):
        plain = plain.replace(",", "")
    if not _AMOUNT.fullmatch(plain):
        raise ValueError(f"the cost {text[:32]!r} is not an amount in USD such as 0.0123")
    try:
        amount = int((Decimal(plain) * NANO_PER_USD).to_integral_value(ROUND_HALF_EVEN))
    except InvalidOperation:
        raise ValueError(f"the cost {text[:32]!r} is beyond all bounds") from None
    if abs(amount) > NANO_USD_MAX:
        raise ValueError(f"the cost {text[:32]!r} is beyond all bounds")
    return amount


def _tokens(text: str) -> int | None:
    if not text:
        return None
    plain = text.replace(",", "") if _GROUPED.fullmatch(text) else text
    plain = plain.removesuffix(".0")
    if not plain.isascii() or not plain.isdigit() or int(plain) > TOKENS_MAX:
        raise ValueError(f"{text[:32]!r} is not a number of tokens")
    return int(plain)
