"""Hugging Face's client for Python, given a base URL: what it rewrites, what it sends unasked, and what it shows."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import BadRequestError, HfHubHTTPError

from tests.clients.callers import strung
from tests.clients.grid import CITY, QUESTION, SCHEMA, TOOLS, fields
from tests.clients.schema_check import check
from tests.journeys.gateway_process import GatewayProcess
from tests.journeys.simulator_process import SimulatorProcess

MODEL = "meta-llama/Llama-4-Scout-17B-16E-Instruct"
ASKED: Any = [{"role": "user", "content": QUESTION}]


@pytest.fixture
def client(base_url: str, key: str) -> InferenceClient:
    return InferenceClient(base_url=base_url, api_key=key)


@pytest.mark.parametrize("path", ["", "/v1", "/v1/chat/completions"])
def test_any_spelling_of_the_base_url_will_do(gateway: GatewayProcess, key: str, path: str) -> None:
    client = InferenceClient(base_url=gateway.url + path, api_key=key)
    assert client.chat_completion(ASKED, model=MODEL).choices[0].message.content


def test_a_providers_own_route_is_pinned_to_it(gateway: GatewayProcess, key: str, providers: SimulatorProcess) -> None:
    client = InferenceClient(base_url=f"{gateway.url}/groq/openai/v1", api_key=key)
    assert client.chat_completion(ASKED, model=MODEL).choices[0].message.content
    assert [seen["provider"] for seen in providers.requests()] == ["groq"]


def test_a_stream_ends_where_the_client_looks_for_its_end(client: InferenceClient) -> None:
    """It knows `data: [DONE]` only with its blank, and takes anything else for JSON."""
    answer = strung(client.chat_completion(ASKED, model=f"{MODEL}:groq", stream=True))

    assert QUESTION in answer.text
    assert answer.finish_reason == "stop"
    assert answer.tokens is None, "nobody asked for usage"


def test_tool_calls_are_streamed(client: InferenceClient) -> None:
    arguments: dict[int, str] = {}
    for chunk in client.chat_completion(ASKED, model=f"{MODEL}:together", stream=True, tools=TOOLS):
        for call in chunk.choices[0].delta.tool_calls or ():
            arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")

    assert sorted(arguments) == [0, 1]
    for text in arguments.values():
        check(json.loads(text), CITY)


@pytest.mark.parametrize(
    ("provider", "arrives"),
    [
        ("groq", {"type": "json_schema"}),
        ("fireworks-ai", {"type": "json_object", "schema": SCHEMA}),
        ("together", {"type": "json_schema", "schema": SCHEMA}),
    ],
)
def test_the_schema_it_rewrites_is_understood(
    client: InferenceClient, providers: SimulatorProcess, provider: str, arrives: dict[str, Any]
) -> None:
    """Given a base URL it sends `{"type": "json_object", "value": S}`, and the name and `strict` are lost."""
    answer = client.chat_completion(model=f"{MODEL}:{provider}", **fields("schema"))

    check(json.loads(answer.choices[0].message.content or ""), SCHEMA)
    sent = providers.requests()[-1]["body"]["response_format"]
    assert sent.items() >= arrives.items()
    assert json.dumps(SCHEMA["required"]) in json.dumps(sent)


@pytest.mark.parametrize("kind", ["json", "json_object"])
def test_the_older_forms_of_a_schema_are_understood(client: InferenceClient, kind: str) -> None:
    older: Any = {"type": kind, "value": SCHEMA}
    answer = client.chat_completion(ASKED, model=f"{MODEL}:groq", response_format=older)
    check(json.loads(answer.choices[0].message.content or ""), SCHEMA)


def test_tools_in_the_older_way(client: InferenceClient) -> None:
    """`tool_choice` without a type, dataclasses instead of dictionaries, a `tool_prompt`."""
    tools = [huggingface_hub.ChatCompletionInputTool.parse_obj_as_instance(tool) for tool in TOOLS]
    named: Any = {"function": {"name": "list_sights"}}

    chosen = client.chat_completion(ASKED, model=f"{MODEL}:groq", tools=tools, tool_choice=named)
    required = client.chat_completion(ASKED, model=f"{MODEL}:groq", tools=tools, tool_choice="required")
    none = client.chat_completion(ASKED, model=f"{MODEL}:groq", tools=tools, tool_choice="none")
    prompted = client.chat_completion(
        ASKED, model="sarvamai/sarvam-m:hf-inference", tools=tools, tool_choice="auto", tool_prompt="You may call:"
    )

    assert [call.function.name for call in chosen.choices[0].message.tool_calls or ()] == ["list_sights"]
    assert len(required.choices[0].message.tool_calls or ()) == 2
    assert not none.choices[0].message.tool_calls
    assert none.choices[0].message.content
    assert len(prompted.choices[0].message.tool_calls or ()) == 1


def test_a_past_call_in_the_specifications_form_is_understood(
    client: InferenceClient, providers: SimulatorProcess
) -> None:
    """Its messages hold `parameters` where everybody else has `arguments`."""
    past = {"id": "c1", "type": "function", "function": {"name": "get_weather", "parameters": {"city": "Paris"}}}
    messages = [
        *ASKED,
        {"role": "assistant", "tool_calls": [past]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]
    assert client.chat_completion(messages, model=f"{MODEL}:groq", tools=TOOLS).choices[0].message.content
    sent = providers.requests()[-1]["body"]["messages"][1]["tool_calls"][0]["function"]
    assert json.loads(sent["arguments"]) == {"city": "Paris"}


def test_no_model_is_a_clear_404(client: InferenceClient) -> None:
    with pytest.raises(HfHubHTTPError) as unknown:
        client.chat_completion(ASKED)
    assert unknown.value.response.status_code == 404
    assert "dummy" in str(unknown.value)
    assert unknown.value.response.json()["error"]["code"] == "model_not_found"


def test_errors_show_our_sentence_and_an_id(client: InferenceClient, base_url: str) -> None:
    with pytest.raises(BadRequestError) as bad:
        client.chat_completion(ASKED, model=MODEL, temperature=7)
    assert "temperature" in str(bad.value)
    assert bad.value.request_id

    with pytest.raises(HfHubHTTPError) as stranger:
        InferenceClient(base_url=base_url, api_key="hf_gw_nobody").chat_completion(ASKED, model=MODEL, stream=True)
    assert stranger.value.response.status_code == 401


def test_another_team_pays_where_both_allow_it(client: InferenceClient, base_url: str, key: str) -> None:
    payer = InferenceClient(base_url=base_url, api_key=key, bill_to="nobody-at-all")
    with pytest.raises(HfHubHTTPError) as refused:
        payer.chat_completion(ASKED, model=MODEL)
    assert refused.value.response.status_code == 403


def test_openais_names_are_the_clients_too(client: InferenceClient) -> None:
    answer = client.chat.completions.create(ASKED, model=f"{MODEL}:groq", max_tokens=5, seed=7, stop=["nothing"])
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 5


def test_it_answers_many_at_once_without_blocking(base_url: str, key: str) -> None:
    async def ask_both() -> list[Any]:
        async with huggingface_hub.AsyncInferenceClient(base_url=base_url, api_key=key) as client:
            asked = (client.chat_completion(ASKED, model=f"{MODEL}:{name}") for name in ("groq", "together"))
            return await asyncio.gather(*asked)

    assert all(answer.choices[0].message.content for answer in asyncio.run(ask_both()))


def test_the_hub_api_answers_its_list_of_models(gateway: GatewayProcess) -> None:
    api = huggingface_hub.HfApi(endpoint=gateway.url, token=False)
    ids = {model.id for model in api.list_models(inference_provider="groq")}
    assert MODEL in ids
    assert "CohereLabs/aya-vision-8b" not in ids
    info = api.model_info(MODEL, expand=["inferenceProviderMapping"])
    assert {entry.provider for entry in info.inference_provider_mapping or ()} >= {"groq", "novita"}
