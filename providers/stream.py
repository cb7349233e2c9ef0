"""What the readers of all dialects share: framing, the end of a stream, and how one fails. No I/O.

A reader tells of a provider's fault in `failure` and never by raising from `feed`, so that the deltas before the
fault are not lost. A stream has ended well when every choice has given its reason to end; a body that just stops is
a failure, for no client notices a cut stream by itself.
"""

from __future__ import annotations

import time

from providers.answers import AnswerRules, new_completion_id
from providers.sse import Event, EventTooLargeError, SseDecoder
from providers.wire import ChatRequest, Delta, FailureKind, JsonObject, ProviderFailure, Usage, encode_json


class CallState:
    """One tool call under way: whether its name was told, and any of its arguments."""

    __slots__ = ("has_arguments", "id", "named")

    def __init__(self, call_id: str) -> None:
        self.id = call_id
        self.named = False
        self.has_arguments = False


class ChoiceState:
    """One choice under way. Tool calls are told apart by `index`; ids may change, repeat or be missing."""

    __slots__ = ("calls", "finished", "role_given")

    def __init__(self) -> None:
        self.calls: dict[int, CallState] = {}
        self.finished = False
        self.role_given = False

    def owed_arguments(self) -> list[JsonObject]:
        """`{}` for each call that never got arguments: what is sent to a client must be JSON."""
        owed = [index for index, call in self.calls.items() if not call.has_arguments]
        return [{"index": index, "function": {"arguments": "{}"}} for index in owed]


class EventReader:
    """The common part of a `StreamReader`. A dialect implements `_event`."""

    def __init__(self, rules: AnswerRules, request: ChatRequest) -> None:
        self.usage: Usage | None = None
        self.upstream_id: str | None = None
        self.reported_model: str | None = None
        self.finished = False
        self.done = False
        self.failure: ProviderFailure | None = None
        self.skipped_events = 0
        self._rules = rules
        self._request = request
        self._sse = SseDecoder()
        self._seen_events = False
        self._ended = False
        self._choices: dict[int, ChoiceState] = {}
        self._text_chars = 0
        self._id = ""
        self._created = 0
        self._model = ""

    def feed(self, data: bytes) -> list[Delta]:
        """The deltas of these bytes. Nothing after the provider's last word, or after a failure, is read."""
        out: list[Delta] = []
        if self.done or self.failure is not None:
            return out
        try:
            events = self._sse.feed(data)
        except EventTooLargeError as fault:
            self._take(fault.events, out)
            self._fail(ProviderFailure(FailureKind.UNREADABLE, str(fault)))
            return out
        if events:
            self._take(events, out)
        return out

    def finish(self) -> list[Delta]:
        """See `StreamReader.finish`."""
        out: list[Delta] = []
        if not self._ended and self.failure is None:
            events, rest = self._sse.flush()
            if not events and not self._seen_events and rest.strip():
                self._fail(self._no_stream(rest))
            self._take(events, out)
            if not self._ended and self.failure is None:
                self._end(out, told=False)
        if self.failure is not None:
            raise self.hand_over_failure()
        return out

    def hand_over_failure(self) -> ProviderFailure:
        """See `StreamReader.hand_over_failure`."""
        assert self.failure is not None
        failure, self.failure = self.failure, ProviderFailure(self.failure.kind, self.failure.message)
        return failure

    def _take(self, events: list[Event], out: list[Delta]) -> None:
        self._seen_events = self._seen_events or bool(events)
        for name, data in events:
            if self.done or self.failure is not None:
                return
            try:
                self._event(name, data, out)
            except ProviderFailure as failure:
                self._fail(failure)

    def _event(self, name: str, data: bytes, out: list[Delta]) -> None:
        """Reads one event. May raise ProviderFailure, which becomes `failure`."""
        raise NotImplementedError

    def _no_stream(self, body: bytes) -> ProviderFailure:
        """A body without a single event: an error page, or a whole answer where a stream was asked for."""
        return ProviderFailure(FailureKind.UNREADABLE, "an answer that is no event stream")

    def _fail(self, failure: ProviderFailure) -> None:
        if self.failure is None:
            failure.usage = failure.usage or self.usage
            failure.text_chars = max(failure.text_chars, self._text_chars)
            self.failure = failure

    def _stamp(self, completion_id: str, created: int, model: str) -> None:
        """Remembers who is speaking, for the chunks that a provider owes us."""
        self._id = completion_id
        self._created = created
        self._model = model

    def _choice(self, index: int) -> ChoiceState:
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = ChoiceState()
        return state

    def _mark_finished(self, state: ChoiceState) -> None:
        state.finished = True
        ended = sum(choice.finished for choice in self._choices.values())
        self.finished = ended >= max(self._request.choices, len(self._choices))

    def _end(self, out: list[Delta], *, told: bool) -> None:
        """The last word was said (`told`), or the body has ended without one."""
        self._ended = True
        self.done = told
        open_choices = {index: state for index, state in self._choices.items() if not state.finished}
        missing = not self._choices or (not told and len(self._choices) < self._request.choices)
        if missing or (open_choices and not (told and all(state.calls for state in open_choices.values()))):
            self._fail(ProviderFailure(FailureKind.TRUNCATED, "the answer broke off"))
            return
        for index, state in open_choices.items():
            # TGI never gives a reason to end after a tool call.
            out.append(
                self._chunk(index, {"tool_calls": owed} if (owed := state.owed_arguments()) else {}, "tool_calls")
            )
            state.finished = True
        self.finished = True
        if self.usage is not None:
            body = {**self._envelope(), "choices": [], "usage": self.usage.as_openai()}
            out.append(Delta(encode_json(body), usage_only=True))

    def _envelope(self) -> JsonObject:
        if not self._id:
            self._id = new_completion_id()
        return {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created or int(time.time()),
            "model": self._model or self._request.hub_model,
        }

    def _chunk(self, index: int, delta: JsonObject, finish_reason: str | None, text_chars: int = 0) -> Delta:
        """A chunk of our own making, with one choice."""
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        body = {**self._envelope(), "choices": [choice]}
        if self._request.wants_usage:
            body["usage"] = None
        self._text_chars += text_chars
        return Delta(encode_json(body), text_chars > 0, finish_reason is not None, text_chars=text_chars)
