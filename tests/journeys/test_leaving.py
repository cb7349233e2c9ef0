"""A caller who leaves: the provider stops working for nobody, and what was done is charged."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from tests.journeys.caller import ask, body, listening
from tests.journeys.conftest import Town
from tests.journeys.gateway_process import GatewayProcess, until

HUNG_UP_S = 0.25


def read_until(chunks: Iterator[bytes], part: bytes) -> bytes:
    seen = b""
    for chunk in chunks:
        seen += chunk
        if part in seen:
            return seen
    raise AssertionError(seen)


def test_a_provider_at_its_stream_is_hung_up_on(town: Town) -> None:
    town.first.next("gap-100ms")

    with listening(town.gateway, max_tokens=50) as (response, chunks):
        inference_id = response.headers["inference-id"]
        seen = read_until(chunks, b'"content"')
        while seen.count(b"data: ") < 5:
            seen += next(chunks)

    (served,) = town.first.ended(inference_id)
    assert served["outcome"] == "client_gone"
    # It writes a word each 100 ms, and so notices at the next one at the latest.
    assert served["secs"] < served["generated"] * 0.1 + HUNG_UP_S
    assert served["generated"] < 10
    (entry,) = town.gateway.story(inference_id)
    assert (entry.estimated, entry.answered, entry.failed, entry.failure) == (True, True, False, "client_gone")
    assert 2 <= entry.completion_tokens <= served["generated"] + 2
    assert entry.charge_nano_usd == entry.prompt_tokens * 3_000 + entry.completion_tokens * 6_000


def test_a_silent_provider_is_hung_up_on(town: Town) -> None:
    town.first.next("hang-after-3-chunks")

    with listening(town.gateway) as (response, chunks):
        inference_id = response.headers["inference-id"]
        read_until(chunks, b'"content"')

    (served,) = town.first.ended(inference_id)
    assert served["outcome"] == "client_gone"
    assert served["secs"] < 2 * HUNG_UP_S  # the time to get there, and to leave


@pytest.mark.parametrize("fault", ["hang-after-headers", "hang-after-0-chunks"])
def test_a_prompt_that_a_provider_works_on_is_charged(town: Town, fault: str) -> None:
    """Nothing was sent to the caller, not even a status: it leaves from the wait."""
    town.first.next(fault)

    with hanging_on(town.gateway, stream=True):
        until(lambda: town.first.requests == 1, "the request upstream")
        until(lambda: town.first.has_answered, "the provider's 200")

    (inference_id,) = town.first.inference_ids()
    (served,) = town.first.ended(inference_id)
    assert (served["outcome"], served["status"]) == ("client_gone", 200)
    assert town.asked == (1, 0, 0)
    (entry,) = town.gateway.story(inference_id)
    assert (entry.estimated, entry.unknown, entry.completion_tokens) == (True, False, 0)
    assert entry.charge_nano_usd == entry.prompt_tokens * 3_000 > 0


def test_usage_is_awaited_once_the_answer_was_finished(town: Town) -> None:
    """The finish_reason was relayed, so the provider has nothing left to do but to tell what it cost."""
    town.first.next("slow-usage-300ms")

    with listening(town.gateway) as (response, chunks):
        inference_id = response.headers["inference-id"]
        read_until(chunks, b'"finish_reason": "stop"')

    (entry,) = town.gateway.story(inference_id)
    assert (entry.prompt_tokens, entry.completion_tokens, entry.estimated) == (5, 16, False)
    (served,) = town.first.ended(inference_id)
    assert served["outcome"] == "complete"


def test_a_plain_attempt_is_finished_for_who_left(town: Town) -> None:
    town.first.next("gap-20ms")

    with hanging_on(town.gateway):
        until(lambda: town.first.requests == 1, "the request upstream")

    (inference_id,) = town.first.inference_ids()
    (served,) = town.first.ended(inference_id)
    assert served["outcome"] == "complete"
    (entry,) = town.gateway.story(inference_id)
    assert (entry.prompt_tokens, entry.completion_tokens, entry.estimated) == (5, 16, False)
    assert entry.charge_nano_usd == 5 * 3_000 + 16 * 6_000


def test_nothing_new_is_tried_for_who_left(town: Town) -> None:
    town.first.next("slow-ttft-200ms+500")

    with hanging_on(town.gateway):
        until(lambda: town.first.requests == 1, "the request upstream")

    (inference_id,) = town.first.inference_ids()
    assert len(town.gateway.story(inference_id)) == 1
    assert town.asked == (1, 0, 0)


def test_the_gateway_goes_on_as_before(town: Town) -> None:
    assert ask(town.gateway).status_code == 200


@contextmanager
def hanging_on(
    gateway: GatewayProcess, *, headers: Mapping[str, str] | None = None, **fields: object
) -> Iterator[None]:
    """A caller on a socket of its own who has sent a request, and hangs up at the end of the block."""
    # Byte by byte what httpx would send.
    content = json.dumps(body(**fields), separators=(",", ":")).encode()
    parts = urlsplit(gateway.url)
    assert parts.hostname is not None
    head = ["POST /v1/chat/completions HTTP/1.1", f"host: {parts.netloc}", f"content-length: {len(content)}"]
    head += [f"{name}: {value}" for name, value in {**gateway.headers(), **(headers or {})}.items()]
    with socket.create_connection((parts.hostname, parts.port or 80)) as caller:
        caller.sendall("\r\n".join([*head, "", ""]).encode() + content)
        yield
