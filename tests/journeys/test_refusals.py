"""What is refused at the door: always in the one form of errors, always before any provider is asked."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.journeys.caller import body
from tests.journeys.conftest import Town
from tests.journeys.raw_http import send_raw

CHAT = "/v1/chat/completions"
HOST = b"host: localhost\r\n"


def post(town: Town, content: bytes, **headers: str) -> httpx.Response:
    sent = {**town.gateway.headers(), "content-type": "application/json", **headers}
    return town.gateway.http.post(town.gateway.url + CHAT, content=content, headers=sent)


def refused(answer: httpx.Response, status: int, kind: str, code: str | None = None) -> dict[str, Any]:
    """The error, after what every one of them must be."""
    assert answer.status_code == status, answer.text
    whole = answer.json()
    assert set(whole) == {"error"}
    error: dict[str, Any] = whole["error"]
    assert {"message", "type", "param", "code"} <= set(error)
    assert error["type"] == kind
    assert error["message"]
    assert code is None or error["code"] == code
    assert answer.headers["x-error-message"]
    return error


@pytest.mark.parametrize("authorization", [None, "Bearer nonsense", "Bearer hf_gw_nobody", "Basic YTpi", "Bearer"])
def test_who_has_no_key_gets_nothing(town: Town, authorization: str | None) -> None:
    headers = {} if authorization is None else {"authorization": authorization}

    answer = town.gateway.http.post(town.gateway.url + CHAT, json=body(), headers=headers)

    refused(answer, 401, "authentication_error", "invalid_api_key")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["inference-id"]
    assert town.asked == (0, 0, 0)


WRONG = {
    "no json": (b'{"model": "acme/chat", "messages": [', None),
    "no object": (b"[1, 2]", None),
    "nothing": (b"", None),
    "bad utf-8": (b'{"model": "acme/chat", "messages": [{"role": "user", "content": "\xff\xfe"}]}', None),
    "deep": (b'{"model": "acme/chat", "messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
    "nan": (json.dumps(body(temperature=float("nan"))).encode(), None),
    "no model": (json.dumps(body(model=None)).encode(), "model"),
    "model": (json.dumps(body(model=7)).encode(), "model"),
    "no messages": (json.dumps(body(messages=None)).encode(), "messages"),
    "messages": (json.dumps(body(messages="hi")).encode(), "messages"),
    "temperature": (json.dumps(body(temperature="hot")).encode(), "temperature"),
    "stream": (json.dumps(body(stream="yes")).encode(), "stream"),
    "max_tokens": (json.dumps(body(max_tokens=-1)).encode(), "max_tokens"),
    "n": (json.dumps(body(n=0)).encode(), "n"),
    "top_p": (json.dumps(body(top_p=7)).encode(), "top_p"),
    "provider": (json.dumps(body(provider="first")).encode(), "provider"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_body_is_a_400_that_names_the_field(town: Town, case: str) -> None:
    content, param = WRONG[case]

    error = refused(post(town, content), 400, "invalid_request_error")

    assert error["param"] == param
    assert town.asked == (0, 0, 0)


def test_tags_are_checked_too(town: Town) -> None:
    answer = post(town, json.dumps(body()).encode(), **{"x-gateway-tags": "Not A Tag"})

    refused(answer, 400, "invalid_request_error")
    assert town.asked == (0, 0, 0)


@pytest.mark.parametrize("model", ["acme/chad", "acme/chat:frist", "dummy", "http://127.0.0.1:8000/v1", "a" * 5000])
def test_an_unknown_model_is_a_404_with_a_hint(town: Town, model: str) -> None:
    error = refused(post(town, json.dumps(body(model=model)).encode()), 404, "invalid_request_error", "model_not_found")

    assert error["param"] == "model"
    if model == "acme/chad":
        assert "acme/chat" in error["message"]
    if model == "acme/chat:frist":
        assert all(word in error["message"] for word in ("first", "fastest", "cheapest", "preferred"))
    assert len(error["message"]) < 1000
    assert town.asked == (0, 0, 0)


def test_a_body_of_more_than_20_mib_is_too_large(town: Town) -> None:
    refused(post(town, b" " * (21 << 20)), 413, "invalid_request_error", "request_too_large")


def test_a_body_of_many_megabytes_is_taken(town: Town) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * (12 << 20)}}
    content = json.dumps(body(messages=[{"role": "user", "content": [image]}])).encode()

    assert post(town, content).status_code == 200


def test_a_body_without_length_is_too_large_as_soon_as_it_is(town: Town) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nauthorization: Bearer {town.gateway.key()}\r\ntransfer-encoding: chunked\r\n"
    piece = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"

    answer = send_raw(town.gateway, head.encode() + HOST + b"\r\n", *([piece] * 25))

    assert (answer.status, answer.error["code"]) == (413, "request_too_large")


def test_a_compressed_body_is_not_unpacked(town: Town) -> None:
    refused(post(town, b"\x1f\x8b", **{"content-encoding": "gzip"}), 415, "invalid_request_error")


def test_heads_have_a_measure(town: Town) -> None:
    many = b"".join(b"x-h%d: 1\r\n" % i for i in range(5000))
    large = b"x-large: " + b"h" * 60_000 + b"\r\n"
    for extra in (many, large):
        answer = send_raw(town.gateway, b"GET /healthz HTTP/1.1\r\n" + HOST + extra + b"\r\n")
        assert answer.status == 431
        assert answer.error["code"] == "headers_too_large"


@pytest.mark.parametrize("hosts", [b"", HOST + HOST])
def test_exactly_one_host(town: Town, hosts: bytes) -> None:
    answer = send_raw(town.gateway, b"GET /healthz HTTP/1.1\r\n" + hosts + b"\r\n")

    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/9.9\r\nhost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_what_is_no_http_is_a_400(town: Town, request_bytes: bytes) -> None:
    answer = send_raw(town.gateway, request_bytes)

    assert answer.status == 400
    assert answer.error["message"]


def test_what_is_not_here_is_a_404(town: Town) -> None:
    for path in ("/v1/nothing", "/%00", "/v1/chat/completions/", "/../etc/passwd"):
        answer = town.gateway.http.get(town.gateway.url + path, headers=town.gateway.headers())
        assert refused(answer, 404, "invalid_request_error")["message"]


def test_a_known_path_with_another_method_is_a_405(town: Town) -> None:
    answer = town.gateway.http.get(town.gateway.url + CHAT, headers=town.gateway.headers())

    refused(answer, 405, "invalid_request_error")
    assert "POST" in answer.headers["allow"]


def test_a_browser_may_ask_from_any_page(town: Town) -> None:
    asked = {
        "origin": "https://app.example.com",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-stainless-os",
    }
    preflight = town.gateway.http.options(town.gateway.url + CHAT, headers=asked)
    answer = post(town, json.dumps(body()).encode(), origin="https://app.example.com")
    error = post(town, b"{", origin="https://app.example.com")

    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "x-stainless-os" in preflight.headers["access-control-allow-headers"]
    assert "POST" in preflight.headers["access-control-allow-methods"]
    for reply in (answer, error):
        assert reply.headers["access-control-allow-origin"] == "*"
        assert "inference-id" in reply.headers["access-control-expose-headers"]


def test_the_callers_id_is_an_echo_and_no_key(town: Town) -> None:
    twice = [post(town, json.dumps(body()).encode(), **{"x-request-id": "mine-1"}) for _ in range(2)]
    odd = post(town, json.dumps(body()).encode(), **{"x-request-id": "not fit for an echo"})

    assert [answer.headers["x-request-id"] for answer in twice] == ["mine-1", "mine-1"]
    assert odd.headers["x-request-id"] == odd.headers["inference-id"]
    ids = [answer.headers["inference-id"] for answer in twice]
    assert ids[0] < ids[1]
    for inference_id in ids:
        (entry,) = town.gateway.story(inference_id)
        assert entry.request_id == "mine-1"
        (served,) = town.first.ended(inference_id)
        assert served["rid"] == f"{inference_id}.1"
