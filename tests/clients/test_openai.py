"""OpenAI's own client for Python: what its users call beside plain completions, and the exceptions they catch."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from gateway.config.demo_table import DOWN_MODEL
from tests.clients.grid import QUESTION, TOOLS, fields
from tests.journeys.simulator_process import SimulatorProcess

MODEL = "meta-llama/Llama-4-Scout-17B-16E-Instruct"
ASKED: Any = [{"role": "user", "content": QUESTION}]


class Sight(BaseModel):
    name: str
    free: bool


class Visit(BaseModel):
    city: str
    population: int
    sights: list[Sight]


@pytest.fixture
def client(base_url: str, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)


def test_models_are_listed_without_their_providers_keys(client: openai.OpenAI) -> None:
    models = {model.id: model for model in client.models.list()}

    assert models[MODEL].object == "model"
    assert "default" not in models, "an alias is no model"
    listed = models[MODEL].model_dump()
    assert {row["provider"] for row in listed["providers"]} >= {"groq", "novita", "together"}
    assert "image" in listed["architecture"]["input_modalities"]
    assert "sim-key" not in json.dumps(listed)


def test_a_model_is_retrieved_by_an_id_with_a_slash(client: openai.OpenAI) -> None:
    assert client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError) as unknown:
        client.models.retrieve("no-such/model")
    assert unknown.value.code == "model_not_found"


def test_a_stream_tells_its_usage_once_and_last(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=f"{MODEL}:groq", messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)

    *rest, last = chunks
    assert [chunk.usage for chunk in rest] == [None] * len(rest)
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.total_tokens == last.usage.prompt_tokens + last.usage.completion_tokens
    assert len({chunk.id for chunk in chunks}) == 1
    assert [chunk.choices[0].delta.role for chunk in rest if chunk.choices[0].delta.role] == ["assistant"]


@pytest.mark.parametrize("provider", ["cerebras", "cohere", "fireworks-ai", "groq", "sambanova", "together"])
def test_tool_calls_of_a_stream_are_put_together_by_the_client(client: openai.OpenAI, provider: str) -> None:
    model = "CohereLabs/c4ai-command-r-plus" if provider == "cohere" else MODEL
    with client.chat.completions.stream(
        model=f"{model}:{provider}", messages=ASKED, tools=[openai.pydantic_function_tool(Visit, name="visit"), *TOOLS]
    ) as stream:
        finished = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
        message = stream.get_final_completion().choices[0].message

    assert [event.name for event in finished] == ["visit", "get_weather", "list_sights"]
    assert message.tool_calls is not None
    assert isinstance(message.tool_calls[0].function.parsed_arguments, Visit)
    assert len({call.id for call in message.tool_calls}) == 3


@pytest.mark.parametrize("provider", ["cerebras", "cohere", "fireworks-ai", "groq", "nebius", "novita", "together"])
def test_an_answer_is_parsed_into_the_callers_own_type(client: openai.OpenAI, provider: str) -> None:
    own = {"cohere": "CohereLabs/c4ai-command-r-plus", "nebius": "google/gemma-3-27b-it"}
    completion = client.chat.completions.parse(
        model=f"{own.get(provider, MODEL)}:{provider}", messages=ASKED, response_format=Visit
    )

    visit = completion.choices[0].message.parsed
    assert isinstance(visit, Visit)
    assert visit.sights


def test_a_conversation_goes_on_with_the_results_of_tools(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(model=f"{MODEL}:groq", **fields("tools")).choices[0].message
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": '{"sky": "blue"}'} for call in first.tool_calls or ()
    ]
    messages = [*ASKED, first.model_dump(exclude_none=True), *results]

    second = client.chat.completions.create(model=f"{MODEL}:groq", messages=messages, tools=TOOLS)

    assert second.choices[0].finish_reason == "stop"
    assert second.choices[0].message.content


def test_a_wrong_key_is_an_authentication_error(base_url: str) -> None:
    with openai.OpenAI(base_url=base_url, api_key="hf_gw_nobody", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError) as refused:
            stranger.chat.completions.create(model=MODEL, messages=ASKED)
    assert refused.value.code == "invalid_api_key"
    assert refused.value.request_id


def test_an_unknown_model_is_not_found_and_near_names_are_told(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="meta-llama/Llama-3.3-70B-Instuct", messages=ASKED)
    assert unknown.value.code == "model_not_found"
    assert "meta-llama/Llama-3.3-70B-Instruct" in unknown.value.message

    with pytest.raises(openai.NotFoundError) as suffix:
        client.chat.completions.create(model=f"{MODEL}:grok", messages=ASKED)
    assert "groq" in suffix.value.message


def test_a_bad_field_is_a_bad_request_that_names_it(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model=MODEL, messages=ASKED, temperature=7)
    assert bad.value.param == "temperature"
    assert bad.value.type == "invalid_request_error"


def test_a_providers_own_refusal_is_a_bad_request_that_names_it(
    client: openai.OpenAI, providers: SimulatorProcess
) -> None:
    providers.behave("groq", "status=400", times=1)
    with pytest.raises(openai.BadRequestError, match="groq"):
        client.chat.completions.create(model=MODEL + ":groq", messages=ASKED)


@pytest.mark.parametrize("stream", [False, True])
def test_nobody_answers_and_the_client_asks_once(
    base_url: str, key: str, providers: SimulatorProcess, stream: bool
) -> None:
    """Its own two retries would only repeat what the gateway has tried already."""
    alone = "HuggingFaceTB/SmolLM3-3B"
    providers.behave("hf-inference", "status=500", model=alone)
    with openai.OpenAI(base_url=base_url, api_key=key, max_retries=2) as patient:
        with pytest.raises(openai.InternalServerError) as failed:
            patient.chat.completions.create(model=alone, messages=ASKED, stream=stream)

    assert failed.value.status_code == 502
    assert failed.value.code == "all_providers_failed"
    assert isinstance(failed.value.body, dict)
    attempts = failed.value.body["attempts"]
    assert {attempt["provider"] for attempt in attempts} == {"hf-inference"}
    assert len(providers.requests()) == len(attempts)


def test_a_stream_that_breaks_is_an_error_and_no_success(client: openai.OpenAI, providers: SimulatorProcess) -> None:
    providers.behave("groq", "cut_after=5", times=1)
    stream = client.chat.completions.create(model=f"{MODEL}:groq", messages=ASKED, stream=True)
    heard: list[str] = []
    with pytest.raises(openai.APIError) as broken:
        heard.extend(chunk.choices[0].delta.content or "" for chunk in stream)
    assert "".join(heard)
    assert isinstance(broken.value.body, dict)
    assert broken.value.body["type"] == "upstream_error"


def test_the_environment_is_enough_and_a_dead_provider_goes_unnoticed(
    base_url: str, key: str, providers: SimulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    providers.behave("groq", "status=503", model=DOWN_MODEL, times=1)
    monkeypatch.setenv("OPENAI_BASE_URL", base_url)
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with openai.OpenAI() as client:
        raw = client.chat.completions.with_raw_response.create(model="default", messages=ASKED)
    assert raw.headers["x-gateway-attempts"] == "groq-down:503,groq:200"
    assert raw.parse().choices[0].message.content
