"""Misbehaviour on request: by script, by header, in each provider's own way."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest

from gateway.simulator.behaviour import Behaviour, UnknownBehaviour, from_mapping, parse
from gateway.simulator.server import SimulatorServer, serve_in_loop
from tests.simulator.support import KEY, PROVIDERS, chat_url, events, good_body


def post(
    server: SimulatorServer, client: httpx.Client, provider: str, how: str | None = None, **fields: Any
) -> httpx.Response:
    body = good_body(provider, **fields)
    headers = {} if how is None else {"x-sim-behaviour": how}
    return client.post(chat_url(server.url, provider, body["model"]), json=body, headers=headers)


def order(server: SimulatorServer, client: httpx.Client, **given: Any) -> httpx.Response:
    return client.post(server.url + "/__sim__/control", json=given)


def test_short_form_and_json_say_the_same() -> None:
    wanted = Behaviour(cut_after=3, gap_ms=20.0, refuse=True, switches={"generation": "2025"})
    assert parse("cut_after=3; gap_ms=20, refuse; switch.generation=2025") == wanted
    assert parse('{"cut_after": 3, "gap_ms": 20, "refuse": true, "switches": {"generation": 2025}}') == wanted


@pytest.mark.parametrize("wrong", ["explode", "cut_after=soon", "{", '{"switches": 1}'])
def test_unknown_behaviour_is_named(wrong: str) -> None:
    with pytest.raises(UnknownBehaviour):
        parse(wrong)


def test_behaviour_for_some_requests(server: SimulatorServer, client: httpx.Client) -> None:
    order(server, client, provider="groq", behaviour={"status": 503}, times=2)
    assert [post(server, client, "groq").status_code for _ in range(3)] == [503, 503, 200]
    assert post(server, client, "together").status_code == 200


def test_scripted_list_of_behaviours(server: SimulatorServer, client: httpx.Client) -> None:
    order(server, client, provider="groq", script=[{"status": 500}, "rate_limit", {}, "status=502"])
    assert [post(server, client, "groq").status_code for _ in range(5)] == [500, 429, 200, 502, 200]


def test_behaviour_of_all_until_reset(server: SimulatorServer, client: httpx.Client) -> None:
    order(server, client, provider="*", behaviour={"status": 500})
    assert {post(server, client, provider).status_code for provider in PROVIDERS} == {500}
    client.post(server.url + "/__sim__/reset")
    assert {post(server, client, provider).status_code for provider in PROVIDERS} == {200}


def test_most_particular_script_wins(server: SimulatorServer, client: httpx.Client) -> None:
    model = good_body("groq")["model"]
    order(server, client, behaviour={"status": 500})
    order(server, client, provider="groq", model=model, behaviour={"status": 502}, times=1)
    assert post(server, client, "groq").status_code == 502
    assert post(server, client, "groq").status_code == 500


@pytest.mark.parametrize("given", [{"provider": "nobody"}, {"behaviour": {"explode": 1}}, {"behaviour": 7}])
def test_wrong_orders_are_refused(given: Any, server: SimulatorServer, client: httpx.Client) -> None:
    assert order(server, client, **given).status_code == 400


@pytest.mark.parametrize("provider", PROVIDERS)
def test_rate_limit(provider: str, server: SimulatorServer, client: httpx.Client) -> None:
    answer = post(server, client, provider, "rate_limit;retry_after_s=7")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_refused_connection_has_no_answer(provider: str, server: SimulatorServer, client: httpx.Client) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        post(server, client, provider, "refuse")


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("stream", [False, True])
def test_cut_answers_do_not_end(provider: str, stream: bool, server: SimulatorServer, client: httpx.Client) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        post(server, client, provider, "cut_after=3", stream=stream)


def test_frames_before_the_cut_arrive(server: SimulatorServer, client: httpx.Client) -> None:
    body = good_body("groq", stream=True)
    url = chat_url(server.url, "groq", body["model"])
    read: list[str] = []
    with client.stream("POST", url, json=body, headers={"x-sim-behaviour": "cut_after=3"}) as answer:
        with pytest.raises(httpx.RemoteProtocolError):
            read.extend(answer.iter_text())
    assert len(list(events("".join(read)))) == 3


@pytest.mark.parametrize("provider", PROVIDERS)
def test_failure_inside_a_stream(provider: str, server: SimulatorServer, client: httpx.Client) -> None:
    answer = post(server, client, provider, "error_after=3", stream=True)
    found = [event for event in events(answer.text) if event.data != "[DONE]"]
    assert answer.status_code == 200
    failed = found[-1].data
    assert "error" in failed or failed.get("object") == "error" or failed["delta"]["finish_reason"] == "ERROR"


def test_groq_ends_a_failed_stream_without_done(server: SimulatorServer, client: httpx.Client) -> None:
    last = list(events(post(server, client, "groq", "error_after=3", stream=True).text))[-1]
    assert last.name == "error"
    assert last.data["error"]["code"] == "tool_use_failed"


@pytest.mark.parametrize(
    ("provider", "how", "status", "said"),
    [
        ("groq", "status=413", 413, "rate_limit_exceeded"),
        ("groq", "status=498", 498, "capacity"),
        ("groq", "fault=tool_use_failed", 400, "failed_generation"),
        ("cerebras", "fault=queue", 429, "queue_exceeded"),
        ("cerebras", "status=402", 402, "payment"),
        ("novita", "fault=balance", 403, "NOT_ENOUGH_BALANCE"),
        ("sambanova", "status=410", 410, "model_deprecated"),
        ("sambanova", "status=503", 503, "maintenance"),
        ("hf-inference", "status=503", 503, "estimated_time"),
        ("hf-inference", "status=424", 424, "generation"),
        ("fireworks-ai", "fault=front", 500, "faultstring"),
        ("together", "status=524", 524, "<html>"),
        ("cohere", "status=498", 498, "blocked"),
        ("openai", "fault=quota", 429, "insufficient_quota"),
        ("openai", "fault=context", 400, "maximum context length"),
    ],
)
def test_named_faults(
    provider: str, how: str, status: int, said: str, server: SimulatorServer, client: httpx.Client
) -> None:
    answer = post(server, client, provider, how)
    assert answer.status_code == status
    assert said in answer.text


def test_waits_are_waited(server: SimulatorServer, client: httpx.Client) -> None:
    start_s = time.monotonic()
    post(server, client, "groq", "delay_ms=30;ttft_ms=30;gap_ms=2;words=10", stream=True)
    assert time.monotonic() - start_s >= 0.078


def test_requests_are_kept_without_their_key(server: SimulatorServer, client: httpx.Client) -> None:
    post(server, client, "groq", seed=7)
    post(server, client, "cohere")
    kept = client.get(server.url + "/__sim__/requests", params={"provider": "groq"}).json()
    assert [entry["body"]["seed"] for entry in kept] == [7]
    assert kept[0]["path"] == "/openai/v1/chat/completions"
    assert "authorization" not in kept[0]["headers"]


def test_stalled_stream_notices_that_its_reader_left() -> None:
    async def story() -> None:
        async with serve_in_loop() as server:
            body = good_body("groq", stream=True)
            async with httpx.AsyncClient(headers={**KEY, "x-sim-behaviour": "stall_after=2"}) as client:
                url = chat_url(server.url, "groq", body["model"])
                async with client.stream("POST", url, json=body) as answer:
                    async for _ in answer.aiter_bytes():
                        break
            account = server.simulators.ledger.account("groq", body["model"])
            async with asyncio.timeout(5):
                while not account.interrupted:
                    await asyncio.sleep(0.001)
            assert account.answered == 0

    asyncio.run(story())


def test_server_stops_while_a_stream_is_stalled() -> None:
    async def story() -> float:
        body = good_body("groq", stream=True)
        async with httpx.AsyncClient(headers={**KEY, "x-sim-behaviour": "stall_after=0"}) as client:
            async with serve_in_loop() as server:
                url = chat_url(server.url, "groq", body["model"])
                reading = asyncio.ensure_future(client.post(url, json=body))
                while "groq" not in server.simulators.ledger.stats():
                    await asyncio.sleep(0.001)
                start_s = time.monotonic()
            with pytest.raises(httpx.RemoteProtocolError):
                await reading
        return time.monotonic() - start_s

    assert asyncio.run(story()) < 2


def test_keys_by_configuration() -> None:
    async def story() -> list[int]:
        body = good_body("groq")
        async with serve_in_loop(key_prefixes=("mine",)) as server, httpx.AsyncClient() as client:
            url = chat_url(server.url, "groq", body["model"])
            heads = [{"authorization": f"Bearer {key}"} for key in ("mine-1", "sim-1")]
            return [(await client.post(url, json=body, headers=head)).status_code for head in heads]

    assert asyncio.run(story()) == [200, 401]


def test_json_numbers_may_be_null() -> None:
    assert from_mapping({"status": None, "words": None}) == Behaviour()
