"""The words that cross the border between the gateway and its adapters.

Everything here is a value: a request that was already checked, a call that is ready to be sent, an answer
in the one clean dialect, what was used, and what went wrong over there. This is also the one place of the
cellar that knows how JSON becomes values and back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

import msgspec

JsonObject = dict[str, Any]
Headers = Sequence[tuple[bytes, bytes]]  # names in lower case

encode_json = msgspec.json.Encoder().encode
decode_json = msgspec.json.Decoder().decode
JsonError = msgspec.DecodeError

replace = msgspec.structs.replace
"""Another `Value` with some fields changed."""

TOKENS_MAX: Final = 1 << 31
"""A count of tokens above this is not a count: it is recorded as an estimate instead."""


class Value(msgspec.Struct, frozen=True):
    """What every request makes some of: an immutable value, made in a fifth of a frozen dataclass's time."""


class ChatRequest(Value, frozen=True):
    """One chat completion to be sent, checked and in the canonical form of `gateway/dialects/chat.py`.

    `body` holds the request without `model` and `provider`, and is never changed by an adapter. Canonical
    means: `response_format` is `{"type": "text" | "json_object"}`, `{"type": "json_schema", "json_schema":
    {"name", "schema", "strict"?, "description"?}}` or `{"type": "regex", "value": str}`; a named
    `tool_choice` has `"type": "function"`; tool calls in the history carry `arguments` as a JSON string;
    `stop` is a list; of `max_tokens` and `max_completion_tokens` at most one is there.
    """

    hub_model: str
    body: Mapping[str, Any]
    stream: bool = False
    wants_usage: bool = False
    """Whether the caller asked for the usage chunk of a stream."""
    choices: int = 1
    """`n`: how many choices end before the answer has ended."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where one offer is reached. Made once, when the table is loaded, by `Adapter.target`."""

    provider_model: str
    hub_model: str
    url: str
    """Absolute, without a query."""
    headers: Headers = field(repr=False)
    """All headers of a call but host, content-length and x-request-id. Holds the provider's key."""


class UpstreamCall(Value, frozen=True):
    """A POST with nothing left to decide."""

    url: str
    headers: Headers
    body: bytes
    dropped: tuple[str, ...] = ()
    """Request fields that this provider does not take and that were left out."""

    def __repr__(self) -> str:
        return f"UpstreamCall({self.url!r}, dropped={self.dropped!r})"  # the headers hold the provider's key


class Usage(Value, frozen=True):
    """Tokens as the provider counted them. Cached tokens are part of the prompt, reasoning tokens of the completion.

    Where nothing usable was reported there is no `Usage` (None), never a zero.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0
    unpriced: tuple[tuple[str, int], ...] = ()
    """Classes of tokens that were told apart and that no price of ours is for, with their counts: `audio_tokens`, …"""

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def as_openai(self) -> JsonObject:
        """The `usage` object of the OpenAI API."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
        }


class Reply(Value, frozen=True):
    """A whole answer, in the clean dialect."""

    body: bytes
    usage: Usage | None
    upstream_id: str | None
    reported_model: str | None
    text_chars: int
    """Length of all text that was generated: content, reasoning and tool arguments."""


class Delta(msgspec.Struct, frozen=True, gc=False):
    """One chunk of a stream, in the clean dialect. A Struct, since one is made per event: a fifth of the time."""

    data: bytes
    """The chunk as JSON, without SSE framing."""
    has_content: bool = False
    """It carries text, reasoning or a part of a tool call: the moment after which there is no way back."""
    has_finish: bool = False
    """A choice gives its finish_reason here."""
    usage_only: bool = False
    """`choices` is empty: the usage chunk, withheld from a caller who did not ask for it."""
    text_chars: int = 0


class FailureKind(Enum):
    """What went wrong over there. `gateway/routing/policy.py` says what follows from each."""

    BAD_REQUEST = "bad_request"
    CONTEXT_OVERFLOW = "context_overflow"
    CONTENT_FILTER = "content_filter"
    MODEL_OUTPUT = "model_output"
    """The model's own output did not pass the provider's check (groq `tool_use_failed`)."""
    TOO_LARGE = "too_large"
    AUTH = "auth"
    PAYMENT = "payment"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    TIMEOUT = "timeout"
    DEADLINE = "deadline"
    """Our own deadline of the request came first: it says nothing of the provider."""
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    CONNECT = "connect"
    """No connection was made: nothing was sent."""
    RESET = "reset"
    """The connection broke before an answer."""
    TRUNCATED = "truncated"
    """The answer broke off."""
    UNREADABLE = "unreadable"
    ERROR_EVENT = "error_event"
    """A 200 that holds an error, at once or in its stream."""


class ProviderFailure(Exception):
    """One attempt failed. Made at two borders only: `gateway/upstream/client.py` and an adapter.

    `message` is safe to show: at most 500 characters, no addresses, nothing that looks like a key.
    `retry_after_s` is what the provider asked for, only where it throttled us.
    """

    def __init__(
        self,
        kind: FailureKind,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
        model_only: bool = False,
        usage: Usage | None = None,
        text_chars: int = 0,
        unsent: bool = False,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s
        self.model_only = model_only
        """What it says of time holds for this model only, not for the account: it is being loaded."""
        self.usage = usage
        self.text_chars = text_chars
        """Text that was generated, as far as it could be seen, before the failure."""
        self.unsent = unsent
        """The provider cannot have acted on it; of a `connect` that is clear."""

    def __repr__(self) -> str:
        return f"ProviderFailure({self.kind.value}, status={self.status}, {self.message!r})"
