"""What goes into a simulated provider and what comes out of it, as values without sockets.

A provider module turns a `SimRequest` into a `SimAnswer`; only `app.py` and `sending.py` know HTTP servers.
`Tally` is read back from what was really put on the wire, so that no second count can disagree with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

DONE: Final = "[DONE]"


class Credential(Enum):
    """What the server made of the `Authorization` header."""

    ACCEPTED = "accepted"
    MISSING = "missing"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class SimRequest:
    """One request as a provider module sees it: everything it may depend on, clock and randomness included."""

    method: str
    path: str
    """Below the provider's prefix: `/openai/v1/chat/completions`."""
    headers: Mapping[str, str]
    """Lower-case names."""
    body: bytes
    credential: Credential
    token: str
    """32 hex digits, new for each request: every id of the answer is made of it."""
    now_s: float
    switches: Mapping[str, str] = field(default_factory=dict)
    """Which of several real habits the provider shows (`{"generation": "2025"}`); named in its module."""
    words: int | None = None
    """Length of a text answer; None leaves it to the prompt."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One server-sent event. `data` None makes it a bare comment line, a string is sent as it is."""

    data: Mapping[str, Any] | str | None
    event: str = ""


@dataclass(frozen=True, slots=True)
class SimAnswer:
    """An answer: either `body` (JSON when a mapping or list, else text) or `chunks` of a stream."""

    status: int
    body: Mapping[str, Any] | list[Any] | str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    chunks: tuple[Chunk, ...] | None = None
    failing: tuple[Chunk, ...] = ()
    """What the provider sends instead of the rest when it fails inside a stream it has begun."""
    spaced: bool = False
    """JSON with blanks after colons and commas (hyperbolic)."""
    model: str = ""
    """The provider's model the answer is counted under; empty where the request never got that far."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A refusal before it takes a provider's shape. `form` names the shape where a provider has several."""

    status: int
    message: str
    code: str | int | None = None
    type: str = ""
    param: str | None = None
    form: str = ""
    given: Any = None
    """The offending value, for shapes that repeat it."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Tokens as one usage object on the wire named them; 0 where it did not name a kind."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int


def encode(data: object, *, spaced: bool = False) -> bytes:
    """JSON bytes, compact unless `spaced`."""
    separators = (", ", ": ") if spaced else (",", ":")
    return json.dumps(data, ensure_ascii=False, separators=separators).encode()


def render(chunk: Chunk, *, spaced: bool = False) -> bytes:
    """The bytes of one server-sent event, the closing blank line included."""
    if chunk.data is None:
        return b":\n\n"
    payload = chunk.data.encode() if isinstance(chunk.data, str) else encode(chunk.data, spaced=spaced)
    name = f"event: {chunk.event}\n".encode() if chunk.event else b""
    return name + b"data: " + payload + b"\n\n"


def _usage_holder(data: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The object a usage hangs on: the top level, `x_groq`, or the `delta` of cohere's message-end."""
    for holder in (data, data.get("x_groq"), data.get("delta")):
        if isinstance(holder, Mapping) and isinstance(holder.get("usage"), Mapping):
            return holder
    return None


def reported(data: object) -> Tally | None:
    """The usage that one body or chunk reports, or None. Knows every place and form of the simulated providers."""
    holder = _usage_holder(data) if isinstance(data, Mapping) else None
    if holder is None:
        return None
    usage = holder["usage"]
    if "billed_units" in usage:
        billed = usage["billed_units"]
        return Tally(billed["input_tokens"], usage.get("cached_tokens", 0), billed["output_tokens"], 0)
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens", 0)
    return Tally(usage["prompt_tokens"], cached or usage.get("cached_tokens", 0), usage["completion_tokens"], reasoning)


def without_usage(data: Mapping[str, Any]) -> dict[str, Any]:
    """The same body or chunk with every usage taken out."""
    bare = {key: value for key, value in data.items() if key != "usage"}
    for key in ("x_groq", "delta"):
        if isinstance(bare.get(key), Mapping):
            bare[key] = {name: value for name, value in bare[key].items() if name != "usage"}
    return bare
