"""A whole answer of an OpenAI-like provider: bytes in, a `Reply` in the clean dialect out. Pure."""

from __future__ import annotations

import re
from typing import Final

from providers.answers import (
    AnswerRules,
    clean_envelope,
    clean_finish,
    clean_message,
    new_completion_id,
    position,
)
from providers.failures import clean_message as clean_text
from providers.failures import error_in
from providers.views import decode_object
from providers.wire import ChatRequest, FailureKind, JsonObject, ProviderFailure, Reply, Usage, encode_json


def read_reply(rules: AnswerRules, request: ChatRequest, body: bytes) -> Reply:
    """Raises ProviderFailure: what an error inside the 200 says, or UNREADABLE."""
    value = decode_object(body)
    if value is None:
        raise unreadable(body)
    if value.get("error") is not None:
        raise error_inside(rules, value)
    choices = value.get("choices")
    if not isinstance(choices, list) or not choices:
        raise no_answer(rules, value)

    usage = rules.read_usage(value.get("usage"), request)
    clean = clean_envelope(
        value, kind="chat.completion", fallback_id=new_completion_id, fallback_model=request.hub_model
    )
    clean_choices: list[JsonObject] = []
    text_chars = 0
    for at, choice in enumerate(choices):
        tidy, chars = _clean_choice(rules, choice, at)
        clean_choices.append(tidy)
        text_chars += chars
    clean["choices"] = clean_choices
    clean["usage"] = None if usage is None else usage.as_openai()
    return Reply(
        body=encode_json(clean),
        usage=usage,
        upstream_id=value["id"] if isinstance(value.get("id"), str) and value["id"] else None,
        reported_model=value["model"] if isinstance(value.get("model"), str) and value["model"] else None,
        text_chars=text_chars,
    )


def _clean_choice(rules: AnswerRules, choice: object, at: int) -> tuple[JsonObject, int]:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise ProviderFailure(FailureKind.UNREADABLE, "a choice without a message")
    tidy = {name: value for name, value in choice.items() if value is not None}
    tidy["index"] = position(choice.get("index"), at)
    tidy["message"], chars = clean_message(message)
    # The whole body is here, so a choice without a reason has ended all the same.
    reason = clean_finish(choice.get("finish_reason"), has_tool_calls="tool_calls" in tidy["message"])
    tidy["finish_reason"] = reason or ("tool_calls" if "tool_calls" in tidy["message"] else "stop")
    tidy["logprobs"] = rules.read_logprobs(choice.get("logprobs"), tidy["message"]["content"] or "")
    return tidy, chars


def error_inside(
    rules: AnswerRules, value: JsonObject, *, usage: Usage | None = None, text_chars: int = 0
) -> ProviderFailure:
    """The failure that an error inside a 200 stands for."""
    error = error_in(value)
    return ProviderFailure(
        rules.kind_of_error(None, error),
        clean_text(error.text),
        status=error.status,
        code=error.code or error.kind,
        usage=usage,
        text_chars=text_chars,
    )


def no_answer(rules: AnswerRules, value: JsonObject) -> ProviderFailure:
    """A 200 whose object holds no choices: a flat error (cerebras, cohere, novita), or nothing we know."""
    error = error_in(value)
    if error.text and (error.code or error.kind or "detail" in value or set(value) <= {"message", "id", "request_id"}):
        return error_inside(rules, value)
    return ProviderFailure(FailureKind.UNREADABLE, "an answer without choices", text_chars=0)


def unreadable(body: bytes) -> ProviderFailure:
    """A body that is no JSON object, with the length of the text that can still be seen in it."""
    if not body.strip():
        return ProviderFailure(FailureKind.UNREADABLE, "an empty answer")
    text_chars = salvaged_chars(body)
    if text_chars or body.lstrip().startswith(b"{"):
        message = "an answer that breaks off or is no JSON"
    else:
        message = clean_text(body[:4096].decode("utf-8", "replace"))
    return ProviderFailure(FailureKind.UNREADABLE, message, text_chars=text_chars)


_CONTENT: Final = re.compile(rb'"(?:content|reasoning|reasoning_content|text)"\s*:\s*"((?:[^"\\]|\\.)*+)', re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)", re.DOTALL)


def salvaged_chars(body: bytes) -> int:
    """The length of the text in a broken answer, so that what was generated can be estimated."""
    return sum(len(_ESCAPE.sub("x", found.decode("utf-8", "ignore"))) for found in _CONTENT.findall(body))
