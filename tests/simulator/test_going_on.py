"""The plain OpenAI-like server goes on with a message that was begun, as vLLM does when it is asked to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from gateway.simulator.server import SimulatorServer
from tests.simulator.support import HELLO, chat_url, content_of, events, good_body, last_tally, streamed_content

GO_ON = {"continue_final_message": True, "add_generation_prompt": False}
Ask = Callable[..., httpx.Response]


@pytest.fixture
def ask(server: SimulatorServer, client: httpx.Client) -> Ask:
    def post(*, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
        body = good_body("openai", **fields)
        return client.post(chat_url(server.url, "openai", body["model"]), json=body, headers=headers)

    return post


def begun(text: Any, role: str = "assistant") -> list[dict[str, Any]]:
    return [*HELLO, {"role": role, "content": text}]


def test_what_was_said_and_the_rest_are_the_whole_answer_wherever_it_was_cut(ask: Ask) -> None:
    whole = content_of(ask().json())
    for cut in range(len(whole) + 1):
        rest = ask(messages=begun(whole[:cut]), **GO_ON).json()
        assert whole[:cut] + content_of(rest) == whole
        assert rest["choices"][0]["finish_reason"] == "stop"


def test_a_stream_goes_on_with_the_same_words_as_a_plain_answer(ask: Ask) -> None:
    whole = content_of(ask().json())
    stream = ask(messages=begun(whole[:30]), stream=True, stream_options={"include_usage": True}, **GO_ON)
    assert whole[:30] + streamed_content(stream.text) == whole
    first = next(events(stream.text)).data["choices"][0]["delta"]
    assert first == {"content": "", "role": "assistant"}
    counts = last_tally(stream.text)
    plain = ask(messages=begun(whole[:30]), **GO_ON).json()["usage"]
    assert counts is not None
    assert (counts.prompt_tokens, counts.completion_tokens) == (plain["prompt_tokens"], plain["completion_tokens"])


def test_the_prompt_holds_what_was_said_and_the_answer_counts_the_rest_alone(ask: Ask) -> None:
    whole = ask().json()
    said = content_of(whole).split()[:5]
    rest = ask(messages=begun(" ".join(said)), **GO_ON).json()
    assert rest["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"] - len(said)
    closed = ask(messages=begun(" ".join(said))).json()
    assert rest["usage"]["prompt_tokens"] == closed["usage"]["prompt_tokens"]
    assert rest["usage"]["prompt_tokens"] > whole["usage"]["prompt_tokens"] + len(said)


def test_text_in_parts_is_gone_on_with_too(ask: Ask) -> None:
    whole = content_of(ask().json())
    parts = [{"type": "text", "text": whole[:10]}, {"type": "text", "text": whole[10:25]}]
    assert whole[:25] + content_of(ask(messages=begun(parts), **GO_ON).json()) == whole


def test_a_cap_and_an_ordered_length_hold_for_the_rest_and_for_the_whole(ask: Ask) -> None:
    ordered = {"x-sim-behaviour": "words=40"}
    whole = content_of(ask(headers=ordered).json())
    said = " ".join(whole.split()[:10])
    assert said + content_of(ask(headers=ordered, messages=begun(said), **GO_ON).json()) == whole
    capped = ask(headers=ordered, messages=begun(said), max_tokens=3, **GO_ON).json()
    assert content_of(capped).split() == whole.split()[10:13]
    assert capped["choices"][0]["finish_reason"] == "length"


def test_structured_text_is_gone_on_with_too(ask: Ask) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "required": ["a"]}}}
    whole = content_of(ask(response_format=form).json())
    assert whole[:3] + content_of(ask(response_format=form, messages=begun(whole[:3]), **GO_ON).json()) == whole


def test_words_that_it_would_not_have_said_get_an_answer_all_the_same(ask: Ask) -> None:
    whole = content_of(ask().json())
    assert content_of(ask(messages=begun("Rivers, in short,"), **GO_ON).json()) == whole


@pytest.mark.parametrize("fields", [{}, {"add_generation_prompt": True}, {"add_generation_prompt": False}])
def test_unasked_it_begins_anew(ask: Ask, fields: dict[str, Any]) -> None:
    whole = content_of(ask().json())
    assert content_of(ask(messages=begun(whole[:30]), **fields).json()) == whole


def test_without_a_generation_prompt_it_speaks_in_the_name_of_the_last_message(ask: Ask) -> None:
    answer = ask(**GO_ON).json()
    assert answer["choices"][0]["message"]["role"] == "user"
    stream = ask(stream=True, **GO_ON)
    assert next(events(stream.text)).data["choices"][0]["delta"]["role"] == "user"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"continue_final_message": True, "add_generation_prompt": True},
            "Cannot set both `continue_final_message` and `add_generation_prompt` to True.",
        ),
        ({"continue_final_message": True}, "continue_final_message and add_generation_prompt are not compatible."),
    ],
)
def test_a_beginning_and_a_going_on_at_once_are_refused(ask: Ask, fields: dict[str, Any], said: str) -> None:
    answer = ask(messages=begun("You"), **fields)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(said)
    assert answer.json()["error"]["code"] == 400
