"""Server-sent events: the same events come out however the bytes are cut and whichever line ending is used."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.sse import EventTooLargeError, SseDecoder, encode_event


def decode(body: bytes, size: int = 0, max_bytes: int = 1 << 20) -> list[tuple[str, bytes]]:
    decoder = SseDecoder(max_bytes)
    events = []
    for start in range(0, len(body), size or len(body) or 1):
        events += decoder.feed(body[start : start + (size or len(body))])
    return events + decoder.flush()[0]


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (b"data: a\n\n", [("", b"a")]),
        (b"data:a\n\ndata:  b\n\n", [("", b"a"), ("", b" b")]),
        (b"event: error\ndata: x\n\n", [("error", b"x")]),
        (b"data: x\nevent: late\n\n", [("late", b"x")]),
        (b"data: a\ndata: b\ndata\n\n", [("", b"a\nb\n")]),
        (b": ping\n\n:\n\ndata: a\n: inside\nid: 7\nretry: 5\n\n", [("", b"a")]),
        (b"event: ping\n\ndata: a\n\n", [("", b"a")]),
        (b"\xef\xbb\xbfdata: a\n\n", [("", b"a")]),
        (b"\n\n\n\ndata: a\n\n\n\n\ndata: b\n\n", [("", b"a"), ("", b"b")]),
        ("data: \u2028\u0085é\n\n".encode(), [("", "\u2028\u0085é".encode())]),
        (b"data: a\r\rdata: b\r\n\r\ndata: c\n\r\n", [("", b"a"), ("", b"b"), ("", b"c")]),
        (b"data: no blank line", [("", b"no blank line")]),
        (b"", []),
    ],
)
@pytest.mark.parametrize("size", [0, 1, 2, 3, 5])
def test_events_are_read(body: bytes, events: list[tuple[str, bytes]], size: int) -> None:
    assert decode(body, size) == events


def test_an_event_is_given_as_soon_as_its_blank_line_is_there() -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"data: a\r\n\r") == [("", b"a")]
    assert decoder.feed(b"\ndata: b\n") == []
    assert decoder.feed(b"\n") == [("", b"b")]


def test_an_event_that_is_too_large_is_refused_after_those_before_it() -> None:
    assert decode(b"data: " + b"x" * 50 + b"\n\n", max_bytes=100) == [("", b"x" * 50)]
    with pytest.raises(EventTooLargeError) as caught:
        decode(b"data: a\n\ndata: " + b"x" * 200 + b"\n\n", max_bytes=100)
    assert caught.value.events == [("", b"a")]
    with pytest.raises(EventTooLargeError):
        decode(b"data: " + b"x" * 200, size=9, max_bytes=100)
    many = b"data: " + b"x" * 50 + b"\n\n"
    assert len(decode(many * 9, max_bytes=100)) == 9, "the cap is of one event, not of one read"


line = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1, max_size=20)
event = st.tuples(st.sampled_from(["", "error", "message-end"]), st.lists(line, min_size=1, max_size=3))


@given(
    st.lists(event, max_size=6),
    st.sampled_from([b"\n", b"\r", b"\r\n"]),
    st.booleans(),
    st.integers(0, 40),
)
def test_any_events_survive_any_cut(events: list[tuple[str, list[str]]], ending: bytes, bom: bool, size: int) -> None:
    body = b"\xef\xbb\xbf" if bom else b""
    for name, lines in events:
        head = b"event: " + name.encode() + ending if name else b": note" + ending
        body += head + b"".join(b"data: " + text.encode() + ending for text in lines) + ending
    assert decode(body, size) == [(name, "\n".join(lines).encode()) for name, lines in events]


@given(st.binary(max_size=300), st.integers(1, 50))
def test_no_bytes_are_too_strange(body: bytes, size: int) -> None:
    assert decode(body, size) == decode(body)


@given(line)
def test_what_is_encoded_is_decoded(text: str) -> None:
    assert decode(encode_event(text.encode())) == [("", text.encode())]
