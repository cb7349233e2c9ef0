"""A canonical request in the words of Cohere's native v2 API. Pure; see "provider wire formats", section 3.2.2.

Names of tools may hold letters, digits and underscores only over there. They are translated by a map that is made
anew from the request, so that the answer can be translated back without remembering anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from providers.payload import Draft, clamp, joined_text, schema_in_json_object
from providers.wire import JsonObject

TEMPERATURE_MAX = 1.0
TOP_P_MIN, TOP_P_MAX = 0.01, 0.99


def to_native(draft: Draft) -> Draft:
    """The whole request but `model` and `stream`."""
    names = native_names(draft.body)
    draft = _messages(draft, names)
    draft = _tools(draft, names)
    draft = schema_in_json_object("json_schema")(draft)
    draft = _reasoning(draft)
    draft = clamp("temperature", 0.0, TEMPERATURE_MAX)(draft)
    draft = clamp("top_p", TOP_P_MIN, TOP_P_MAX)(draft)
    for penalty in ("frequency_penalty", "presence_penalty"):
        draft = clamp(penalty, 0.0, 1.0)(draft)
    return draft.renamed("top_p", "p").renamed("stop", "stop_sequences")


def native_names(body: Mapping[str, Any]) -> dict[str, str]:
    """The caller's names of functions, of tools and of past calls, to names that Cohere takes. One to one."""
    asked: dict[str, None] = {}
    for tool in body.get("tools") or ():
        asked[tool["function"]["name"]] = None
    for message in body.get("messages") or ():
        for call in message.get("tool_calls") or ():
            asked[call["function"]["name"]] = None
    native: dict[str, str] = {name: name for name in asked if _is_native(name)}
    taken = set(native)
    for name in asked:
        if name in native:
            continue
        plain = re.sub(r"[^A-Za-z0-9_]", "_", name) or "_"
        if plain[0].isdigit():
            plain = "_" + plain
        unique, number = plain, 2
        while unique in taken:
            unique, number = f"{plain}_{number}", number + 1
        native[name] = unique
        taken.add(unique)
    return native


def original_names(body: Mapping[str, Any]) -> dict[str, str]:
    """The way back: Cohere's names to the caller's."""
    return {native: name for name, native in native_names(body).items()}


def _is_native(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name, re.ASCII) is not None


def _messages(draft: Draft, names: Mapping[str, str]) -> Draft:
    dropped: list[str] = []
    messages = [_message(message, names, dropped) for message in draft.body.get("messages") or ()]
    return draft.put(messages=messages).missing(*dropped)


def _message(message: JsonObject, names: Mapping[str, str], dropped: list[str]) -> JsonObject:
    role = message["role"]
    thoughts = message.get("reasoning_content") or message.get("reasoning")
    for key, value in message.items():
        if key not in _KNOWN and value is not None:
            dropped.append(f"messages[].{key}")
    native: JsonObject = {"role": "system" if role == "developer" else role}
    content = joined_text(message.get("content"))
    calls = message.get("tool_calls") or ()
    if calls:
        native["tool_calls"] = [_call(call, names) for call in calls]
        if isinstance(thoughts, str):
            native["tool_plan"] = thoughts
    elif isinstance(thoughts, str) and thoughts and role == "assistant":
        blocks = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
        content = [{"type": "thinking", "thinking": thoughts}, *blocks]
    if content is not None:
        native["content"] = content
    elif not calls:
        native["content"] = ""
    if role == "tool":
        native["tool_call_id"] = message.get("tool_call_id", "")
    return native


_KNOWN = frozenset({"role", "content", "tool_calls", "tool_call_id", "reasoning", "reasoning_content"})


def _call(call: JsonObject, names: Mapping[str, str]) -> JsonObject:
    function = call["function"]
    name = names.get(function["name"], function["name"])
    return {
        "id": call.get("id", ""),
        "type": "function",
        "function": {"name": name, "arguments": function.get("arguments", "{}")},
    }


def _tools(draft: Draft, names: Mapping[str, str]) -> Draft:
    tools = draft.body.get("tools")
    if not tools:
        return draft.without("tools", "tool_choice")
    choice = draft.body.get("tool_choice")
    if isinstance(choice, dict):
        # There is no named choice: one tool and the duty to use it say the same.
        wanted = choice["function"]["name"]
        tools = [tool for tool in tools if tool["function"]["name"] == wanted]
    strict = all(tool["function"].get("strict") is True for tool in tools)
    native = []
    for tool in tools:
        function = {key: value for key, value in tool["function"].items() if key != "strict"}
        function["name"] = names[function["name"]]
        function.setdefault("parameters", {"type": "object", "properties": {}})
        native.append({"type": "function", "function": function})
    if not strict and any(tool["function"].get("strict") for tool in tools):
        draft = draft.missing("tools[].function.strict")
    draft = draft.without("tool_choice").put(tools=native)
    if strict:
        draft = draft.put(strict_tools=True)
    if choice == "none":
        return draft.put(tool_choice="NONE")
    return draft.put(tool_choice="REQUIRED") if choice == "required" or isinstance(choice, dict) else draft


def _reasoning(draft: Draft) -> Draft:
    """Thinking is on or off over there; how much of it is for the model to say."""
    effort = draft.body.get("reasoning_effort")
    if effort is None:
        return draft
    draft = draft.without("reasoning_effort")
    if "thinking" in draft.body:
        return draft
    return draft.put(thinking={"type": "disabled" if effort == "none" else "enabled"})
