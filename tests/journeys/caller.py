"""A caller of the gateway: asks for completions and takes streams apart, as an application would."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.journeys.gateway_process import PATIENCE_S, GatewayProcess


def ask(
    gateway: GatewayProcess, *, team: str = "search", headers: dict[str, str] | None = None, **fields: Any
) -> httpx.Response:
    """A plain completion."""
    return gateway.http.post(
        f"{gateway.url}/v1/chat/completions",
        json=body(**fields),
        headers={**gateway.headers(team), **(headers or {})},
    )


def body(**fields: Any) -> dict[str, Any]:
    """A request's body; a field of None is left out."""
    whole = {"model": "acme/chat", "messages": [{"role": "user", "content": "Tell me of the sea"}], **fields}
    return {name: value for name, value in whole.items() if value is not None}


@dataclass(slots=True)
class Heard:
    """A stream as it came."""

    response: httpx.Response
    raw: bytes = b""
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def inference_id(self) -> str:
        return self.response.headers["inference-id"]

    @property
    def is_done(self) -> bool:
        return self.raw.endswith(b"data: [DONE]\n\n")

    @property
    def text(self) -> str:
        return "".join(choice["delta"].get("content") or "" for event in self.events for choice in choices(event))

    @property
    def error(self) -> dict[str, Any] | None:
        """The one error event, which must be the last one."""
        errors = [event["error"] for event in self.events if "error" in event]
        assert len(errors) <= 1
        if errors:
            assert "error" in self.events[-1]
        return errors[0] if errors else None

    @property
    def usage(self) -> dict[str, Any] | None:
        found = [event["usage"] for event in self.events if event.get("usage")]
        return found[-1] if found else None


def choices(event: dict[str, Any]) -> list[dict[str, Any]]:
    return event.get("choices") or []


def listen(
    gateway: GatewayProcess, *, team: str = "search", headers: dict[str, str] | None = None, **fields: Any
) -> Heard:
    """A stream, heard to its end."""
    with listening(gateway, team=team, headers=headers, **fields) as (response, chunks):
        heard = Heard(response, b"".join(chunks))
    if response.headers["content-type"].startswith("text/event-stream"):
        heard.events = events_of(heard.raw)
    return heard


@contextmanager
def listening(
    gateway: GatewayProcess, *, team: str = "search", headers: dict[str, str] | None = None, **fields: Any
) -> Iterator[tuple[httpx.Response, Iterator[bytes]]]:
    """A stream under way; leaving the block hangs up."""
    with (
        httpx.Client(verify=False, timeout=PATIENCE_S) as client,
        client.stream(
            "POST",
            f"{gateway.url}/v1/chat/completions",
            json=body(stream=True, **fields),
            headers={**gateway.headers(team), **(headers or {})},
        ) as response,
    ):
        yield response, response.iter_raw()


def events_of(raw: bytes) -> list[dict[str, Any]]:
    """Every event but [DONE], by the rule that an event is lines of `data: ` and an empty one. Comments are skipped."""
    assert raw.endswith(b"\n\n")
    events = []
    for block in raw[:-2].split(b"\n\n"):
        if block.startswith(b":"):
            continue
        assert block.startswith(b"data: "), block[:100]
        assert b"\n" not in block, block[:100]
        if block != b"data: [DONE]":
            events.append(json.loads(block[6:]))
    return events
