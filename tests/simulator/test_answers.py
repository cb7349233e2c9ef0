"""Every provider answers plain and in a stream: text, tool calls, structured answers, caps, reasoning."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest

from gateway.simulator.registry import HOUSES
from gateway.simulator.server import SimulatorServer
from tests.simulator.support import (
    PROVIDERS,
    TOOLS,
    WEATHER,
    calls_of,
    chat_url,
    content_of,
    events,
    good_body,
    streamed_calls,
    streamed_content,
)

FINISHED_BY_LENGTH = {"cohere": "MAX_TOKENS"}
DONE_MISSING = {"cerebras"}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


class Talk:
    """Requests to one provider."""

    def __init__(self, provider: str, server: SimulatorServer, client: httpx.Client) -> None:
        self.provider = provider
        self._server = server
        self._client = client

    def post(self, switch: str = "", **fields: Any) -> httpx.Response:
        body = good_body(self.provider, **fields)
        url = chat_url(self._server.url, self.provider, body["model"])
        headers = {"x-sim-behaviour": switch} if switch else {}
        answer = self._client.post(url, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer


@pytest.fixture(params=PROVIDERS)
def talk(request: pytest.FixtureRequest, server: SimulatorServer, client: httpx.Client) -> Talk:
    return Talk(request.param, server, client)


@pytest.fixture
def ask(server: SimulatorServer, client: httpx.Client) -> Any:
    return lambda provider, **fields: Talk(provider, server, client).post(**fields)


def test_stream_says_what_the_plain_answer_says(talk: Talk) -> None:
    plain = content_of(talk.post().json())
    streamed = talk.post(stream=True)
    assert plain.startswith("You said: Tell me about rivers, please.")
    assert streamed_content(streamed.text) == plain
    assert streamed.headers["content-type"].startswith("text/event-stream")


def test_streams_end_as_the_providers_do(talk: Talk) -> None:
    last = list(events(talk.post(stream=True).text))[-1]
    assert (last.data != "[DONE]") is (talk.provider in DONE_MISSING)


def test_cap_of_tokens_is_kept(talk: Talk) -> None:
    answer = talk.post(max_tokens=5).json()
    finish = answer.get("finish_reason") or answer["choices"][0]["finish_reason"]
    assert finish == FINISHED_BY_LENGTH.get(talk.provider, "length")
    assert len(content_of(answer).split()) == 5


def test_tools_are_called_with_valid_arguments(talk: Talk) -> None:
    switch = "switch.stripped=off"
    plain = calls_of(talk.post(switch, tools=TOOLS).json())
    streamed = streamed_calls(talk.post(switch, tools=TOOLS, stream=True).text)
    assert [name for name, _ in plain] == (["weather"] if talk.provider == "hf-inference" else ["weather", "clock"])
    assert set(json.loads(plain[0][1])) == {"city", "days"}
    if talk.provider == "cohere":
        assert plain[1][1] == "null"
        assert streamed == [plain[0], ("clock", "")]
    else:
        assert streamed == plain


def test_results_of_tools_end_the_calling(talk: Talk) -> None:
    history: list[dict[str, Any]] = [
        {"role": "user", "content": "weather?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "rain"},
    ]
    answer = talk.post("switch.stripped=off", tools=TOOLS, messages=history).json()
    assert calls_of(answer) == []
    assert "weather?" in content_of(answer)


def test_forced_tool_is_the_one_called(talk: Talk) -> None:
    forced: Any = {"type": "function", "function": {"name": "clock"}}
    tools = TOOLS
    if talk.provider == "cohere":
        forced, tools = "REQUIRED", TOOLS[1:]
    answer = talk.post("switch.stripped=off", tools=tools, tool_choice=forced)
    assert [name for name, _ in calls_of(answer.json())] == ["clock"]


def test_structured_answers_follow_the_schema(talk: Talk) -> None:
    forms: dict[str, Any] = {
        "cohere": {"type": "json_object", "json_schema": WEATHER},
        "hf-inference": {"type": "json_object", "value": WEATHER},
        "fireworks-ai": {"type": "json_object", "schema": WEATHER},
    }
    usual = {"type": "json_schema", "json_schema": {"name": "weather", "schema": WEATHER}}
    fields: dict[str, Any] = {"response_format": forms.get(talk.provider, usual)}
    if talk.provider == "groq":
        fields["model"] = "meta-llama/llama-4-scout-17b-16e-instruct"
    answer = json.loads(content_of(talk.post(**fields).json()))
    assert isinstance(answer["city"], str)
    assert answer["days"] >= 1


def test_images_are_looked_at(talk: Talk) -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    assert "What is this?" in content_of(talk.post(messages=[{"role": "user", "content": parts}]).json())


def test_length_of_an_answer_can_be_ordered(talk: Talk) -> None:
    assert len(content_of(talk.post("words=100").json()).split()) == 100


@pytest.mark.parametrize(
    ("provider", "model", "key"),
    [
        ("cerebras", "gpt-oss-120b", "reasoning"),
        ("groq", "openai/gpt-oss-120b", "reasoning"),
        ("fireworks-ai", "accounts/fireworks/models/deepseek-r1-0528", "reasoning_content"),
        ("nebius", "deepseek-ai/DeepSeek-R1-0528", "reasoning_content"),
        ("novita", "deepseek/deepseek-r1-0528", "reasoning_content"),
        ("sambanova", "gpt-oss-120b", "reasoning"),
        ("together", "openai/gpt-oss-120b", "reasoning"),
        ("openai", "deepseek-ai/DeepSeek-R1", "reasoning_content"),
    ],
)
def test_reasoning_has_a_place_of_its_own(provider: str, model: str, key: str, ask: Any) -> None:
    message = ask(provider, model=model).json()["choices"][0]["message"]
    assert message[key].startswith("Let me think")
    assert "<think>" not in message["content"]


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("together", "deepseek-ai/DeepSeek-R1"),
        ("sambanova", "DeepSeek-R1-0528"),
        ("hf-inference", "deepseek-ai/DeepSeek-R1"),
        ("hyperbolic", "deepseek-ai/DeepSeek-R1-0528"),
        ("groq", "qwen/qwen3-32b"),
    ],
)
def test_reasoning_inside_the_text(provider: str, model: str, ask: Any) -> None:
    assert re.match(r"<think>\n.*\n</think>\n\nYou said", content_of(ask(provider, model=model).json()))
    assert "</think>" in streamed_content(ask(provider, model=model, stream=True).text)


def test_cohere_thinks_in_a_block(ask: Any) -> None:
    answer = ask("cohere", thinking={"type": "enabled"}).json()
    assert [block["type"] for block in answer["message"]["content"]] == ["thinking", "text"]


def test_tgi_matches_a_regular_expression(ask: Any) -> None:
    form = {"type": "regex", "value": r"\d{3}-[A-F]{2}"}
    assert re.fullmatch(r"\d{3}-[A-F]{2}", content_of(ask("hf-inference", response_format=form).json()))


def test_tgi_never_finishes_with_tool_calls(ask: Any) -> None:
    plain = ask("hf-inference", tools=TOOLS).json()
    assert plain["choices"][0]["finish_reason"] == "stop"
    chunks = [e.data for e in events(ask("hf-inference", tools=TOOLS, stream=True).text) if e.data != "[DONE]"]
    assert {chunk["choices"][0]["finish_reason"] for chunk in chunks} == {None}
    assert all(chunk["choices"][0]["delta"]["role"] == "assistant" for chunk in chunks)


def test_stop_string_ends_the_text(ask: Any) -> None:
    answer = ask("hf-inference", stop=["about"]).json()
    assert content_of(answer) == "You said: Tell me "
    assert answer["choices"][0]["finish_reason"] == "stop_sequence"
    assert ask("cohere", stop_sequences=["about"]).json()["finish_reason"] == "STOP_SEQUENCE"


def test_several_choices(ask: Any) -> None:
    answer = ask("openai", n=3, max_tokens=4).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert answer["usage"]["completion_tokens"] == 12
    streamed = [e.data for e in events(ask("openai", n=3, max_tokens=4, stream=True).text) if e.data != "[DONE]"]
    assert {chunk["choices"][0]["index"] for chunk in streamed} == {0, 1, 2}


def test_log_probabilities(ask: Any) -> None:
    scores = ask("openai", logprobs=True, top_logprobs=2).json()["choices"][0]["logprobs"]["content"]
    assert len(scores[0]["top_logprobs"]) == 2
    assert "bytes" not in ask("hf-inference", logprobs=True).json()["choices"][0]["logprobs"]["content"][0]
    assert ask("together", logprobs=2).json()["choices"][0]["logprobs"]["tokens"][0] == "You"


def test_oddities_on_the_wire(ask: Any) -> None:
    assert ask("together").headers["retry-after"] == "2"
    assert ask("together").json()["choices"][0]["seed"] > 2**63
    assert isinstance(ask("sambanova").json()["created"], float)
    assert '"delta": {"content"' in ask("hyperbolic", stream=True).text
    assert ask("hf-inference").json()["id"] == ""
    assert ask("hf-inference", stream=True).text.startswith(":\n\n")
    assert ask("cerebras", model="llama3.3-70b").json()["model"] == "llama-3.3-70b"
    assert "choices" not in ask("novita", switch="switch.choices=missing").json()
    assert ask("fireworks-ai", switch="switch.ping=on", stream=True).text.startswith("event: ping\n")
    objects = ask("fireworks-ai", switch="switch.arguments=object", tools=TOOLS).json()
    assert isinstance(calls_of(objects)[0][1], dict)
    changing = events(ask("openai", switch="switch.call_ids=changing", tools=TOOLS, stream=True).text)
    deltas = [event.data["choices"][0]["delta"] for event in changing if event.data != "[DONE]"]
    ids = [delta["tool_calls"][0]["id"] for delta in deltas if "tool_calls" in delta]
    assert len(set(ids)) == len(ids) > 4
    assert ask("cerebras", switch="switch.done=on", stream=True).text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_model_list(provider: str, server: SimulatorServer, client: httpx.Client) -> None:
    below = "/models/org/name/v1" if provider == "hf-inference" else ""
    answer = client.get(server.base_url(provider) + below + "/models").json()
    entries = answer if isinstance(answer, list) else answer.get("data") or answer["models"]
    ids = [entry.get("id") or entry["name"] for entry in entries]
    assert ids == (["org/name"] if provider == "hf-inference" else list(HOUSES[provider].models))
