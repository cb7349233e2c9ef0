"""The small rewrites of a request that several providers share. Pure: a draft in, a new draft out.

A `Draft` is the body under way together with the names of what was left out of it. `put` and `without` change it
without a trace, for what means the same afterwards; `drop` is for what a caller will miss, and remembers.
No value of the caller's request is ever changed in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from providers.fields import FIELDS, Feature, Support
from providers.wire import JsonObject, Value


class Draft(Value, frozen=True):
    """A request body under way. `dropped` holds names as they are shown in `x-gateway-dropped`."""

    body: JsonObject
    dropped: tuple[str, ...] = ()

    def put(self, **fields: Any) -> Draft:
        return Draft({**self.body, **fields}, self.dropped)

    def without(self, *names: str) -> Draft:
        """Takes fields away that had no effect, or that stand in another place now."""
        return Draft({name: value for name, value in self.body.items() if name not in names}, self.dropped)

    def drop(self, *names: str) -> Draft:
        """Takes fields away and names those that were there."""
        there = tuple(name for name in names if name in self.body)
        return self.without(*there).missing(*there) if there else self

    def missing(self, *names: str) -> Draft:
        """Names what was left out, or could not be sent as it was asked for."""
        new = tuple(dict.fromkeys(name for name in names if name not in self.dropped))
        return Draft(self.body, self.dropped + new) if new else self

    def renamed(self, old: str, new: str) -> Draft:
        if old not in self.body:
            return self
        return Draft({new if name == old else name: value for name, value in self.body.items()}, self.dropped)


Rewrite = Callable[[Draft], Draft]


def support_of(
    *, renamed: Iterable[str] = (), dropped: Iterable[str] = (), refused: Iterable[str] = ()
) -> Mapping[str, Support]:
    """What a provider makes of every field of `FIELDS`: forwarded, but for the names given here."""
    table = dict.fromkeys(FIELDS, Support.FORWARDED)
    for names, what in ((renamed, Support.RENAMED), (dropped, Support.DROPPED), (refused, Support.REFUSED)):
        for name in names:
            if name not in FIELDS:
                raise ValueError(f"{name} is no field of a chat completion")
            table[name] = what
    return table


def refusals(reasons: Mapping[Feature, str]) -> Mapping[Feature, str]:
    """What a provider cannot do, each with a reason for the caller; nobody can change it afterwards."""
    return MappingProxyType(dict(reasons))


def has_no_effect(name: str, value: Any, body: Mapping[str, Any]) -> bool:
    """Whether leaving this value out means the same, so that a provider without the field loses nothing."""
    if value is None:
        return True
    if name == "top_logprobs":
        return not body.get("logprobs")
    if name in ("stop", "tools", "tool_prompt", "logit_bias", "logprobs"):
        return not value
    if name == "tool_choice":
        return not body.get("tools") and value in ("auto", "none")
    if name == "response_format":
        return isinstance(value, dict) and value.get("type", "text") == "text"
    if name in ("frequency_penalty", "presence_penalty"):
        return bool(value == 0)
    return name == "n" and value == 1


def rename(old: str, new: str) -> Rewrite:
    return lambda draft: draft.renamed(old, new)


# --- response_format -------------------------------------------------------------------------------------------


def schema_of(draft: Draft) -> JsonObject | None:
    """The JSON schema that the answer must fit, or None where none was asked for."""
    asked = draft.body.get("response_format")
    if not isinstance(asked, dict) or asked.get("type") != "json_schema":
        return None
    schema = asked["json_schema"].get("schema")
    return schema if isinstance(schema, dict) else {}


def schema_in_json_object(key: str) -> Rewrite:
    """`{"type": "json_object", KEY: schema}`: fireworks under `schema`, cohere `json_schema`, TGI `value`."""

    def rewrite(draft: Draft) -> Draft:
        schema = schema_of(draft)
        return draft if schema is None else draft.put(response_format={"type": "json_object", key: schema})

    return rewrite


def flat_schema(draft: Draft) -> Draft:
    """`{"type": "json_schema", "schema": schema}`, as both Hugging Face clients send it to together."""
    schema = schema_of(draft)
    return draft if schema is None else draft.put(response_format={"type": "json_schema", "schema": schema})


def schema_as_guided_json(draft: Draft) -> Draft:
    """Keeps `response_format` and adds vLLM's own field, as the hub did for nebius until July 2026."""
    schema = schema_of(draft)
    return draft if schema is None else draft.put(guided_json=schema)


def lenient_schema(draft: Draft) -> Draft:
    """`strict` is false: sambanova takes nothing else."""
    if schema_of(draft) is None:
        return draft
    named = {**draft.body["response_format"]["json_schema"], "strict": False}
    return draft.put(response_format={"type": "json_schema", "json_schema": named})


def is_closed(schema: Any) -> bool:
    """Whether every object of a schema forbids further properties."""
    if isinstance(schema, list):
        return all(is_closed(part) for part in schema)
    if not isinstance(schema, dict):
        return True
    open_object = schema.get("type") == "object" and schema.get("additionalProperties") is not False
    return not open_object and all(is_closed(part) for part in schema.values())


