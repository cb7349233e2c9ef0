"""Every row of the strictness table, sent raw over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from gateway.simulator.rules import Rule
from gateway.simulator.server import SimulatorServer
from gateway.simulator.strictness import STRICTNESS
from tests.simulator.support import HELLO, PROVIDERS, TOOLS, chat_url, good_body

JSON = {"content-type": "application/json"}


def error_object(body: Any) -> bool:
    return isinstance(body.get("error"), dict) and isinstance(body["error"]["message"], str)


SHAPES: dict[str, Callable[[Any], bool]] = {
    "cerebras": lambda body: {"message", "type", "param", "code"} == set(body),
    "cohere": lambda body: {"message", "id"} == set(body),
    "fireworks-ai": error_object,
    "groq": error_object,
    "hf-inference": lambda body: {"error", "error_type"} == set(body),
    "hyperbolic": lambda body: isinstance(body.get("detail"), list) or body.get("object") == "error",
    "nebius": lambda body: error_object(body) and isinstance(body["error"]["code"], int),
    "novita": lambda body: {"code", "reason", "message", "metadata"} == set(body),
    "nscale": lambda body: error_object(body) and isinstance(body["error"]["code"], int),
    "openai": error_object,
    "sambanova": lambda body: error_object(body) and "request_id" in body,
    "together": lambda body: error_object(body) and "id" in body,
}


def name_of(rule: Rule) -> str:
    return f"{rule.provider}-{rule.field}-{rule.value.words}".replace(" ", "_")


@pytest.mark.parametrize("rule", STRICTNESS, ids=name_of)
def test_row_is_refused_in_the_providers_own_shape(rule: Rule, server: SimulatorServer, client: httpx.Client) -> None:
    body = good_body(rule.provider, **rule.sample)
    url = chat_url(server.url, rule.provider, str(body.get("model", "org/model")))
    answer = client.post(url, json=body)
    assert answer.status_code == rule.status, answer.text
    if rule.form == "typing":
        assert answer.headers["content-type"].startswith("text/plain")
    else:
        assert SHAPES[rule.provider](answer.json()), answer.text


@pytest.mark.parametrize("provider", PROVIDERS)
def test_good_request_is_taken(provider: str, server: SimulatorServer, client: httpx.Client) -> None:
    body = good_body(provider, temperature=0.5, max_tokens=9)
    assert client.post(chat_url(server.url, provider, body["model"]), json=body).status_code == 200


@pytest.mark.parametrize("rule", STRICTNESS, ids=name_of)
def test_row_names_its_evidence(rule: Rule) -> None:
    assert rule.facts[0].isdigit()
    assert rule.mark in ("R", "S", "D", "G", "I", "U")


def test_nscale_takes_stripped_fields_when_told_to(server: SimulatorServer, client: httpx.Client) -> None:
    body = good_body("nscale", tools=TOOLS)
    told = {"x-sim-behaviour": "switch.stripped=off"}
    assert client.post(chat_url(server.url, "nscale", body["model"]), json=body, headers=told).status_code == 200


def test_tgi_reports_refused_values_of_a_stream_inside_status_200(
    server: SimulatorServer, client: httpx.Client
) -> None:
    body = good_body("hf-inference", top_p=1.0, stream=True)
    answer = client.post(chat_url(server.url, "hf-inference", body["model"]), json=body)
    assert answer.status_code == 200
    assert answer.text.startswith('data: {"error":{"message":"Input validation error')
    assert answer.text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_keys_are_checked(provider: str, server: SimulatorServer, client: httpx.Client) -> None:
    body = good_body(provider)
    url = chat_url(server.url, provider, body["model"])
    for key in ("Bearer other", "Basic sim-x", ""):
        answer = client.post(url, json=body, headers={"authorization": key})
        assert answer.status_code == 401
        said = answer.json()
        assert SHAPES[provider](said) or set(said) in ({"error"}, {"detail"}), said


@pytest.mark.parametrize("provider", PROVIDERS)
def test_ids_of_another_form_are_unknown_models(provider: str, server: SimulatorServer, client: httpx.Client) -> None:
    status = 400 if provider == "hyperbolic" else 404
    body = {"model": "no-such-model", "messages": HELLO}
    answer = client.post(chat_url(server.url, provider, "org/no-such-model"), json=body)
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize("provider", ["openai", "groq", "cerebras", "together"])
def test_schema_that_nothing_follows_is_refused(provider: str, server: SimulatorServer, client: httpx.Client) -> None:
    lost = {"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}, "required": ["a"]}
    tools = [{"type": "function", "function": {"name": "look", "parameters": lost}}]
    body = good_body(provider, tools=tools)
    answer = client.post(chat_url(server.url, provider, body["model"]), json=body)
    assert answer.status_code == 400
    assert "nowhere" in answer.text


def test_tgi_wants_json_and_not_too_much_of_it(server: SimulatorServer, client: httpx.Client) -> None:
    url = chat_url(server.url, "hf-inference", "org/model")
    assert client.post(url, content=b"{}", headers={"content-type": "text/plain"}).status_code == 415
    big = good_body("hf-inference", messages=[{"role": "user", "content": "x" * 2_000_000}])
    assert client.post(url, json=big).status_code == 413


@pytest.mark.parametrize("provider", PROVIDERS)
def test_broken_json_is_refused(provider: str, server: SimulatorServer, client: httpx.Client) -> None:
    answer = client.post(chat_url(server.url, provider, "org/model"), content=b'{"model": ', headers=JSON)
    assert answer.status_code in (400, 422)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_prompt_beyond_the_context_is_refused(provider: str, server: SimulatorServer, client: httpx.Client) -> None:
    body = good_body(provider, messages=[{"role": "user", "content": "a " * 140_000}])
    answer = client.post(chat_url(server.url, provider, body["model"]), json=body)
    assert answer.status_code in (400, 422), answer.text[:200]


def test_fireworks_lowers_the_cap_in_silence(server: SimulatorServer, client: httpx.Client) -> None:
    body = good_body("fireworks-ai", max_tokens=200_000)
    answer = client.post(chat_url(server.url, "fireworks-ai", body["model"]), json=body)
    assert answer.status_code == 200
    assert '"max_tokens": 131' in answer.headers["fireworks-sampling-options"]
