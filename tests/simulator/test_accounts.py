"""What the simulators say they reported is what was on the wire, token for token."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from gateway.simulator.registry import HOUSES
from gateway.simulator.server import SimulatorServer
from gateway.simulator.wire import Tally, reported
from tests.simulator.support import PROVIDERS, TOOLS, chat_url, events, good_body, last_tally

USAGE_ONLY_WHEN_ASKED = {"hf-inference", "nebius", "sambanova", "openai", "nscale"}
TALKATIVE = "switch.stripped=off"


def account(server: SimulatorServer, client: httpx.Client, provider: str, model: str) -> dict[str, int]:
    stats: dict[str, dict[str, dict[str, int]]] = client.get(server.url + "/__sim__/stats").json()
    return stats[provider][model]


def tokens(counts: dict[str, int]) -> Tally:
    return Tally(
        counts["prompt_tokens"], counts["cached_tokens"], counts["completion_tokens"], counts["reasoning_tokens"]
    )


def post(
    server: SimulatorServer,
    client: httpx.Client,
    provider: str,
    how: str = TALKATIVE,
    ask_usage: bool = True,
    **fields: Any,
) -> httpx.Response:
    body = good_body(provider, **fields)
    if ask_usage and body.get("stream") and provider not in ("cohere", "groq"):
        body["stream_options"] = {"include_usage": True}
    url = chat_url(server.url, provider, body["model"])
    return client.post(url, json=body, headers={"x-sim-behaviour": how})


@pytest.mark.parametrize("provider", PROVIDERS)
def test_stats_are_the_sum_of_what_was_read(provider: str, server: SimulatorServer, client: httpx.Client) -> None:
    model = HOUSES[provider].models[0]
    long = [{"role": "user", "content": "river " * 300}]
    read: list[Tally | None] = []
    for fields in ({}, {"messages": long}, {"tools": TOOLS}, {"max_tokens": 7}):
        read.append(reported(post(server, client, provider, model=model, **fields).json()))
        read.append(last_tally(post(server, client, provider, model=model, stream=True, **fields).text))
    found = [tally for tally in read if tally is not None]
    assert len(found) == 8
    counts = account(server, client, provider, model)
    assert counts["requests"] == counts["answered"] == 8
    assert tokens(counts) == Tally(
        sum(t.prompt_tokens for t in found),
        sum(t.cached_tokens for t in found),
        sum(t.completion_tokens for t in found),
        sum(t.reasoning_tokens for t in found),
    )


@pytest.mark.parametrize("provider", PROVIDERS)
def test_usage_of_streams_that_nobody_asked_for(provider: str, server: SimulatorServer, client: httpx.Client) -> None:
    answer = post(server, client, provider, stream=True, ask_usage=False)
    assert (last_tally(answer.text) is None) is (provider in USAGE_ONLY_WHEN_ASKED)


def test_hyperbolic_counts_one_too_many_in_streams(server: SimulatorServer, client: httpx.Client) -> None:
    answer = post(server, client, "hyperbolic", stream=True, max_tokens=20)
    counts = [reported(event.data) for event in events(answer.text) if event.data != "[DONE]"]
    assert [tally.completion_tokens for tally in counts if tally] == list(range(1, 22))


def test_cohere_bills_less_than_it_counts_and_caches_more(server: SimulatorServer, client: httpx.Client) -> None:
    usage = post(server, client, "cohere").json()["usage"]
    assert usage["billed_units"]["input_tokens"] < usage["cached_tokens"] <= usage["tokens"]["input_tokens"]


def test_groq_reports_in_one_place_or_two(server: SimulatorServer, client: httpx.Client) -> None:
    finish = [e.data for e in events(post(server, client, "groq", stream=True).text) if e.data != "[DONE]"][-1]
    assert finish["usage"] == finish["x_groq"]["usage"]
    old = post(server, client, "groq", "switch.generation=2025", stream=True).text
    finish = [e.data for e in events(old) if e.data != "[DONE]"][-1]
    assert "usage" not in finish
    assert last_tally(old) is not None


def test_novita_of_2025_reports_in_every_chunk(server: SimulatorServer, client: httpx.Client) -> None:
    old = post(server, client, "novita", "switch.generation=2025", stream=True).text
    chunks = [event.data for event in events(old) if event.data != "[DONE]"]
    assert all(chunk["usage"] for chunk in chunks)
    assert chunks[-1]["choices"][0]["delta"]["content"]


@pytest.mark.parametrize("mode", ["finish", "extra"])
def test_fireworks_reports_in_either_way(mode: str, server: SimulatorServer, client: httpx.Client) -> None:
    text = post(server, client, "fireworks-ai", f"switch.usage={mode}", stream=True).text
    holder = next(e.data for e in events(text) if e.data != "[DONE]" and e.data["usage"])
    assert bool(holder["choices"]) is (mode == "finish")


def test_cut_streams_count_only_what_was_sent(server: SimulatorServer, client: httpx.Client) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        post(server, client, "hyperbolic", "cut_after=4", stream=True)
    counts = account(server, client, "hyperbolic", good_body("hyperbolic")["model"])
    assert counts["interrupted"] == 1
    assert counts["answered"] == 0
    assert counts["completion_tokens"] == 4


@pytest.mark.parametrize("provider", PROVIDERS)
def test_usage_can_be_withheld(provider: str, server: SimulatorServer, client: httpx.Client) -> None:
    assert last_tally(post(server, client, provider, f"no_usage;{TALKATIVE}", stream=True).text) is None
    assert reported(post(server, client, provider, f"no_usage;{TALKATIVE}").json()) is None
    assert tokens(account(server, client, provider, good_body(provider)["model"])) == Tally(0, 0, 0, 0)
