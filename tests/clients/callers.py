"""The clients of the grid, each told the same and each giving the same: what it made of the answer, or of the error."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

import huggingface_hub
import openai
from huggingface_hub.errors import HfHubHTTPError

from tests.clients.grid import Answer, Call, Refused

PATIENCE_S: Final = 20.0


class Caller(Protocol):
    """Raises `Refused` for an error."""

    def ask(self, model: str, fields: dict[str, Any]) -> Answer: ...

    def listen(self, model: str, fields: dict[str, Any]) -> Answer: ...


class OpenAICaller:
    """OpenAI's own client for Python."""

    def __init__(self, base_url: str, key: str) -> None:
        self.client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=PATIENCE_S)

    def ask(self, model: str, fields: dict[str, Any]) -> Answer:
        try:
            return whole(self.client.chat.completions.create(model=model, **fields))
        except openai.APIStatusError as error:
            raise Refused(error.status_code, _error_of(error)) from None

    def listen(self, model: str, fields: dict[str, Any]) -> Answer:
        try:
            with self.client.chat.completions.create(
                model=model, stream=True, stream_options={"include_usage": True}, **fields
            ) as stream:
                return strung(stream)
        except openai.APIStatusError as error:
            raise Refused(error.status_code, _error_of(error)) from None


def _error_of(error: openai.APIStatusError) -> dict[str, Any]:
    """The client gives the inner object of an error in OpenAI's form."""
    assert isinstance(error.body, dict)
    return error.body


class HubCaller:
    """Hugging Face's client for Python, given a base URL."""

    def __init__(self, base_url: str, key: str) -> None:
        self.client = huggingface_hub.InferenceClient(base_url=base_url, api_key=key, timeout=PATIENCE_S)

    def ask(self, model: str, fields: dict[str, Any]) -> Answer:
        try:
            return whole(self.client.chat_completion(model=model, **fields))
        except HfHubHTTPError as error:
            raise Refused(error.response.status_code, error.response.json()["error"]) from None

    def listen(self, model: str, fields: dict[str, Any]) -> Answer:
        options = huggingface_hub.ChatCompletionInputStreamOptions(include_usage=True)
        try:
            return strung(self.client.chat_completion(model=model, stream=True, stream_options=options, **fields))
        except HfHubHTTPError as error:
            raise Refused(error.response.status_code, json.loads(error.response.read())["error"]) from None


def whole(completion: Any) -> Answer:
    """Both clients give objects of the same attributes."""
    (choice,) = completion.choices
    assert choice.message.role == "assistant"
    calls = [Call(call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()]
    tokens = completion.usage.prompt_tokens, completion.usage.completion_tokens
    return Answer(choice.message.content or "", choice.finish_reason, tuple(calls), tokens)


def strung(chunks: Iterable[Any]) -> Answer:
    """A stream put together as applications do."""
    texts: list[str] = []
    reasons: list[str] = []
    tokens = None
    for chunk in chunks:
        for choice in chunk.choices:
            texts += [choice.delta.content] if choice.delta.content else []
            reasons += [choice.finish_reason] if choice.finish_reason else []
        if chunk.usage:
            tokens = chunk.usage.prompt_tokens, chunk.usage.completion_tokens
    (reason,) = reasons
    return Answer("".join(texts), reason, tokens=tokens, pieces=len(texts))


class CurlCaller:
    """curl, whose user reads what comes over the wire."""

    def __init__(self, base_url: str, key: str) -> None:
        self._base_url = base_url
        self._headers = [f"Authorization: Bearer {key}", "Content-Type: application/json"]

    def post(self, path: str, body: dict[str, Any], headers: Sequence[str] = ()) -> tuple[int, bytes]:
        """Status and body, as `curl -N` writes it."""
        command = ["curl", "-sS", "-N", "--max-time", f"{PATIENCE_S:g}", "-w", "%{stderr}%{http_code}"]
        for header in (*self._headers, *headers):
            command += ["-H", header]
        done = subprocess.run(
            [*command, "--data-binary", "@-", self._base_url + path],
            input=json.dumps(body).encode(),
            capture_output=True,
            check=True,
        )
        return int(done.stderr), done.stdout

    def ask(self, model: str, fields: dict[str, Any]) -> Answer:
        answer = json.loads(self._answered({"model": model, **fields}))
        (choice,) = answer["choices"]
        message = choice["message"]
        calls = [Call(**call["function"]) for call in message.get("tool_calls", ())]
        tokens = answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]
        return Answer(message["content"] or "", choice["finish_reason"], tuple(calls), tokens)

    def listen(self, model: str, fields: dict[str, Any]) -> Answer:
        asked = {"model": model, "stream": True, "stream_options": {"include_usage": True}, **fields}
        *events, done, end = self._answered(asked).decode().split("\n\n")
        assert (done, end) == ("data: [DONE]", "")
        chunks = [json.loads(event.removeprefix("data: ")) for event in events]
        choices = [choice for chunk in chunks for choice in chunk["choices"]]
        texts = [choice["delta"]["content"] for choice in choices if choice["delta"].get("content")]
        (reason,) = [choice["finish_reason"] for choice in choices if choice["finish_reason"] is not None]
        used = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
        tokens = (used[-1]["prompt_tokens"], used[-1]["completion_tokens"]) if used else None
        return Answer("".join(texts), reason, tokens=tokens, pieces=len(texts))

    def _answered(self, body: dict[str, Any]) -> bytes:
        status, answer = self.post("/chat/completions", body)
        if status != 200:
            raise Refused(status, json.loads(answer)["error"])
        return answer
