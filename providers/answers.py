"""The clean dialect: what an answer looks like once it has left an adapter. Pure.

One word for each reason to end, tool arguments that are always a string, reasoning under both of its names, and a
usage object of one shape. Fields nobody here knows are passed on; what a provider spells oddly is put right.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from providers.failures import ErrorBody
from providers.wire import ChatRequest, FailureKind, JsonObject, ProviderFailure, Usage, encode_json

FINISH_REASONS: Final[Mapping[str, str]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "function_call": "tool_calls",
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "model_length": "length",
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    "end_turn": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""A provider's word to OpenAI's. See "provider wire formats", section 1.5."""

FAILED_REASONS: Final = frozenset({"error", "ERROR", "TIMEOUT", "ERROR_TOXIC", "ERROR_LIMIT", "USER_CANCEL"})
"""Words of an answer that did not end but broke."""

CLEAN_REASONS: Final = frozenset({"stop", "length", "tool_calls", "content_filter"})


class AnswerRules(Protocol):
    """What an adapter says about its provider's answers."""

    def read_usage(self, reported: object, request: ChatRequest) -> Usage | None: ...

    def read_logprobs(self, reported: object, text: str) -> JsonObject | None:
        """A choice's log probabilities as OpenAI has them; `text` is the content that they stand beside."""
        ...

    def kind_of_error(self, status: int | None, error: ErrorBody) -> FailureKind: ...


def new_completion_id() -> str:
    return "chatcmpl-" + secrets.token_hex(12)


def new_call_id() -> str:
    return "call_" + secrets.token_hex(8)


def clean_finish(reason: object, *, has_tool_calls: bool) -> str | None:
    """OpenAI's word, or None where the choice has not ended. Raises ProviderFailure for a word that means failure.

    TGI ends a tool call with `stop`; an unknown word is taken for an ordinary end.
    """
    if not isinstance(reason, str) or not reason:
        return None
    if reason in FAILED_REASONS:
        kind = FailureKind.TIMEOUT if reason == "TIMEOUT" else FailureKind.ERROR_EVENT
        raise ProviderFailure(kind, f"the answer ended with {reason.lower()}")
    word = FINISH_REASONS.get(reason, "stop")
    return "tool_calls" if has_tool_calls and word == "stop" else word


def clean_arguments(value: object) -> str:
    """Arguments of a whole tool call: always text that is JSON, `{}` where there are none."""
    if isinstance(value, str):
        return value if value.strip() not in ("", "null") else "{}"
    return "{}" if value is None else encode_json(value).decode()


def clean_tool_calls(value: object) -> list[JsonObject]:
    """The tool calls of a whole message. What is not a call to a named function is left out."""
    calls: list[JsonObject] = []
    for entry in value if isinstance(value, list) else []:
        function = entry.get("function") if isinstance(entry, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
            continue
        calls.append(
            {
                "id": str(entry["id"]) if entry.get("id") not in (None, "") else new_call_id(),
                "type": "function",
                "function": {"name": function["name"], "arguments": clean_arguments(function.get("arguments"))},
            }
        )
    return calls


def split_content(content: object) -> tuple[str | None, str]:
    """The text and the reasoning of a message's `content`, which may be a list of blocks."""
    if not isinstance(content, list):
        return (content if isinstance(content, str) else None), ""
    text = [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
    thoughts = [p["thinking"] for p in content if isinstance(p, dict) and isinstance(p.get("thinking"), str)]
    return "".join(text), "".join(thoughts)


def pair_reasoning(message: JsonObject, thoughts: str = "") -> str:
    """Puts the reasoning under both of its names, in place, and gives it; without any, takes both names away."""
    for name in ("reasoning_content", "reasoning"):
        value = message.pop(name, None)
        if not thoughts and isinstance(value, str):
            thoughts = value
    if thoughts:
        message["reasoning_content"] = message["reasoning"] = thoughts
    return thoughts


def clean_message(message: JsonObject) -> tuple[JsonObject, int]:
    """A whole message in the clean dialect, and the length of all its text."""
    text = message.get("content")
    if type(text) is str and message.keys() == _PLAIN_KEYS:
        return {"role": "assistant", "content": text}, len(text)
    clean = {name: value for name, value in message.items() if value is not None}
    content, thoughts = split_content(message.get("content"))
    calls = clean_tool_calls(clean.pop("tool_calls", None))
    legacy = clean.pop("function_call", None)
    if not calls and isinstance(legacy, dict):
        calls = clean_tool_calls([{"function": legacy}])
    clean["role"] = "assistant"
    clean["content"] = content if content is not None or calls else ""
    thoughts = pair_reasoning(clean, thoughts)
    if calls:
        clean["tool_calls"] = calls
    written = sum(len(c["function"]["name"]) + len(c["function"]["arguments"]) for c in calls)
    return clean, len(content or "") + len(thoughts) + written


_PLAIN_KEYS: Final = frozenset({"role", "content"})


def openai_logprobs(reported: object) -> JsonObject | None:
    """Log probabilities that are already OpenAI's, or None. Sambanova's SDK types `content` as one bare object."""
    if not isinstance(reported, dict):
        return None
    content = reported.get("content")
    if isinstance(content, dict):
        return {**reported, "content": [content]}
    return reported if isinstance(content, list) else None


def clean_envelope(value: JsonObject, *, kind: str, fallback_id: Callable[[], str], fallback_model: str) -> JsonObject:
    """The fields around the choices: no nulls but those OpenAI has, an id, a whole-second `created`."""
    clean: JsonObject = {
        "id": value["id"] if isinstance(value.get("id"), str) and value["id"] else fallback_id(),
        "object": kind,
        "created": _whole_second(value.get("created")),
        "model": value["model"] if isinstance(value.get("model"), str) and value["model"] else fallback_model,
    }
    for name, other in value.items():
        if name not in _ENVELOPE and other is not None:
            clean[name] = other
    if isinstance(value.get("system_fingerprint"), str):
        clean["system_fingerprint"] = value["system_fingerprint"]
    return clean


_ENVELOPE: Final = frozenset(
    {"id", "object", "created", "model", "choices", "usage", "error", "x_groq", "system_fingerprint", "message"}
)


def _whole_second(value: object) -> int:
    """Sambanova's `created` is a float (recorded May 2025)."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1 << 53:
        return int(value)
    return int(time.time())


def position(value: object, fallback: int) -> int:
    """An `index` as it was given, or where the entry stood in its list."""
    return value if type(value) is int and 0 <= value < 1 << 16 else fallback


def text_length(value: Any) -> int:
    return len(value) if isinstance(value, str) else 0
