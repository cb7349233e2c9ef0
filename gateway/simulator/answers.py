"""What a simulated model says: words that echo the prompt, calls of the tools offered, JSON for a schema.

The same question always gets the same answer. One piece is one token, so that counts on the wire can be
checked by counting; the pieces joined are the text.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from gateway.simulator.ask import Ask
from gateway.simulator.regex_values import matching
from gateway.simulator.schema_values import valid_value

MESSAGE_TOKENS: Final = 4
IMAGE_TOKENS: Final = 100
CACHE_BLOCK_TOKENS: Final = 64
"""Every full block but the first counts as read from the prompt cache."""
FRAGMENT_CHARS: Final = 6
_ECHOED_WORDS: Final = 12
_FILLER_TEXT: Final = (
    "the answer of a simulated model runs on with plain words so that every count can be checked by hand "
    "and nothing in it, not even é or 日本 or 🙂, depends on luck"
)
_FILLER: Final = tuple(_FILLER_TEXT.split())
_THOUGHT: Final = "Let me think about what is asked here step by step."


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call; the fragments joined are its arguments as JSON text."""

    name: str
    fragments: tuple[str, ...]
    parameterless: bool = False

    @property
    def arguments(self) -> str:
        """The whole arguments."""
        return "".join(self.fragments)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one choice says, in pieces, and what the request cost in tokens."""

    text: tuple[str, ...]
    reasoning: tuple[str, ...]
    calls: tuple[Call, ...]
    finish: str
    """`stop`, `stop_string`, `length` or `tool_calls`."""
    prompt_tokens: int
    cached_tokens: int

    @property
    def completion_tokens(self) -> int:
        """One a piece, and one for the name of each call."""
        return len(self.text) + len(self.reasoning) + sum(1 + len(call.fragments) for call in self.calls)

    @property
    def content(self) -> str:
        """The whole text."""
        return "".join(self.text)

    @property
    def thought(self) -> str:
        """The whole reasoning."""
        return "".join(self.reasoning)


def words_of(text: str) -> tuple[str, ...]:
    """Words with the blanks before them: joined they are the text again."""
    return tuple(re.findall(r"\s*\S+|\s+$", text))


def fragments_of(text: str) -> tuple[str, ...]:
    """Equal pieces without regard to words, as arguments and JSON are streamed."""
    return tuple(text[at : at + FRAGMENT_CHARS] for at in range(0, len(text), FRAGMENT_CHARS))


def prompt_tokens(ask: Ask, image_tokens: int = IMAGE_TOKENS) -> int:
    """Words of all texts and of the tools' descriptions, some for each message and image."""
    words = sum(len(text.split()) for text in ask.texts)
    tools = sum(len(json.dumps(tool).split()) for tool in ask.tools)
    return words + tools + MESSAGE_TOKENS * ask.messages + image_tokens * ask.images


def compose(ask: Ask, *, image_tokens: int = IMAGE_TOKENS, calls_max: int | None = None) -> Answer:
    """The answer to an ask, cut at its stop strings and its cap of tokens."""
    calls = _calls(ask)[:calls_max]
    text, finish = ((), "tool_calls") if calls else _text(ask)
    prompt = prompt_tokens(ask, image_tokens)
    cached = max(prompt // CACHE_BLOCK_TOKENS - 1, 0) * CACHE_BLOCK_TOKENS
    thought = words_of(_THOUGHT) if ask.reasons else ()
    whole = Answer(text, thought, calls, finish, prompt, cached)
    return whole if ask.max_tokens is None else _capped(whole, ask.max_tokens)


def inlined(answer: Answer) -> Answer:
    """The same answer with its reasoning in `<think>` tags at the head of the text, for as many tokens."""
    if not answer.reasoning:
        return answer
    pieces = list(answer.reasoning)
    pieces[0] = f"<think>\n{pieces[0]}"
    if answer.text or answer.calls:
        pieces[-1] += "\n</think>\n\n"
    return replace(answer, text=(*pieces, *answer.text), reasoning=())


def _text(ask: Ask) -> tuple[tuple[str, ...], str]:
    if ask.regex is not None:
        return fragments_of(_rest(ask, matching(ask.regex))), "stop"
    if ask.schema is not None:
        schema = ask.schema or {"type": "object", "properties": {"answer": {"type": "string"}}}
        return fragments_of(_rest(ask, json.dumps(valid_value(schema), ensure_ascii=False))), "stop"
    echo = " ".join(ask.last_text.split()[:_ECHOED_WORDS])
    start = words_of(f"You said: {echo}." if echo else "You said nothing.")
    wanted = ask.words or len(start) + 8 + zlib.crc32(ask.last_text.encode()) % 16
    filler = (f" {_FILLER[i % len(_FILLER)]}" for i in range(max(wanted - len(start), 0)))
    text = _rest(ask, "".join((*start[:wanted], *filler)))
    ends = [text.find(stop) for stop in ask.stop if stop and stop in text]
    return (words_of(text[: min(ends)]), "stop_string") if ends else (words_of(text), "stop")


def _rest(ask: Ask, text: str) -> str:
    """What is left to say. Begun in words that this model would not have chosen, it is all still to be said."""
    return text.removeprefix(ask.begun)


def _calls(ask: Ask) -> tuple[Call, ...]:
    """A call of each tool, or of the one asked for; none once results are there, unless a call is forced."""
    if not ask.tools or ask.call == "none" or (ask.answered_tools and ask.call == "auto"):
        return ()
    tools = ask.tools
    if ask.call.startswith("name:"):
        tools = tuple(tool for tool in tools if tool.get("name") == ask.call.removeprefix("name:"))
    made = []
    for tool in tools if ask.parallel else tools[:1]:
        parameters = tool.get("parameters") or tool.get("arguments") or {}
        arguments = json.dumps(valid_value({"type": "object", **parameters}), ensure_ascii=False)
        bare = not parameters.get("properties")
        made.append(Call(str(tool.get("name")), fragments_of(arguments), parameterless=bare))
    return tuple(made)


def _capped(answer: Answer, limit: int) -> Answer:
    if answer.completion_tokens <= limit:
        return answer
    left = _Allowance(limit)
    reasoning, text = left.take(answer.reasoning), left.take(answer.text)
    calls = tuple(left.take_calls(answer.calls))
    return replace(answer, reasoning=reasoning, text=text, calls=calls, finish="length")


class _Allowance:
    """Tokens that may still be said."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    def take(self, pieces: tuple[str, ...]) -> tuple[str, ...]:
        taken = pieces[: self.tokens]
        self.tokens -= len(taken)
        return taken

    def take_calls(self, calls: tuple[Call, ...]) -> Iterator[Call]:
        for call in calls:
            if self.tokens < 1:
                return
            self.tokens -= 1
            yield replace(call, fragments=self.take(call.fragments))