def strict_only_if_closed(draft: Draft) -> Draft:
    """Takes `strict` from a schema with an open object, which cerebras answers with 400."""
    schema = schema_of(draft)
    if schema is None or is_closed(schema):
        return draft
    named = draft.body["response_format"]["json_schema"]
    if named.get("strict") is not True:
        return draft
    lenient = {key: value for key, value in named.items() if key != "strict"}
    draft = draft.put(response_format={"type": "json_schema", "json_schema": lenient})
    return draft.missing("response_format.json_schema.strict")


# --- messages --------------------------------------------------------------------------------------------------

MESSAGE_KEYS: Final = frozenset({"role", "content", "name", "tool_calls", "tool_call_id"})
_PLAIN_KEYS: Final = frozenset({"role", "content"})
_REASONING_KEYS: Final = ("reasoning_content", "reasoning")


@dataclass(frozen=True, slots=True)
class MessageRules:
    """What a provider takes in the messages of a request."""

    keys: frozenset[str] | None = None
    """None: a message may hold anything. Else the rest is dropped and named."""
    reasoning: str | None = None
    """The one name under which past reasoning is taken, where `keys` are limited or the two names differ."""
    developer: bool = False
    """Whether the role `developer` is known; else it is sent as `system`."""
    flat_text: bool = False
    """Whether a list of text parts is sent as one string, since models without eyes take nothing else."""

    def __call__(self, draft: Draft) -> Draft:
        messages = draft.body.get("messages") or []
        dropped: list[str] = []
        if all(map(self._is_plain, messages)):
            return draft
        clean = [m if self._is_plain(m) else self._tidied(m, dropped) for m in messages]
        return draft.put(messages=clean).missing(*dropped)

    def _is_plain(self, message: JsonObject) -> bool:
        """Whether a message may be sent as it is."""
        return (
            message.keys() <= _PLAIN_KEYS
            and (self.developer or message.get("role") != "developer")
            and not (self.flat_text and isinstance(message.get("content"), list))
        )

    def _tidied(self, message: JsonObject, dropped: list[str]) -> JsonObject:
        clean: JsonObject = {}
        for key, value in message.items():
            # A null says nothing, but `content: null` beside tool calls is how OpenAI writes it. Groq refuses
            # `function_call: null`, together `tool_calls: []`.
            if (value is None and key != "content") or (key == "tool_calls" and not value):
                continue
            if key in _REASONING_KEYS and self.reasoning is not None:
                clean.setdefault(self.reasoning, value)
            elif self.keys is None or key in self.keys:
                clean[key] = value
            else:
                dropped.append(f"messages[].{key}")
        if clean.get("role") == "developer" and not self.developer:
            clean["role"] = "system"
        if self.keys is not None and "tool_calls" in clean:
            clean["tool_calls"] = [plain_call(call) for call in clean["tool_calls"]]
        if self.flat_text:
            clean["content"] = joined_text(message.get("content"))
        return clean


def plain_call(call: JsonObject) -> JsonObject:
    """A past tool call with its four fields alone: answers hold more, which strict providers refuse to get back."""
    function = call["function"]
    plain = {"type": "function", "function": {"name": function["name"], "arguments": function.get("arguments", "{}")}}
    return {"id": call["id"], **plain} if call.get("id") is not None else plain


def joined_text(content: Any) -> Any:
    """A list of nothing but text parts as one string; everything else as it is."""
    if isinstance(content, list) and all(part.get("type") == "text" for part in content):
        return "".join(part["text"] for part in content)
    return content


# --- tools and the rest ----------------------------------------------------------------------------------------


def without_strict_tools(draft: Draft) -> Draft:
    """Takes `strict` from the functions of tools."""
    tools = draft.body.get("tools") or []
    if not any("strict" in tool["function"] for tool in tools):
        return draft
    clean = [{**t, "function": {k: v for k, v in t["function"].items() if k != "strict"}} for t in tools]
    return draft.put(tools=clean).missing("tools[].function.strict")


_EFFORTS: Final = {"minimal": "low", "xhigh": "high"}


def common_effort(draft: Draft) -> Draft:
    """The two newest words of `reasoning_effort` as their neighbours, for providers that know three or four."""
    effort = draft.body.get("reasoning_effort")
    return draft.put(reasoning_effort=_EFFORTS[effort]) if effort in _EFFORTS else draft


def logprobs_as_number(draft: Draft) -> Draft:
    """Together counts instead of switching: `logprobs` is how many alternatives, at least one."""
    if "logprobs" not in draft.body:
        return draft
    return draft.put(logprobs=max(draft.body.get("top_logprobs") or 0, 1)).without("top_logprobs")


def clamp(name: str, low: float, high: float) -> Rewrite:
    """Keeps a number within what the provider takes. The answer is sampled otherwise than asked: named."""

    def rewrite(draft: Draft) -> Draft:
        value = draft.body.get(name)
        if value is None or low <= value <= high:
            return draft
        return draft.put(**{name: min(max(value, low), high)}).missing(name)

    return rewrite


positive_top_p: Final = clamp("top_p", 0.01, 1.0)
"""vLLM refuses a `top_p` of 0; the least that can be said is nearly the same."""
