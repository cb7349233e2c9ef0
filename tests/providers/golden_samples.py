"""Reads the samples of `tests/providers/golden/<provider>/`; see the README there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from providers.base import Adapter
from providers.registry import ADAPTERS
from providers.wire import ChatRequest, Delta, Headers, ProviderFailure, Target, Usage

GOLDEN = Path(__file__).parent / "golden"
HELLO: Mapping[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}


def sample(provider: str, name: str) -> Any:
    return json.loads((GOLDEN / provider / f"{name}.json").read_text())


def stream(provider: str, name: str) -> bytes:
    return (GOLDEN / provider / f"{name}.sse").read_bytes()


def stream_names(provider: str) -> list[str]:
    return sorted(path.stem for path in (GOLDEN / provider).glob("*.sse") if path.stem != "broken")


def all_streams() -> list[tuple[str, str]]:
    return [(provider, name) for provider in ADAPTERS for name in stream_names(provider)]


def request(
    canonical: Mapping[str, Any] | None = None, *, streams: bool = False, wants_usage: bool = False
) -> ChatRequest:
    body = HELLO if canonical is None else canonical
    return ChatRequest("org/model", body, streams, wants_usage, body.get("n", 1))


def target_of(adapter: Adapter, model: str = "org/model") -> Target:
    return adapter.target(provider_model=model, hub_model="org/model", base_url=adapter.base_url, api_key="key-1")


def header_list(headers: dict[str, str]) -> Headers:
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def usage_of(parts: list[int] | None) -> Usage | None:
    """Prompt and completion tokens, then the cached and the reasoning ones among them, as golden files tell them."""
    if parts is None:
        return None
    prompt, completion, cached, reasoning = (*parts, 0, 0)[:4]
    return Usage(prompt, completion, cached, reasoning)


class Heard:
    """All that a reader gave for a body that was fed to it in pieces of `size` bytes (0: at once)."""

    def __init__(self, adapter: Adapter, asked: ChatRequest, body: bytes, size: int = 0) -> None:
        self.reader = adapter.open_stream(asked)
        self.deltas: list[Delta] = []
        self.failure: ProviderFailure | None = None
        for start in range(0, len(body), size or len(body) or 1):
            self.deltas += self.reader.feed(body[start : start + (size or len(body))])
        try:
            self.deltas += self.reader.finish()
        except ProviderFailure as failure:
            self.failure = failure
