"""What a journal holds, as values, and how they become framed lines and back. Pure: no files here.

A frame is the payload's length and CRC-32 (both little-endian, four bytes) and the payload, one JSON object
with its kind in `e`. A closed attempt travels as an array in the order of ClosedEntry's fields, here and in the
stores: a third of the size, and fields may only ever be appended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from struct import Struct as Layout
from typing import Any, Final
from zlib import crc32

import msgspec

from gateway.records import BudgetTaken, ClosedEntry, Crossing, PriceTaken

FORMAT: Final = 1
PAYLOAD_BYTES_MAX: Final = 1 << 20
FRAME_HEADER: Final = Layout("<II")


NO_DECISION: Final = msgspec.Raw(b"null")


class NewerFormat(Exception):
    """A journal or entry was written by a later version of the gateway."""

    def __init__(self, version: int) -> None:
        super().__init__(f"written in format {version} by a later version; this one reads up to {FORMAT}")


class _Entry(msgspec.Struct, frozen=True, tag_field="e", omit_defaults=True):
    """All entries name their kind in `e`."""


class Open(_Entry, frozen=True, tag="open"):
    """The first entry of each segment."""

    instance: str
    at_ms: int
    v: int = 0


class Intent(_Entry, frozen=True, tag="intent"):
    """A request is about to cost something: all that whoever closes it must know of it."""

    inference_id: str
    at_ms: int
    day: str
    hour_start_ms: int
    day_start_ms: int
    team_id: str
    key_id: str
    hub_model: str
    request_id: str
    prompt_tokens: int
    """Our estimate."""
    deadline_ms: int
    hold_nano_usd: int | None = None
    """The charge is never above it; None where nothing was held."""
    stream: bool = False
    generation: str = ""
    tags: Mapping[str, str] = {}
    decision: msgspec.Raw = NO_DECISION
    """Why it goes where it goes, in the words of routing; read by nobody here."""
    route: str = ""
    """Where it goes, in a few of them."""
    budgets: tuple[BudgetTaken, ...] = ()
    away: bool = False

    def under(self, budgets: tuple[BudgetTaken, ...]) -> Intent:
        """The same, with what it will count against."""
        return msgspec.structs.replace(self, budgets=budgets)

    def holding(self, nano_usd: int | None, *, away: bool) -> Intent:
        """The same, once it is known what was held, and whether the store was there. Written again, it takes the first
        one's place."""
        return msgspec.structs.replace(self, hold_nano_usd=nano_usd, away=away)


class Refused(_Entry, frozen=True, tag="refused"):
    """Routing found nobody, or the store admitted nothing: the intent is closed, and nothing is told to the store."""

    inference_id: str
    status: int = 0
    """What the caller was answered; 0 where an earlier version wrote it."""
    code: str | None = None


class Sent(_Entry, frozen=True, tag="sent"):
    """Written before the first byte to a provider."""

    inference_id: str
    number: int
    provider: str
    provider_model: str
    at_ms: int
    price: PriceTaken | None = None
    charged_for: str = "all"
    """As in ClosedEntry."""
    charged_nano_usd: int = 0
    """What earlier attempts of the same answer were charged: `completion` goes on from them."""


class Head(_Entry, frozen=True, tag="head"):
    inference_id: str
    number: int
    status: int
    upstream_id: str | None = None


class Part(_Entry, frozen=True, tag="part"):
    """What a stream has given so far, by our own count."""

    inference_id: str
    number: int
    completion_tokens: int


class Closed(_Entry, frozen=True, tag="closed"):
    """A `use`, `void` or `lost`; see `gateway.records.ClosedEntry`."""

    entry: msgspec.Raw


class Ship(_Entry, frozen=True, tag="ship"):
    """The store has everything of this team up to `seq`."""

    team_id: str
    seq: int


class Archived(_Entry, frozen=True, tag="archived"):
    """The first entry of an archived segment."""

    last: Mapping[str, int]
    """By team, the last sequence written when the segment ended."""


class Crossed(_Entry, frozen=True, tag="crossed"):
    """A budget's threshold was reached, and its team has to be told."""

    crossing: Crossing


class Told(_Entry, frozen=True, tag="told"):
    """Nobody has to be told of this crossing any more: it was done, it was in vain for too long, or another journal has
    it now."""

    team_id: str
    mark: str


Entry = Open | Intent | Refused | Sent | Head | Part | Closed | Ship | Archived | Crossed | Told

_encode = msgspec.json.Encoder(enc_hook=str).encode
_decode_entry = msgspec.json.Decoder(Entry).decode
_decode_closed = msgspec.json.Decoder(Closed).decode
_decode = msgspec.json.Decoder().decode

