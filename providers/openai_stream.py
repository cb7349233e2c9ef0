"""Reads a stream of OpenAI-like chunks: what is clean already goes on as it came, the rest is put right.

The first half is the hot path. It decides from a `ChunkView` and from what was said before, and builds nothing but
the `Delta`. Everything a provider does differently ends in the second half.
"""

from __future__ import annotations

from providers.answers import (
    CLEAN_REASONS,
    clean_envelope,
    clean_finish,
    new_call_id,
    new_completion_id,
    pair_reasoning,
    position,
    split_content,
    text_length,
)
from providers.failures import clean_message
from providers.replies import error_inside, read_reply
from providers.sse import Event
from providers.stream import CallState, ChoiceState, EventReader
from providers.views import UNREADABLE, UNSET, ChunkView, ToolCallView, decode_object, view_chunk
from providers.wire import Delta, FailureKind, JsonObject, ProviderFailure, encode_json


class OpenAIStreamReader(EventReader):
    """One stream of chunks. See `StreamReader` for what its attributes mean."""

    def _take(self, events: list[Event], out: list[Delta]) -> None:
        self._seen_events = True
        for name, data in events:
            if not name:
                try:
                    view = view_chunk(data)
                except UNREADABLE:
                    pass
                else:
                    delta = self._relayed(view, data)
                    if delta is not None:
                        out.append(delta)
                        continue
            try:
                self._event(name, data, out)
            except ProviderFailure as failure:
                self._fail(failure)
            if self.done or self.failure is not None:
                return

    def _relayed(self, view: ChunkView, data: bytes) -> Delta | None:
        """The event as it came where it is clean, else None; only then is anything remembered."""
        if (
            len(view.choices) != 1
            or b"\n" in data  # the lines of one event, joined: two events to whoever reads it next
            or view.usage is not None
            or view.error is not UNSET
            or not view.id
            or not view.model
            or view.object != "chat.completion.chunk"
            or (view.x_groq is not None and (view.x_groq.usage is not None or view.x_groq.error is not UNSET))
        ):
            return None
        choice = view.choices[0]
        delta = choice.delta
        state = self._choice(choice.index)
        reason = choice.finish_reason
        if reason is UNSET:
            return None
        if reason is not None and (reason not in CLEAN_REASONS or state.calls or delta.tool_calls):
            return None
        if delta.reasoning != delta.reasoning_content:
            return None
        if delta.role is not UNSET and (state.role_given or delta.role != "assistant"):
            return None
        if delta.tool_calls and not _are_clean(state, delta.tool_calls):
            return None

        if not self._id:
            self._stamp(view.id, view.created, view.model)
            self.upstream_id, self.reported_model = view.id, view.model
        if delta.role is not UNSET:
            state.role_given = True
        text_chars = len(delta.content or "") + len(delta.reasoning or "")
        if delta.tool_calls:
            text_chars += _note_calls(state, delta.tool_calls)
        self._text_chars += text_chars
        if reason is not None:
            self._mark_finished(state)
        return Delta(data, text_chars > 0 or bool(delta.tool_calls), reason is not None, False, text_chars)

    def _event(self, name: str, data: bytes, out: list[Delta]) -> None:
        if data.strip() == b"[DONE]":
            self._end(out, told=True)
            return
        value = decode_object(data)
        if value is None:
            if name == "error":
                text = clean_message(data[:4096].decode("utf-8", "replace"))
                raise ProviderFailure(FailureKind.ERROR_EVENT, text)
            self.skipped_events += 1
            return
        self._raise_error(name, value)
        self._note_usage(value)
        choices = value.get("choices")
        if isinstance(choices, list) and choices:
            self._tidy(value, choices, out)

    def _raise_error(self, name: str, value: JsonObject) -> None:
        """Raises ProviderFailure where the event holds an error, whatever else it holds."""
        aside = value.get("x_groq")
        told_aside = aside.get("error") if isinstance(aside, dict) else None
        if told_aside is not None:
            value = {**value, "error": told_aside}
        if value.get("error") is not None or name == "error":
            raise error_inside(self._rules, value)

    def _note_usage(self, value: JsonObject) -> None:
        """The last usable report wins: hyperbolic and novita repeat a running total in every chunk."""
        aside = value.get("x_groq")
        reported = value.get("usage")
        if reported is None and isinstance(aside, dict):
            reported = aside.get("usage")
        if reported is not None:
            self.usage = self._rules.read_usage(reported, self._request) or self.usage

    def _tidy(self, value: JsonObject, choices: list[object], out: list[Delta]) -> None:
        chunk = clean_envelope(
            value,
            kind="chat.completion.chunk",
            fallback_id=lambda: self._id or new_completion_id(),
            fallback_model=self._model or self._request.hub_model,
        )
        self._stamp(chunk["id"], chunk["created"], chunk["model"])
        if self.upstream_id is None and value.get("id") == chunk["id"]:
            self.upstream_id = chunk["id"]
        if self.reported_model is None and value.get("model") == chunk["model"]:
            self.reported_model = chunk["model"]

        text_chars, has_content, has_finish = 0, False, False
        tidy: list[JsonObject] = []
        for at, choice in enumerate(choices):
            if not isinstance(choice, dict):
                continue
            clean, chars = self._tidy_choice(choice, at)
            tidy.append(clean)
            text_chars += chars
            has_content = has_content or chars > 0 or "tool_calls" in clean["delta"]
            has_finish = has_finish or clean["finish_reason"] is not None
        if not tidy:
            return
        chunk["choices"] = tidy
        if self._request.wants_usage:
            chunk["usage"] = None
        self._text_chars += text_chars
        out.append(Delta(encode_json(chunk), has_content, has_finish, False, text_chars))

    def _tidy_choice(self, choice: JsonObject, at: int) -> tuple[JsonObject, int]:
        index = position(choice.get("index"), at)
        state = self._choice(index)
        raw = choice.get("delta")
        delta, text_chars = self._tidy_delta(state, raw if isinstance(raw, dict) else {})
        reason = clean_finish(choice.get("finish_reason"), has_tool_calls=bool(state.calls))
        if reason is not None:
            if owed := state.owed_arguments():
                delta["tool_calls"] = [*delta.get("tool_calls", ()), *owed]
                for call in state.calls.values():
                    call.has_arguments = True
            self._mark_finished(state)
        clean = {name: value for name, value in choice.items() if value is not None and name != "text"}
        clean["index"] = index
        clean["delta"] = delta
        clean["logprobs"] = self._rules.read_logprobs(choice.get("logprobs"), delta.get("content") or "")
        clean["finish_reason"] = reason
        return clean, text_chars

    def _tidy_delta(self, state: ChoiceState, delta: JsonObject) -> tuple[JsonObject, int]:
        clean = {name: value for name, value in delta.items() if value is not None}
        content, thoughts = split_content(clean.pop("content", None))
        if content is not None:
            clean["content"] = content
        # Together and TGI repeat the role in every delta, and OpenAI's own client would string them together.
        if clean.pop("role", None) is not None and not state.role_given:
            state.role_given = True
            clean["role"] = "assistant"
        text_chars = text_length(content) + len(pair_reasoning(clean, thoughts))
        calls = clean.pop("tool_calls", None)
        legacy = clean.pop("function_call", None)
        if not calls and isinstance(legacy, dict):
            calls = [{"index": 0, "function": legacy}]
        fragments, chars = _tidy_calls(state, calls)
        if fragments:
            clean["tool_calls"] = fragments
        return clean, text_chars + chars

    def _no_stream(self, body: bytes) -> ProviderFailure:
        try:
            reply = read_reply(self._rules, self._request, body)
        except ProviderFailure as failure:
            return failure
        return ProviderFailure(
            FailureKind.UNREADABLE,
            "a whole answer where a stream was asked for",
            usage=reply.usage,
            text_chars=reply.text_chars,
        )


