"""Errors in all their envelopes, messages that are safe to show, and when to come back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.failures import FailureRules, clean_message, read_error, read_failure
from providers.rate_limits import RETRY_AFTER_MAX_S, RateLimits, read_duration_s, read_rate_limits, read_retry_after_s
from providers.wire import FailureKind

RULES = FailureRules()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error":{"message":"a"},"message":"b"}', "a"),
        (b'{"error":"a","message":"b"}', "a"),
        (b'{"message":"b","detail":"c"}', "b"),
        (b'{"detail":"c"}', "c"),
        (b'{"detail":[{"loc":["body","x"],"msg":"missing"},{"msg":"m"},"n"]}', "body.x: missing; m; n"),
        (b'{"fault":{"faultstring":"d"}}', "d"),
        (b"plain text", "plain text"),
        (b"\xff", "\ufffd"),
        (b'{"error":{}}', ""),
        (b"[" * 99_999, "[" * 4096),
    ],
)
def test_the_text_of_an_error_is_found(body: bytes, text: str) -> None:
    assert read_error(body).text == text


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("see https://api.example.com/docs?key=1 now", "see [address] now"),
        ("upstream pod-7.models.svc.cluster.local:8080/v1 failed", "upstream [address] failed"),
        ("connect to 10.1.2.3:8000 or localhost:9 or [fe80::1]:80", "connect to [address] or [address] or [address]"),
        ("Incorrect API key provided: sk-proj-abc123def456", "Incorrect [secret]"),
        ("bad token hf_abcdefghijklmnop in Bearer abc123def456", "bad token [secret] in [secret]"),
        ("got eyJhbGciOiJIUzI1NiJ9.e30.x here", "got [secret] here"),
        (
            "messages.2.assistant.reasoning_content is unsupported",
            "messages.2.assistant.reasoning_content is unsupported",
        ),
        ("The model `llama-3.3-70b-versatile` is gone.", "The model `llama-3.3-70b-versatile` is gone."),
        ("code token_limit_exceeded, hf-inference", "code token_limit_exceeded, hf-inference"),
        ("  two\n\x00lines\t", "two lines"),
        ("<html><body>x</body></html>", "an HTML page"),
        ("", "status 500 without a message"),
    ],
)
def test_messages_are_safe_to_show(said: str, shown: str) -> None:
    assert clean_message(said, 500) == shown


@given(st.text(max_size=2000))
def test_any_message_is_short_and_of_one_line(said: str) -> None:
    shown = clean_message(said)
    assert 0 < len(shown) <= 500
    assert shown.isprintable()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, "unreadable"), (400, "bad_request"), (401, "auth"), (402, "payment"), (403, "forbidden"),
        (404, "not_found"), (405, "unreadable"), (406, "unreadable"), (408, "timeout"), (409, "conflict"),
        (413, "too_large"), (415, "unreadable"), (422, "bad_request"), (429, "rate_limited"), (451, "unreadable"),
        (500, "server_error"), (501, "server_error"), (502, "server_error"), (503, "overloaded"), (504, "timeout"),
        (524, "timeout"), (529, "overloaded"), (599, "server_error"),
    ],
)  # fmt: skip
def test_a_status_says_what_it_says_everywhere(status: int, kind: str) -> None:
    failure = read_failure(RULES, status, [], b"")
    assert failure.kind.value == kind
    assert ("redirect" in failure.message) is (status == 302)


@pytest.mark.parametrize(
    "text",
    [
        "This model's maximum context length is 4096 tokens",
        "Please reduce the length of the messages or completion",
        "The prompt is too long: 9000",
        "`inputs` tokens + `max_new_tokens` must be <= 4096",
    ],
)
def test_a_context_overflow_is_known_by_its_text(text: str) -> None:
    assert read_failure(RULES, 400, [], text.encode()).kind is FailureKind.CONTEXT_OVERFLOW
    assert read_failure(RULES, 500, [], text.encode()).kind is FailureKind.SERVER_ERROR


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (403, "Your input was flagged by our moderation.", "content_filter"),
        (403, "Blocked by the content policy", "content_filter"),
        (403, "This key may not use this model", "forbidden"),
        (403, "<html><title>Attention Required!</title>flagged</html>", "unreadable"),
        (401, "<!DOCTYPE html><title>Sign in</title>", "unreadable"),
        (401, "This key was flagged", "auth"),
    ],
)
def test_what_is_not_about_our_key_is_told_apart(status: int, text: str, kind: str) -> None:
    assert read_failure(RULES, status, [], text.encode()).kind.value == kind


NOW = (b"date", b"Mon, 23 Nov 2026 12:00:00 GMT")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([(b"retry-after", b"5")], 5),
        ([(b"retry-after", b"0")], 0),
        ([(b"retry-after", b"1.5")], 1.5),
        ([(b"retry-after-ms", b"250"), (b"retry-after", b"9")], 0.25),
        ([(b"retry-after", b"Mon, 23 Nov 2026 12:00:30 GMT"), NOW], 30),
        ([(b"retry-after", b"Mon, 23 Nov 2026 11:00:00 GMT"), NOW], 0),
        ([(b"retry-after", b"99999999")], RETRY_AFTER_MAX_S),
        *[([(b"retry-after", bogus)], None) for bogus in (b"soon", b"-1", b"nan", b"inf", b"", b"1e9", b"5 apples")],
        ([], None),
    ],
)
def test_when_to_come_back(headers: list[tuple[bytes, bytes]], seconds: float | None) -> None:
    assert read_retry_after_s(headers) == seconds
    assert read_failure(RULES, 429, headers, b"").retry_after_s == seconds
    for status in (200, 400, 401, 404, 413, 498, 500, 504):
        assert read_failure(RULES, status, headers, b"").retry_after_s is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6s", 6), ("130ms", 0.13), ("2m59.56s", 179.56), ("1h0m1s", 3601), ("23673.93", 23673.93), ("2", 2), ("0", 0),
        ("", None), ("soon", None), ("-5s", None), ("5s later", None), ("1790000000", None), ("1e3", None),
    ],
)  # fmt: skip
def test_durations(text: str, seconds: float | None) -> None:
    assert read_duration_s(text) == (None if seconds is None else pytest.approx(seconds))


def test_headers_that_say_nothing_are_nothing() -> None:
    assert read_rate_limits([]) is None
    assert read_rate_limits([(b"x-ratelimit-limit-requests", b"many")]) is None
    assert read_rate_limits([(b"x-ratelimit-remaining-requests", b"0")]) == RateLimits(requests_remaining=0)
