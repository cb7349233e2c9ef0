"""What an adapter promises, and the adapter of every provider that speaks OpenAI's dialect.

`Adapter` and `StreamReader` are all that the gateway knows. `OpenAICompatible` keeps them in small steps, of which a
provider overrides the one in which it is odd, and mostly by an attribute. No I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Protocol

from providers.answers import openai_logprobs
from providers.failures import ErrorBody, FailureRules, kind_of_error, read_failure
from providers.fields import Feature, Support
from providers.openai_stream import OpenAIStreamReader
from providers.payload import Draft, MessageRules, Rewrite, has_no_effect, refusals, support_of
from providers.rate_limits import LimitHeaders, RateLimits, read_rate_limits
from providers.replies import read_reply
from providers.targets import make_target
from providers.usage import read_usage
from providers.wire import (
    ChatRequest,
    Delta,
    FailureKind,
    Headers,
    JsonObject,
    ProviderFailure,
    Reply,
    Target,
    UpstreamCall,
    Usage,
    encode_json,
)

LIMITS: Final = frozenset({"max_tokens", "max_completion_tokens"})
IDLE: Final = frozenset({"stop", "tools", "tool_choice", "response_format", "tool_prompt"})
"""Fields whose empty or default value is never sent: it means nothing, and some provider refuses each."""


class StreamReader(Protocol):
    """What must be remembered while one stream flows. One per attempt; bytes in, deltas out."""

    usage: Usage | None
    """The last usable usage that was seen."""
    upstream_id: str | None
    reported_model: str | None
    finished: bool
    """Every choice has given its finish_reason."""
    done: bool
    """`[DONE]` (or the dialect's own last word) was seen."""
    failure: ProviderFailure | None
    """Set by `feed` where the stream told of an error or went unreadable; the deltas before it were returned."""
    skipped_events: int
    """Malformed events that were passed over."""

    def feed(self, data: bytes) -> list[Delta]: ...

    def finish(self) -> list[Delta]:
        """The body has ended. May give the finish chunk that the provider owed; raises `failure`, or
        `ProviderFailure(TRUNCATED)` where the answer never ended."""
        ...

    def hand_over_failure(self) -> ProviderFailure:
        """`failure`, to be raised: what is raised holds the frames that hold this reader, and must not be held by
        it. Another of its kind stays."""
        ...


class Adapter(Protocol):
    """One provider's wire format. Stateless and shared; no I/O."""

    name: ClassVar[str]
    base_url: ClassVar[str]
    support: ClassVar[Mapping[str, Support]]
    """For every name of `FIELDS`."""
    refuses: ClassVar[Mapping[Feature, str]]
    """What this provider cannot do, each with a reason that a caller can read."""
    prefill: ClassVar[Mapping[str, Any] | None]
    """The fields that ask for the last message, the assistant's, to be gone on from instead of answered; None: no way
    to ask is known. Whether a model can is for its row of the table to say."""

    def target(self, *, provider_model: str, hub_model: str, base_url: str, api_key: str | None) -> Target: ...

    def build_call(self, request: ChatRequest, target: Target) -> UpstreamCall: ...

    def parse_reply(self, request: ChatRequest, body: bytes) -> Reply:
        """Raises ProviderFailure: UNREADABLE, or what an error inside a 200 says."""
        ...

    def open_stream(self, request: ChatRequest) -> StreamReader: ...

    def parse_failure(self, status: int, headers: Headers, body: bytes) -> ProviderFailure: ...

    def rate_limits(self, headers: Headers) -> RateLimits | None:
        """What is left at the provider, as the headers of any answer say; None where they say nothing."""
        ...


class OpenAICompatible:
    """The OpenAI dialect, told apart between providers by a handful of class attributes.

    A provider without an attribute of its own takes every field, also unknown ones, and answers as OpenAI does.
    """

    name: ClassVar[str] = "openai"
    base_url: ClassVar[str] = "https://api.openai.com/v1"
    chat_path: ClassVar[str] = "/chat/completions"

    support: ClassVar[Mapping[str, Support]] = support_of()
    refuses: ClassVar[Mapping[Feature, str]] = refusals({})
    takes_unknown: ClassVar[bool] = True
    """Whether a field that is not in `FIELDS` is passed on; else only `extras` are."""
    extras: ClassVar[frozenset[str]] = frozenset()
    max_tokens_name: ClassVar[str | None] = None
    """What the provider calls the limit of the answer; None: either name will do."""
    prefill: ClassVar[Mapping[str, Any] | None] = None
    asks_for_usage: ClassVar[bool] = True
    """Whether `stream_options` may be sent. Without them the provider must report its usage unasked."""
    messages: ClassVar[MessageRules] = MessageRules()
    rewrites: ClassVar[tuple[Rewrite, ...]] = ()
    """The provider's oddities, in the order in which they are applied."""
    failures: ClassVar[FailureRules] = FailureRules()
    limit_headers: ClassVar[LimitHeaders] = LimitHeaders()

    def target(self, *, provider_model: str, hub_model: str, base_url: str, api_key: str | None) -> Target:
        """Raises ValueError for a base URL, model id or key that cannot be sent safely."""
        return make_target(
            provider_model=provider_model,
            hub_model=hub_model,
            base_url=base_url or self.base_url,
            default_base_url=self.base_url,
            path=self.path(provider_model),
            api_key=api_key,
        )

    def path(self, provider_model: str) -> str:
        """The route of a chat, to be appended to the base URL."""
        return self.chat_path

    def build_call(self, request: ChatRequest, target: Target) -> UpstreamCall:
        draft = self.payload(request)
        # `model` goes first: routers on the way read it from a short prefix of a body that may be large.
        body: JsonObject = {"model": target.provider_model, **draft.body}
        return UpstreamCall(url=target.url, headers=target.headers, body=encode_json(body), dropped=draft.dropped)

    def payload(self, request: ChatRequest) -> Draft:
        """The body without `model`."""
        draft = self.messages(self._fields(request))
        for rewrite in self.rewrites:
            draft = rewrite(draft)
        return self.streamed(draft, request) if request.stream else draft

    def _fields(self, request: ChatRequest) -> Draft:
        """Keeps what this provider takes.

        A refused field is sent on: routing brings none here unless a row of the table says that it may, and a
        provider's refusal is more honest than an answer to another question.
        """
        body: JsonObject = {}
        dropped: list[str] = []
        for field, value in request.body.items():
            if field in ("stream", "stream_options", "model"):
                continue
            support = self.support.get(field)
            if support is None:
                if self.takes_unknown or field in self.extras:
                    body[field] = value
                elif value is not None:
                    dropped.append(field)
            elif (support is not Support.FORWARDED or field in IDLE) and has_no_effect(field, value, request.body):
                continue
            elif support is Support.DROPPED:
                dropped.append(field)
            elif field in LIMITS and self.max_tokens_name is not None:
                body[self.max_tokens_name] = value
            else:
                body[field] = value
        return Draft(body, tuple(dropped))

    def streamed(self, draft: Draft, request: ChatRequest) -> Draft:
        """Asks for a stream, and for its usage whatever the caller wants: the caller's part is filtered later."""
        if not self.asks_for_usage:
            return draft.put(stream=True)
        options = request.body.get("stream_options")
        asked = options if isinstance(options, dict) and self.takes_unknown else {}
        return draft.put(stream=True, stream_options={**asked, "include_usage": True})

    def parse_reply(self, request: ChatRequest, body: bytes) -> Reply:
        return read_reply(self, request, body)

    def open_stream(self, request: ChatRequest) -> StreamReader:
        return OpenAIStreamReader(self, request)

    def parse_failure(self, status: int, headers: Headers, body: bytes) -> ProviderFailure:
        return read_failure(self.failures, status, headers, body)

    def rate_limits(self, headers: Headers) -> RateLimits | None:
        return read_rate_limits(headers, self.limit_headers)

    def read_usage(self, reported: object, request: ChatRequest) -> Usage | None:
        return read_usage(reported)

    def read_logprobs(self, reported: object, text: str) -> JsonObject | None:
        return openai_logprobs(reported)

    def kind_of_error(self, status: int | None, error: ErrorBody) -> FailureKind:
        return kind_of_error(self.failures, status, error)
