"""Entries and frames: what goes in comes out, and damage is told from an end."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.journal.entries import (
    CLOSED_FIELDS,
    BadFrame,
    Closed,
    Entry,
    Head,
    Intent,
    NewerFormat,
    Open,
    Part,
    Refused,
    Sent,
    Ship,
    closed_of,
    decode_entry,
    frame,
    frame_closed,
    frames,
    is_closed,
    pack_closed,
    unpack_closed,
)
from gateway.records import PriceTaken
from tests.store.samples import entry

INTENT = Intent(
    "id",
    1,
    "2026-11-23",
    0,
    0,
    "t_a",
    "k",
    "m",
    "r",
    7,
    9,
    hold_nano_usd=5,
    tags={"a": "b"},
    decision=msgspec.Raw(b'{"x":1}'),
)
SENT = Sent("id", 1, "groq", "pm", 3, PriceTaken(1, 2, 3, 4))
ALL: list[Entry] = [
    Open("i", 1, 1),
    INTENT,
    Refused("id"),
    SENT,
    Head("id", 1, 200, "up"),
    Part("id", 1, 9),
    Ship("t_a", 4),
]


def payloads(data: bytes) -> list[bytes]:
    return [found[1] for found in frames(data) if not isinstance(found, BadFrame)]


def test_an_ordinary_attempt_is_short_enough_for_the_store() -> None:
    """With long names, a caller's own id, three candidates and one who was left out."""
    name = "meta-llama/Llama-3.3-70B-Instruct-Turbo"
    route = "together,groq,fireworks-ai;novita:breaker"
    attempt = entry(
        123_456, prev=123_455, hub_model=name, provider="fireworks-ai", provider_model=name, reported_model=name,
        request_id="b" * 36, upstream_id="chatcmpl-" + "a" * 32, generation="0123456789abcdef",
        price=PriceTaken(880_000_000, 880_000_000, 880_000_000, 880_000_000), duration_ms=12_345, first_content_ms=345,
        sent_after_ms=12, route=route,
    )  # fmt: skip
    assert len(pack_closed(attempt)) <= 600


def test_every_entry_comes_back() -> None:
    assert [decode_entry(payload) for payload in payloads(b"".join(frame(one) for one in ALL))] == ALL


def test_a_closed_entry_comes_back_and_is_known_without_decoding() -> None:
    whole = entry(3, price=PriceTaken(1, 2, 3, 4), tags={"ü": "|"}, dropped=("seed",), charge_nano_usd=None)
    (payload,) = payloads(frame_closed(whole))
    assert is_closed(payload)
    assert closed_of(payload) == whole
    assert isinstance(decode_entry(payload), Closed)
    assert not is_closed(payloads(frame(SENT))[0])


def test_the_order_of_packed_fields_only_ever_grows() -> None:
    """What older journals hold is read by position. Append to this list; never change it otherwise."""
    pinned = (
        "kind", "seq", "prev", "inference_id", "number", "last", "at_ms", "day", "team_id", "key_id", "hub_model",
        "provider", "provider_model", "request_id", "upstream_id", "reported_model", "status", "failure", "answered",
        "failed", "prompt_tokens", "cached_tokens", "cache_write_tokens", "completion_tokens", "reasoning_tokens",
        "estimated", "unknown", "charge_nano_usd", "provider_cost_nano_usd", "overrun_nano_usd", "price", "generation",
        "duration_ms", "first_content_ms", "tags", "dropped", "lost_from", "lost_to", "hour_start_ms", "day_start_ms",
    )  # fmt: skip
    assert CLOSED_FIELDS[: len(pinned)] == pinned


def test_a_story_stays_below_six_hundred_bytes() -> None:
    usual = entry(123_456, price=PriceTaken(590_000_000, 790_000_000, 590_000_000, 590_000_000), upstream_id="c" * 40,
                  reported_model="llama-3.3-70b-versatile", tags={"project": "x", "env": "prod"},
                  generation="0123456789ab")  # fmt: skip
    assert len(pack_closed(usual)) < 600


def test_a_later_format_is_refused_with_a_sentence() -> None:
    with pytest.raises(NewerFormat, match="later version"):
        unpack_closed(b"[99,1]")
    with pytest.raises(NewerFormat):
        decode_entry(payloads(frame(Open("i", 1, 99)))[0])


@pytest.mark.parametrize("junk", [b"{}", b"[]", b'["use"]', b"nope", b"7"])
def test_what_was_never_packed_is_a_value_error(junk: bytes) -> None:
    with pytest.raises(ValueError):
        unpack_closed(junk)


@given(st.data())
def test_a_torn_end_gives_every_whole_entry_before_it(data: st.DataObject) -> None:
    written = b"".join(frame(one) for one in ALL)
    cut = data.draw(st.integers(0, len(written)))
    found = list(frames(written[:cut] + b"\0" * data.draw(st.integers(0, 40))))
    whole = [one for one in found if not isinstance(one, BadFrame)]
    assert [decode_entry(payload) for _, payload in whole] == ALL[: len(whole)]
    assert sum(8 + len(payload) for _, payload in whole) <= cut


def test_a_flipped_bit_costs_one_entry() -> None:
    written = bytearray(b"".join(frame(one) for one in ALL))
    written[len(frame(ALL[0])) + 20] ^= 1
    found = list(frames(bytes(written)))
    bad = [one for one in found if isinstance(one, BadFrame)]
    assert len(bad) == 1
    assert bad[0].resumes
    assert [decode_entry(one[1]) for one in found if not isinstance(one, BadFrame)] == [ALL[0], *ALL[2:]]


@given(st.binary(max_size=200))
def test_any_bytes_at_all_are_read_without_an_error(junk: bytes) -> None:
    list(frames(junk))
    list(frames(frame(SENT) + junk))
