"""HTTP/1.1 as bytes: what is framed, what is read, and that the cuts between reads never matter."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.connection import (
    HEAD_FIELDS_MAX,
    ResponseReader,
    frame_head_prefix,
    frame_request,
)
from gateway.upstream.faults import ConnectionReset, ProtocolBroken, ResponseTruncated, UpstreamFault

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Outcome:
    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    complete: bool
    keep_alive: bool
    fault: type[UpstreamFault] | None


def read(*pieces: bytes, method: bytes = b"GET", eof: bool = False) -> Outcome:
    reader = ResponseReader(method)
    body = b""
    for piece in pieces:
        if reader.fault is None:
            reader.feed(piece)
            body += reader.take()
    if eof:
        reader.feed_eof()
    fault = type(reader.fault) if reader.fault else None
    return Outcome(reader.status, tuple(reader.headers), body, reader.complete, reader.keep_alive, fault)


WHOLE = {
    "content-length": OK + b"Content-Length: 5\r\n\r\nhello",
    "no body": b"HTTP/1.1 204 No Content\r\n\r\n",
    "not modified, with the length of what it is not sending": b"HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\n",
    "chunked": CHUNKED + b"5\r\nhello\r\n1;ext=1\r\n!\r\n0\r\n\r\n",
    "trailer": CHUNKED + b"1\r\na\r\n0\r\nx-sum: 1\r\n\r\n",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    + OK
    + b"content-length: 0\r\n\r\n",
    "no reason": b"HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n",
    "1.0, kept": b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\na",
}
CLOSED = {
    "connection: close": OK + b"connection: close\r\ncontent-length: 1\r\n\r\na",
    "1.0": b"HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\na",
    "garbage after the end": OK + b"content-length: 1\r\n\r\naXYZ",
    "second response": OK + b"content-length: 1\r\n\r\na" + OK + b"x: y\r\ncontent-length: 1\r\n\r\nb",
    "garbage after chunks": CHUNKED + b"1\r\na\r\n0\r\n\r\nXYZ",
    "body after no content": b"HTTP/1.1 204 No Content\r\ncontent-length: 3\r\n\r\nabc",
}
BROKEN = {
    "two lengths": OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab",
    "two equal lengths": OK + b"content-length: 1\r\ncontent-length: 1\r\n\r\na",
    "length list": OK + b"content-length: 1, 1\r\n\r\na",
    "length beside chunks": OK + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "signed length": OK + b"content-length: +1\r\n\r\na",
    "huge length": OK + b"content-length: 99999999999999999999999\r\n\r\na",
    "bad chunk size": CHUNKED + b"zz\r\nab\r\n0\r\n\r\n",
    "bad chunk end": CHUNKED + b"2\r\nabXX0\r\n\r\n",
    "other transfer encoding": OK + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "switching protocols": b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    "status 000": b"HTTP/1.1 000 None\r\n\r\n",
    "HTTP/2 status line": b"HTTP/2.0 200 OK\r\n\r\n",
    "bare line feed": b"HTTP/1.1 200 OK\ncontent-length: 1\n\na",
    "folded header": OK + b"x: a\r\n b\r\ncontent-length: 0\r\n\r\n",
    "space before the colon": OK + b"content-length : 1\r\n\r\na",
    "NUL in a header": OK + b"x: a\0b\r\n\r\n",
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "too many headers": OK + b"a: b\r\n" * (HEAD_FIELDS_MAX + 1) + b"\r\n",
    "headers too long": OK + (b"a: %b\r\n" % (b"x" * 7000)) * 10 + b"content-length: 0\r\n\r\n",
    "endless header": OK + b"a: " + b"x" * 200_000,
    "endless interim responses": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 6_000,
    "endless trailer": CHUNKED + b"1\r\na\r\n0\r\n" + b"x: y\r\n" * 60_000,
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_response_leaves_the_connection_open(name: str) -> None:
    outcome = read(WHOLE[name])
    assert (outcome.complete, outcome.keep_alive, outcome.fault) == (True, True, None)


@pytest.mark.parametrize("name", CLOSED)
def test_a_response_after_which_the_connection_is_not_used_again(name: str) -> None:
    outcome = read(CLOSED[name])
    assert (outcome.complete, outcome.keep_alive, outcome.fault) == (True, False, None)
    assert outcome.body in (b"a", b"")
    assert (b"x", b"y") not in outcome.headers


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_response_is_a_fault_and_not_a_guess(name: str) -> None:
    # Fed in pieces, as the endless ones are only ever seen in part.
    data = BROKEN[name]
    outcome = read(*(data[at : at + 50_000] for at in range(0, len(data), 50_000)))
    assert outcome.fault is ProtocolBroken
    assert not outcome.complete


def test_the_head_is_handed_out_as_it_came_with_names_lower_cased() -> None:
    outcome = read(OK + b"Content-Type: text/Plain\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 0\r\n\r\n")
    assert outcome.status == 200
    assert outcome.headers == (
        (b"content-type", b"text/Plain"),
        (b"x-a", b"1"),
        (b"x-a", b"2"),
        (b"content-length", b"0"),
    )


def test_headers_of_interim_responses_and_trailers_are_left_out() -> None:
    assert read(WHOLE["interim"]).headers == ((b"content-length", b"0"),)
    assert read(WHOLE["trailer"]).headers == ((b"transfer-encoding", b"chunked"),)


def test_the_answer_to_head_ends_with_its_head() -> None:
    head = OK + b"content-length: 5\r\n\r\n"
    assert read(head, method=b"HEAD") == Outcome(200, ((b"content-length", b"5"),), b"", True, True, None)
    with_body = read(head + b"hello", method=b"HEAD")
    assert (with_body.body, with_body.complete, with_body.keep_alive) == (b"", True, False)


def test_a_body_without_length_ends_when_the_connection_does() -> None:
    data = OK + b"content-type: text/plain\r\n\r\nhello"
    assert not read(data).complete
    assert read(data, eof=True) == Outcome(200, ((b"content-type", b"text/plain"),), b"hello", True, False, None)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", ConnectionReset),
        (b"HTTP/1.1 200 OK\r\ncont", ConnectionReset),
        (OK + b"content-length: 6\r\n\r\nhello", ResponseTruncated),
        (CHUNKED + b"5\r\nhello\r\n", ResponseTruncated),
        (CHUNKED + b"5\r\nhello\r\n0\r\n", ResponseTruncated),
    ],
)
def test_an_end_that_comes_too_early_is_a_fault(data: bytes, fault: type[UpstreamFault]) -> None:
    assert read(data, eof=True).fault is fault


def test_a_broken_connection_completes_no_body() -> None:
    reader = ResponseReader()
    reader.feed(OK + b"\r\nhello")
    reader.cut()
    assert isinstance(reader.fault, ResponseTruncated)
    assert reader.take() == b"hello"


SAMPLES = [*WHOLE.values(), *CLOSED.values(), *(data for data in BROKEN.values() if len(data) < 3_000)]


@given(st.sampled_from(SAMPLES), st.lists(st.integers(0, 300)), st.sampled_from([b"GET", b"HEAD"]), st.booleans())
def test_any_cutting_of_the_bytes_gives_the_same_outcome(
    data: bytes, cuts: list[int], method: bytes, eof: bool
) -> None:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(edges) if end > start]
    assert read(*pieces, method=method, eof=eof) == read(data, method=method, eof=eof)


@given(st.binary(max_size=400), st.sampled_from([b"", OK, CHUNKED]))
def test_no_bytes_whatever_raise_and_single_bytes_agree(tail: bytes, head: bytes) -> None:
    data = head + tail
    at_once = read(data, eof=True)
    one_by_one = read(*(data[at : at + 1] for at in range(len(data))), eof=True)
    assert one_by_one == at_once
    assert at_once.complete or at_once.fault is not None


def test_a_request_is_framed() -> None:
    prefix = frame_head_prefix(b"POST", b"/v1/chat?a=b", b"api.example.com", [(b"content-type", b"application/json")])
    assert frame_request(prefix, [(b"x-request-id", b"a.1")], b"{}") == (
        b"POST /v1/chat?a=b HTTP/1.1\r\nhost: api.example.com\r\naccept-encoding: identity\r\n"
        b"content-type: application/json\r\nx-request-id: a.1\r\ncontent-length: 2\r\n\r\n{}"
    )


def test_only_methods_with_a_body_state_an_empty_one() -> None:
    post = frame_head_prefix(b"POST", b"/", b"h", ())
    get = frame_head_prefix(b"GET", b"/", b"h", ())
    assert b"content-length: 0\r\n" in frame_request(post, (), b"")
    assert b"content-length" not in frame_request(get, (), b"")


def test_the_callers_own_host_and_encoding_stand() -> None:
    prefix = frame_head_prefix(b"GET", b"/", b"h", [(b"Host", b"other"), (b"Accept-Encoding", b"gzip")])
    assert prefix == b"GET / HTTP/1.1\r\nHost: other\r\nAccept-Encoding: gzip\r\n"


BAD_HEADERS = [
    (b"x", b"a\r\nhost: evil"),
    (b"x", b"a\nb"),
    (b"x", b"a\rb"),
    (b"x", b"a\0b"),
    (b"x\r\ny", b"a"),
    (b"x: y", b"a"),
    (b"x\0", b"a"),
    (b"", b"a"),
    (b"Content-Length", b"5"),
    (b"Transfer-Encoding", b"chunked"),
]


@pytest.mark.parametrize("header", BAD_HEADERS)
def test_a_header_that_would_arrive_as_something_else_is_refused(header: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match="header"):
        frame_head_prefix(b"GET", b"/", b"h", [header])
    with pytest.raises(ValueError, match="header"):
        frame_request(frame_head_prefix(b"GET", b"/", b"h", ()), [header], b"")


def test_the_refusal_does_not_repeat_the_value() -> None:
    with pytest.raises(ValueError, match="authorization") as caught:
        frame_head_prefix(b"GET", b"/", b"h", [(b"authorization", b"Bearer sk-secret\r\n")])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("target", [b"", b"/a b", b"/a\r\nb", b"/\0", b"/\xc3\xa9"])
def test_a_target_that_would_end_early_is_refused(target: bytes) -> None:
    with pytest.raises(ValueError, match="target"):
        frame_head_prefix(b"GET", target, b"h", ())


@pytest.mark.parametrize("method", [b"", b"GET /", b"G\r\nT"])
def test_a_method_that_is_no_token_is_refused(method: bytes) -> None:
    with pytest.raises(ValueError, match="method"):
        frame_head_prefix(method, b"/", b"h", ())
