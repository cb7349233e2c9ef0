"""curl, as readers of a README use it: the bytes of a stream, the headers, the spellings of a key and of a slash."""

from __future__ import annotations

import json
import subprocess
from email.parser import HeaderParser
from typing import Any

import pytest

from tests.clients.callers import CurlCaller
from tests.clients.grid import QUESTION
from tests.journeys.gateway_process import GatewayProcess
from tests.journeys.simulator_process import SimulatorProcess

MODEL = "meta-llama/Llama-4-Scout-17B-16E-Instruct"
ASKED: Any = [{"role": "user", "content": QUESTION}]


@pytest.fixture
def curl(base_url: str, key: str) -> CurlCaller:
    return CurlCaller(base_url, key)


def run(*arguments: str) -> tuple[str, dict[str, str], str]:
    """Status line, headers (lower case), body."""
    done = subprocess.run(["curl", "-sS", "-i", *arguments], capture_output=True, text=True, check=True, timeout=20)
    head, _, body = done.stdout.replace("\r\n", "\n").partition("\n\n")
    status, _, headers = head.partition("\n")
    return status, {name.lower(): value for name, value in HeaderParser().parsestr(headers).items()}, body


@pytest.mark.parametrize("provider", ["cerebras", "cohere", "hf-inference", "hyperbolic", "nscale"])
def test_a_stream_is_the_clean_dialect_whatever_the_provider_speaks(curl: CurlCaller, provider: str) -> None:
    """Cerebras leaves keys out and never says [DONE], Cohere has events of its own, TGI repeats the role and has no id,
    Hyperbolic puts blanks into its JSON and usage into every chunk."""
    model = {"cohere": "CohereLabs/aya-vision-8b", "hf-inference": "sarvamai/sarvam-m"}.get(provider, MODEL)
    if provider == "hyperbolic":
        model = "Qwen/Qwen2.5-VL-7B-Instruct"
    status, wire = curl.post("/chat/completions", {"model": f"{model}:{provider}", "messages": ASKED, "stream": True})

    assert status == 200
    assert wire.endswith(b"\n\ndata: [DONE]\n\n")
    chunks = [json.loads(line.removeprefix("data: ")) for line in wire.decode().split("\n\n")[:-2]]
    assert len({(chunk["id"], chunk["object"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert [choice["finish_reason"] for choice in choices][-1] == "stop"
    assert {choice["finish_reason"] for choice in choices[:-1]} == {None}
    assert [choice["delta"]["role"] for choice in choices if "role" in choice["delta"]] == ["assistant"]
    assert not any("error" in chunk for chunk in chunks)
    assert not any(chunk.get("usage") for chunk in chunks), "nobody asked for it"


def test_the_key_may_be_spelt_as_the_specification_prints_it(base_url: str, key: str) -> None:
    body = json.dumps({"model": f"{MODEL}:groq", "messages": ASKED})
    status, headers, _ = run(
        f"{base_url}/chat/completions", "-H", f"Authorization: Bearer: {key}", "-H", "Content-Type: application/json",
        "-d", body,
    )  # fmt: skip
    assert status.endswith("200 OK")
    assert headers["x-inference-provider"] == "groq"
    assert headers["x-gateway-attempts"] == "groq:200"
    assert headers["content-type"] == "application/json"
    assert "sim-key" not in str(headers)


def test_a_body_without_a_content_type_of_json_is_read_all_the_same(base_url: str, key: str) -> None:
    """`curl -d` alone says that it sends a form."""
    status, _, body = run(
        f"{base_url}/chat/completions", "-H", f"Authorization: Bearer {key}",
        "-d", json.dumps({"model": f"{MODEL}:groq", "messages": ASKED}),
    )  # fmt: skip
    assert status.endswith("200 OK")
    assert QUESTION in json.loads(body)["choices"][0]["message"]["content"]


@pytest.mark.parametrize("slash", ["/", "%2F"])
def test_a_model_is_found_with_its_slash_raw_and_escaped_and_without_a_key(base_url: str, slash: str) -> None:
    status, _, body = run(f"{base_url}/models/{MODEL.replace('/', slash)}")
    assert status.endswith("200 OK")
    assert json.loads(body)["id"] == MODEL


def test_an_error_is_one_object_and_a_header(base_url: str) -> None:
    status, headers, body = run(f"{base_url}/chat/completions", "-d", "{}")
    assert " 401 " in status
    error = json.loads(body)
    assert list(error) == ["error"]
    assert error["error"].keys() == {"message", "type", "param", "code"}
    assert headers["x-error-message"]
    assert headers["inference-id"]


def test_a_provider_that_fails_in_the_stream_before_any_content_goes_unnoticed(
    curl: CurlCaller, providers: SimulatorProcess
) -> None:
    providers.behave("fireworks-ai", "error_after=1", times=1)
    status, wire = curl.post("/chat/completions", {"model": MODEL, "messages": ASKED, "stream": True})

    assert status == 200
    assert b'"error"' not in wire
    assert [seen["provider"] for seen in providers.requests()] == ["fireworks-ai", "groq"]


def test_fields_that_a_provider_does_not_know_are_left_out_and_named(
    gateway: GatewayProcess, key: str, providers: SimulatorProcess
) -> None:
    asked = {"model": f"{MODEL}:cerebras", "messages": ASKED, "frequency_penalty": 0.5, "no_such_field": 1}
    status, headers, _ = run(
        f"{gateway.url}/v1/chat/completions", "-H", f"Authorization: Bearer {key}",
        "-H", "Content-Type: application/json", "-d", json.dumps(asked),
    )  # fmt: skip
    assert status.endswith("200 OK")
    assert set(headers["x-gateway-dropped"].replace(" ", "").split(",")) == {"frequency_penalty", "no_such_field"}
    assert providers.requests()[-1]["body"].keys().isdisjoint({"frequency_penalty", "no_such_field"})