def _are_clean(state: ChoiceState, calls: list[ToolCallView]) -> bool:
    """Whether each fragment either opens a call in full or only adds to the arguments of an open one."""
    for call in calls:
        function = call.function
        if call.index in state.calls:
            if call.id is not UNSET or function.name is not UNSET or not state.calls[call.index].named:
                return False
        elif not call.id or not function.name or call.type != "function" or function.arguments is UNSET:
            return False
    return len(calls) == 1 or len({call.index for call in calls}) == len(calls)


def _note_calls(state: ChoiceState, calls: list[ToolCallView]) -> int:
    """Remembers clean fragments; gives the length of their text."""
    text_chars = 0
    for call in calls:
        name, arguments = call.function.name or "", call.function.arguments or ""
        known = state.calls.get(call.index)
        if known is None:
            known = state.calls[call.index] = CallState(call.id or "")
        known.named = True
        known.has_arguments = known.has_arguments or bool(arguments)
        text_chars += len(name) + len(arguments)
    return text_chars


def _tidy_calls(state: ChoiceState, value: object) -> tuple[list[JsonObject], int]:
    """The fragments of one delta: id, type and name once for each call, arguments as text, never `name: null`."""
    fragments: list[JsonObject] = []
    text_chars = 0
    for at, entry in enumerate([value] if isinstance(value, dict) else value if isinstance(value, list) else []):
        if not isinstance(entry, dict):
            continue
        raw = entry.get("function")
        function: JsonObject = raw if isinstance(raw, dict) else {}
        name, arguments = function.get("name"), function.get("arguments")
        text = arguments if isinstance(arguments, str) else "" if arguments is None else encode_json(arguments).decode()
        index = _call_index(state, entry, at, opens=bool(name))
        call = state.calls.get(index)
        fragment: JsonObject = {"index": index}
        written: JsonObject = {}
        if call is None:
            call = state.calls[index] = CallState(str(entry.get("id") or "") or new_call_id())
            fragment["id"], fragment["type"] = call.id, "function"
        if not call.named and isinstance(name, str) and name:
            call.named = True
            written["name"] = name
            text_chars += len(name)
        call.has_arguments = call.has_arguments or bool(text)
        text_chars += len(text)
        written["arguments"] = text
        fragment["function"] = written
        fragments.append(fragment)
    return fragments, text_chars


def _call_index(state: ChoiceState, entry: JsonObject, at: int, *, opens: bool) -> int:
    """The call that a fragment belongs to: its `index`, else its place in the list.

    A fragment without an index that names a function under a new id opens a call of its own.
    """
    index = position(entry.get("index"), -1)
    if index >= 0:
        return index
    known = state.calls.get(at)
    if known is not None and known.named and opens and entry.get("id") not in (None, "", known.id):
        same = [i for i, call in state.calls.items() if call.id == entry["id"]]
        return same[0] if same else max(state.calls) + 1
    return at
