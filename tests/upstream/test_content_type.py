"""An answer is what it says to be, in whatever spelling."""

from __future__ import annotations

import pytest

from gateway.upstream.content_type import EVENT_STREAM, JSON, other_type


@pytest.mark.parametrize(
    ("said", "expected", "shown"),
    [
        (b"application/json", JSON, None),
        (b"Application/JSON ; charset=utf-8", JSON, None),
        (b"text/json", JSON, None),
        (b"", JSON, None),
        (b"text/event-stream; charset=utf-8", EVENT_STREAM, None),
        (b"text/event-stream", JSON, "text/event-stream"),
        (b"application/json", EVENT_STREAM, "application/json"),
        (b"text/html; charset=utf-8", JSON, "text/html"),
        (b"text/\xff" + b"x" * 500, JSON, "text/ÿ" + "x" * 74),
    ],
)
def test_what_an_answer_says_to_be(said: bytes, expected: tuple[bytes, ...], shown: str | None) -> None:
    assert other_type([(b"server", b"x"), (b"content-type", said)], expected) == shown


def test_an_answer_that_says_nothing_may_be_right() -> None:
    assert other_type([], JSON) is None
