"""What a chat request asks for, whatever the names its provider has for it.

`from_openai` reads the common form; a provider with names of its own starts from that and replaces fields.
Requests have passed the provider's strictness before they come here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_REASONERS: Final = re.compile(
    r"deepseek-(v3p1-)?r1|gpt-oss|qwen-?3(?!-vl)(?!.*instruct)|thinking|reasoning|qwq|magistral|glm-(4p|4\.)[5-9]", re.I
)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, reduced to what decides the answer."""

    texts: tuple[str, ...]
    """All text of all messages, in order."""
    last_text: str
    """The last text of the user, which answers echo."""
    messages: int
    images: int = 0
    tools: tuple[Mapping[str, Any], ...] = ()
    """The `function` objects offered."""
    call: str = "auto"
    """`auto`, `none`, `required`, or `name:` and the name of the tool that must be called."""
    parallel: bool = True
    answered_tools: bool = False
    """The conversation holds results of tools already."""
    schema: Any = None
    """JSON schema the answer must follow; `{}` for any object."""
    regex: str | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    choices: int = 1
    logprobs: int | None = None
    """How many alternatives beside each token; None: no log probabilities."""
    reasons: bool = False
    stream: bool = False
    wants_usage: bool = False
    """`stream_options.include_usage`."""
    words: int | None = None
    role: str = "assistant"
    """Whose words the answer is said to be."""
    begun: str = ""
    """What was said of the answer already: it is gone on from, and not said again."""


def reasons(model: str) -> bool:
    """Whether a model's name is that of one that thinks aloud."""
    return _REASONERS.search(model) is not None


def texts_of(content: Any) -> list[str]:
    """The texts of a message's content, in any of its forms."""
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list):
        return []
    return [part["text"] for part in content if isinstance(part, Mapping) and isinstance(part.get("text"), str)]


def image_urls(message: Mapping[str, Any]) -> list[str]:
    """The addresses of all images of a message, data URLs included."""
    content = message.get("content")
    parts = [part for part in content if isinstance(part, Mapping)] if isinstance(content, list) else []
    urls = [part.get("image_url") for part in parts if part.get("type") == "image_url"]
    return [str(url.get("url")) if isinstance(url, Mapping) else str(url) for url in urls]


def _is_function(tool: Any) -> bool:
    return isinstance(tool, Mapping) and isinstance(tool.get("function"), Mapping)


def chosen_call(choice: Any) -> str:
    """`tool_choice` in the form of `Ask.call`."""
    if isinstance(choice, Mapping):
        return f"name:{(choice.get('function') or {}).get('name', '')}"
    return {"none": "none", "required": "required", "any": "required"}.get(str(choice), "auto")


def wanted_schema(response_format: Any) -> Any:
    """The schema of an OpenAI-like `response_format`, flattened forms included; None for plain text."""
    if not isinstance(response_format, Mapping):
        return None
    kind = response_format.get("type")
    if kind == "json_schema":
        inner = response_format.get("json_schema")
        return inner.get("schema", {}) if isinstance(inner, Mapping) else response_format.get("schema", {})
    return response_format.get("schema", {}) if kind == "json_object" else None


def from_openai(body: Mapping[str, Any], *limits: str) -> Ask:
    """Read an OpenAI-like body. `limits` are the names this provider has for the cap, in order of precedence."""
    messages = [message for message in body["messages"] if isinstance(message, Mapping)]
    texts = [text for message in messages for text in texts_of(message.get("content"))]
    users = [text for m in messages if m.get("role") == "user" for text in texts_of(m.get("content"))]
    stop = body.get("stop") or ()
    caps = (body.get(name) for name in limits or ("max_completion_tokens", "max_tokens"))
    logprobs = body.get("logprobs")
    return Ask(
        texts=tuple(texts),
        last_text=users[-1] if users else "",
        messages=len(messages),
        images=sum(len(image_urls(message)) for message in messages),
        tools=tuple(tool["function"] for tool in body.get("tools") or () if _is_function(tool)),
        call=chosen_call(body.get("tool_choice")),
        parallel=body.get("parallel_tool_calls") is not False,
        answered_tools=any(message.get("role") == "tool" for message in messages),
        schema=wanted_schema(body.get("response_format")),
        max_tokens=next((cap for cap in caps if cap is not None), None),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        choices=body.get("n") or 1,
        logprobs=None if logprobs in (None, False) else int(body.get("top_logprobs") or 0),
        reasons=reasons(str(body.get("model"))) and body.get("reasoning_effort") not in ("none", False),
        stream=body.get("stream") is True,
        wants_usage=bool((body.get("stream_options") or {}).get("include_usage")),
    )
