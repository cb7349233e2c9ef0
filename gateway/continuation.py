"""`midStream: continue`: what a broken stream is gone on from, and how two answers become one.

Only text is gone on from: one choice, no tool call, no reasoning, no logprobs, no format that a model is held to, since
nobody could take up the second half of any of these. Whoever goes on must be said to be able to, by the table
(`supports.prefill`), and its adapter must know how to ask.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from gateway.config.catalog import Offer
from gateway.exchange import LiveStream
from providers.wire import ChatRequest, Delta, JsonObject, Usage, decode_json, encode_json, replace

BYTES_MAX: Final = 8 << 20
"""Of the chunks that are kept of one stream; a longer one is not gone on from."""
_VOICE: Final = ("id", "created", "model")
_LIMITS: Final = ("max_tokens", "max_completion_tokens")

Resume = Callable[[Callable[[Offer], ChatRequest]], Awaitable[LiveStream]]
"""Asks those who can to go on, each with a request of its own. Raises GatewayError where nobody does; ClientGone."""


def may_go_on(request: ChatRequest) -> bool:
    """Whether an answer to this request could be gone on from at all."""
    body = request.body
    forms = body.get("response_format") or {}
    return (
        request.choices == 1
        and not body.get("logprobs")
        and forms.get("type", "text") == "text"
        and body.get("tool_choice") in (None, "auto", "none")
        and body["messages"][-1].get("role") != "assistant"
    )


def can_go_on(offer: Offer) -> bool:
    """Whether this offer's model can be asked to go on from the beginning of an answer."""
    return offer.supports.prefill is True and offer.provider.adapter.prefill is not None


class Continuation:
    """What one caller was sent, for whoever has to go on from it."""

    __slots__ = ("_before", "_bytes_left", "_chunks", "_request", "_resume", "_voice", "deadline_s")

    def __init__(self, request: ChatRequest, resume: Resume, deadline_s: float) -> None:
        self.deadline_s = deadline_s
        """Monotonic seconds: of the request, whoever answers it."""
        self._request = request
        self._resume = resume
        self._chunks: list[bytes] = []
        self._bytes_left = BYTES_MAX
        self._voice: JsonObject | None = None
        self._before: Usage | None = None

    def pass_on(self, deltas: list[Delta]) -> list[Delta]:
        """What is sent in their place, which is kept: the same, or, of who goes on, in the voice of who began."""
        voice = self._voice
        if voice is not None:
            deltas = [said for delta in deltas if (said := self._said(delta, voice)) is not None]
        for delta in deltas:
            self._bytes_left -= len(delta.data)
            if self._bytes_left >= 0:
                self._chunks.append(delta.data)
        return deltas

    def text(self) -> str | None:
        """All that was sent, or None where it is not to be gone on from."""
        if self._bytes_left < 0:
            return None
        parts = [_text_of(decode_json(chunk)) for chunk in self._chunks]
        return "".join(part for part in parts if part) if None not in parts else None

    def broke(self, booked: Usage) -> bool:
        """The attempt is over, and this was booked for it. False where the caller's own cap leaves nothing to say."""
        before = self._before
        if before is None:
            self._before = booked
            first = decode_json(self._chunks[0])
            self._voice = {name: first[name] for name in _VOICE}
        else:
            self._before = replace(before, completion_tokens=before.completion_tokens + booked.completion_tokens)
        return all(left > 0 for left in self._left().values())

    async def resume(self, text: str) -> LiveStream:
        """The stream of who goes on from this text. Raises as `Resume`."""
        return await self._resume(lambda offer: self._request_of(offer, text))

    def _request_of(self, offer: Offer, text: str) -> ChatRequest:
        body = self._request.body
        messages = [*body["messages"], {"role": "assistant", "content": text}]
        fields = offer.provider.adapter.prefill or {}
        return replace(self._request, body={**body, **self._left(), **fields, "messages": messages})

    def _left(self) -> dict[str, int]:
        """The caller's own cap, less what was said."""
        said = 0 if self._before is None else self._before.completion_tokens
        caps = {name: self._request.body.get(name) for name in _LIMITS}
        return {name: cap - said for name, cap in caps.items() if cap is not None}

    def _said(self, delta: Delta, voice: JsonObject) -> Delta | None:
        """A chunk as one of the answer that was begun; None where it says nothing new."""
        chunk: JsonObject = {**decode_json(delta.data), **voice}
        if delta.usage_only:
            chunk["usage"] = self._usage(chunk["usage"])
        for choice in chunk["choices"]:
            choice["delta"].pop("role", None)
            if not choice["delta"] and choice["finish_reason"] is None:
                return None
        return replace(delta, data=encode_json(chunk))

    def _usage(self, last: JsonObject) -> JsonObject:
        """Of the whole answer: the prompt once, and all that was said, as it is charged."""
        before = self._before or Usage(0, 0)
        said = before.completion_tokens + last["completion_tokens"]
        reasoning = (last.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
        return Usage(before.prompt_tokens, said, reasoning_tokens=reasoning).as_openai()


def _text_of(chunk: Any) -> str | None:
    """The text of a chunk; None where it holds anything else that was said."""
    text = ""
    for choice in chunk["choices"]:
        delta = choice["delta"]
        if choice["index"] != 0 or choice.get("logprobs") or choice["finish_reason"] is not None:
            return None
        if any(value for name, value in delta.items() if name not in ("role", "content")):
            return None
        content = delta.get("content")
        if content is not None and not isinstance(content, str):
            return None
        text += content or ""
    return text
