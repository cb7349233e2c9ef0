"""Cohere's native v2 API: the one dialect here that is not OpenAI's. Its billing is exact only there.

The request is rewritten in `cohere_request.py`; this file reads the answers and ties the parts together.
"""

from __future__ import annotations

import time

from providers.answers import clean_arguments, clean_finish, clean_message, new_call_id, new_completion_id
from providers.base import OpenAICompatible, StreamReader
from providers.cohere_request import original_names, to_native
from providers.cohere_stream import CohereStreamReader, read_billed_usage
from providers.failures import FailureRules
from providers.fields import Feature
from providers.payload import Draft, refusals, support_of
from providers.rate_limits import LimitHeader, LimitHeaders
from providers.replies import error_inside, no_answer, unreadable
from providers.views import decode_object
from providers.wire import ChatRequest, FailureKind, JsonObject, Reply, Usage, encode_json


class Cohere(OpenAICompatible):
    """See "provider wire formats", section 3.2.2. 498 says that a token or the content was blocked.

    The answer does not say which model wrote it: it is given the name that was asked for.
    """

    name = "cohere"
    base_url = "https://api.cohere.com/v2"
    chat_path = "/chat"

    support = support_of(
        renamed=(
            "frequency_penalty",
            "max_completion_tokens",
            "presence_penalty",
            "reasoning_effort",
            "response_format",
            "stop",
            "stream_options",
            "temperature",
            "tool_choice",
            "top_p",
        ),
        dropped=("logit_bias", "parallel_tool_calls", "user"),
        refused=("logprobs", "top_logprobs", "n", "tool_prompt"),
    )
    refuses = refusals(
        {
            Feature.LOGPROBS: "cohere's log probabilities are not those of single tokens",
            Feature.MANY_CHOICES: "cohere gives one choice only",
            Feature.REGEX: "cohere has no regular expressions as response_format",
            Feature.TOOLS_WITH_FORMAT: "cohere takes tools or a response_format, not both",
            Feature.TOOL_PROMPT: "cohere has no tool_prompt",
        }
    )
    takes_unknown = False
    extras = frozenset({"citation_options", "documents", "k", "priority", "safety_mode", "strict_tools", "thinking"})
    max_tokens_name = "max_tokens"
    asks_for_usage = False
    failures = FailureRules(statuses={498: FailureKind.CONTENT_FILTER})
    limit_headers = LimitHeaders(
        requests=(LimitHeader("x-trial-endpoint-call-limit", "x-trial-endpoint-call-remaining"),), tokens=()
    )

    def payload(self, request: ChatRequest) -> Draft:
        draft = to_native(self._fields(request))
        return self.streamed(draft, request) if request.stream else draft

    def parse_reply(self, request: ChatRequest, body: bytes) -> Reply:
        value = decode_object(body)
        if value is None:
            raise unreadable(body)
        if value.get("error") is not None:
            raise error_inside(self, value)
        native = value.get("message")
        if not isinstance(native, dict):
            raise no_answer(self, value)
        usage = self.read_usage(value.get("usage"), request)
        message, text_chars = clean_message(_as_openai(native, original_names(request.body)))
        reason = clean_finish(value.get("finish_reason"), has_tool_calls="tool_calls" in message)
        upstream_id = value["id"] if isinstance(value.get("id"), str) and value["id"] else None
        clean = {
            "id": upstream_id or new_completion_id(),
            "object": "chat.completion",
            "created": int(time.time()),
            "model": request.hub_model,
            "choices": [
                {
                    "index": 0,
                    "message": message,
                    "logprobs": None,
                    "finish_reason": reason or ("tool_calls" if "tool_calls" in message else "stop"),
                }
            ],
            "usage": None if usage is None else usage.as_openai(),
        }
        return Reply(encode_json(clean), usage, upstream_id, None, text_chars)

    def open_stream(self, request: ChatRequest) -> StreamReader:
        return CohereStreamReader(self, request)

    def read_usage(self, reported: object, request: ChatRequest) -> Usage | None:
        return read_billed_usage(reported)


def _as_openai(native: JsonObject, names: dict[str, str]) -> JsonObject:
    """A native message with its tool calls under the caller's names, and its plan as reasoning."""
    message = {key: value for key, value in native.items() if key not in ("tool_plan", "tool_calls")}
    plan = native.get("tool_plan")
    if isinstance(plan, str) and plan:
        message["reasoning"] = plan
    calls: list[JsonObject] = []
    for call in native.get("tool_calls") or []:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            name = names.get(function["name"], function["name"])
            arguments = clean_arguments(function.get("arguments"))
            calls.append({"id": call.get("id") or new_call_id(), "function": {"name": name, "arguments": arguments}})
    return {**message, "tool_calls": calls} if calls else message
