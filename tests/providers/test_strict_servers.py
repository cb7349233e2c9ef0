"""Every adapter against the simulated provider of its name, over a socket: nothing it sends is refused there.

The simulators refuse what the real providers are known to refuse, in a table of their own; adapter and simulator
were written from the same facts, not from each other.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from gateway.dialects.chat import read
from gateway.simulator.server import SimulatorServer
from providers.registry import ADAPTERS
from providers.wire import UpstreamCall
from tests.providers.clean_dialect import Assembled, assert_clean_reply

MODELS = {
    "cerebras": "llama-4-scout-17b-16e-instruct",
    "cohere": "command-a-03-2025",
    "fireworks-ai": "accounts/fireworks/models/llama4-scout-instruct-basic",
    "groq": "openai/gpt-oss-120b",
    "novita": "meta-llama/llama-4-scout-17b-16e-instruct",
    "sambanova": "Llama-4-Scout-17B-16E-Instruct",
}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
TOOLS = [
    {"type": "function", "function": {"name": "get-weather", "strict": True, "parameters": SCHEMA}},
    {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
]
PAST = {"role": "assistant", "content": None, "refusal": None, "function_call": None, "reasoning_content": "hm"}
CALLED = {"id": "c1", "type": "function", "function": {"name": "get-weather", "parameters": {"a": "P"}}}
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "sampling": {
        "temperature": 1.7,
        "top_p": 1,
        "presence_penalty": -0.5,
        "frequency_penalty": 1.5,
        "seed": -4,
        "stop": "x",
        "logit_bias": {"1": 1},
        "user": "u",
        "max_completion_tokens": 40,
        "reasoning_effort": "xhigh",
        "parallel_tool_calls": True,
        "x_unknown": 1,
    },
    "zeros": {"temperature": 0, "presence_penalty": 0, "n": 1, "max_tokens": 30},
    "tools": {"tools": TOOLS},
    "required": {"tools": TOOLS, "tool_choice": "required"},
    "named": {"tools": TOOLS, "tool_choice": {"function": {"name": "get-weather"}}},
    "prompt": {"tools": TOOLS, "tool_prompt": "Use these:"},
    "schema": {"response_format": {"type": "json_schema", "value": {"schema": SCHEMA, "strict": True}}},
    "json": {"response_format": {"type": "json_object"}},
    "regex": {"response_format": {"type": "regex", "value": "[a-z]{3}"}},
    "both": {"tools": TOOLS, "response_format": {"type": "json_object"}},
    "logprobs": {"logprobs": True, "top_logprobs": 2},
    "choices": {"n": 2},
    "history": {
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": "q", "name": "bob"},
            {**PAST, "tool_calls": [CALLED]},
            {"role": "tool", "tool_call_id": "c1", "content": "ok"},
            {"role": "assistant", "content": "hm", "tool_calls": []},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        ]
    },
    "image": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "a"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
                ],
            }
        ]
    },
}


@pytest.fixture(scope="module")
def simulators() -> Iterator[SimulatorServer]:
    server = SimulatorServer()
    server.start()
    yield server
    server.stop()


def post(call: UpstreamCall) -> tuple[int, bytes]:
    url = urlsplit(call.url)
    connection = http.client.HTTPConnection(str(url.hostname), url.port, timeout=10)
    try:
        headers = {name.decode(): value.decode() for name, value in call.headers}
        connection.request("POST", url.path, call.body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_what_is_sent_is_taken_and_what_comes_is_clean(
    simulators: SimulatorServer, name: str, case: str, stream: bool
) -> None:
    adapter = ADAPTERS[name]
    body = {"model": "org/m", "messages": [{"role": "user", "content": "hello"}], **CASES[case], "stream": stream}
    ask = read(json.dumps(body).encode())
    target = adapter.target(
        provider_model=MODELS.get(name, "meta-llama/Llama-4-Scout-17B-16E-Instruct"),
        hub_model="org/m",
        base_url=simulators.base_url(name),
        api_key="sim-key",
    )
    if ask.features & set(adapter.refuses):
        return
    status, answer = post(adapter.build_call(ask.request, target))
    assert status == 200, answer
    calls = case in ("required", "named")
    if stream:
        reader = adapter.open_stream(ask.request)
        told = Assembled(reader.feed(answer) + reader.finish())
        assert reader.skipped_events == 0
        # Nscale may not be asked for its usage, and gives none by itself.
        assert reader.usage is not None or name == "nscale"
        assert not calls or told.tool_calls[0][0] in ("get-weather", "now")
        return
    reply = adapter.parse_reply(ask.request, answer)
    choices = assert_clean_reply(reply.body)["choices"]
    assert reply.usage is not None
    assert len(choices) == ask.request.choices
    assert not calls or choices[0]["message"]["tool_calls"][0]["function"]["name"] in ("get-weather", "now")
    assert case != "logprobs" or choices[0]["logprobs"]["content"]
    if case in ("schema", "json"):
        json.loads(choices[0]["message"]["content"])