CLOSED_FIELDS: Final = ClosedEntry.__struct_fields__
_values_of = attrgetter(*CLOSED_FIELDS)
_PRICE: Final = 1 + CLOSED_FIELDS.index("price")
_DROPPED: Final = 1 + CLOSED_FIELDS.index("dropped")
_BUDGETS: Final = 1 + CLOSED_FIELDS.index("budgets")
_CLOSED_MARK: Final = b'{"e":"closed"'
price_values = attrgetter("input", "output", "cached_input", "cache_write")
"""A price as PriceTaken takes it."""


def pack_closed(entry: ClosedEntry) -> bytes:
    """`[format, kind, seq, …]`: a closed entry as journals and stores keep it."""
    values: list[Any] = [FORMAT, *_values_of(entry)]
    if entry.price is not None:
        values[_PRICE] = price_values(entry.price)
    return _encode(values)


def _budget_taken(scope: str, window: str, nano_usd: int, strict: bool, warn_at: list[int]) -> BudgetTaken:
    return BudgetTaken(scope, window, nano_usd, strict, tuple(warn_at))


def unpack_closed(packed: bytes | str) -> ClosedEntry:
    """Back again. Raises NewerFormat, or ValueError for what was never packed here."""
    values = _decode(packed)
    if not isinstance(values, list) or not values or not isinstance(values[0], int):
        raise ValueError("not a closed entry")
    if values[0] > FORMAT:
        raise NewerFormat(values[0])
    if values[_PRICE] is not None:
        values[_PRICE] = PriceTaken(*values[_PRICE])
    values[_DROPPED] = tuple(values[_DROPPED])
    if len(values) > _BUDGETS:  # what an earlier version wrote ends before
        values[_BUDGETS] = tuple(_budget_taken(*taken) for taken in values[_BUDGETS])
    return ClosedEntry(*values[1:])


def frame(entry: Entry) -> bytes:
    """One entry, ready to be appended."""
    payload = _encode(entry)
    return FRAME_HEADER.pack(len(payload), crc32(payload)) + payload


def frame_closed(entry: ClosedEntry) -> bytes:
    payload = b'{"e":"closed","entry":%b}' % pack_closed(entry)
    return FRAME_HEADER.pack(len(payload), crc32(payload)) + payload


def is_closed(payload: bytes) -> bool:
    """Whether a payload is a closed entry, without decoding it."""
    return payload.startswith(_CLOSED_MARK)


def decode_entry(payload: bytes) -> Entry:
    """Raises NewerFormat, or ValueError (msgspec's own included) for what is no entry."""
    entry: Entry = _decode_entry(payload)
    if isinstance(entry, Open) and entry.v > FORMAT:
        raise NewerFormat(entry.v)
    return entry


def closed_of(payload: bytes) -> ClosedEntry:
    """The closed entry in a payload for which `is_closed` holds."""
    return unpack_closed(bytes(_decode_closed(payload).entry))


@dataclass(frozen=True, slots=True)
class BadFrame:
    """Bytes that are no entry. `resumes` tells whether whole frames follow right after them."""

    offset: int
    data: bytes
    resumes: bool


def frames(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes] | BadFrame]:
    """(offset, payload) of each whole frame. A torn end, or the zeros of space that was allocated and not written,
    ends it in silence; damage in the middle is given as BadFrame."""
    size = len(data)
    while True:
        length = _frame_at(data, offset)
        if length is not None:
            yield offset, data[offset + 8 : offset + 8 + length]
            offset += 8 + length
            continue
        rest = data[offset:].rstrip(b"\0")
        if not rest:
            return
        claimed = FRAME_HEADER.unpack_from(data, offset)[0] if size - offset >= 8 else 0
        following = offset + 8 + claimed
        if 0 < claimed <= PAYLOAD_BYTES_MAX and following < size and _frame_at(data, following) is not None:
            yield BadFrame(offset, data[offset:following], resumes=True)
            offset = following
            continue
        if not (0 < claimed <= PAYLOAD_BYTES_MAX and following > offset + len(rest)):
            yield BadFrame(offset, rest, resumes=False)
        return


def _frame_at(data: bytes, offset: int) -> int | None:
    """The payload's length where a whole frame begins at `offset`."""
    if len(data) - offset < 8:
        return None
    length, checksum = FRAME_HEADER.unpack_from(data, offset)
    if not 0 < length <= PAYLOAD_BYTES_MAX or offset + 8 + length > len(data):
        return None
    payload = data[offset + 8 : offset + 8 + length]
    return length if crc32(payload) == checksum else None
