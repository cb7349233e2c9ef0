"""`midStream: continue` between two servers that go on as vLLM does: what the second adds is what it makes of the
fields and the text it was sent, and no script's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.journeys.caller import ask, listen
from tests.journeys.gateway_process import GatewayProcess, running, table_of
from tests.journeys.simulator_process import KEY, SimulatorProcess, simulators

WITH_USAGE: Final[dict[str, Any]] = {"stream_options": {"include_usage": True}}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two processes, each with the plain OpenAI-like server, of which `second` may be asked to go on."""

    gateway: GatewayProcess
    first: SimulatorProcess
    second: SimulatorProcess


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with ExitStack() as stack:
        first, second = (stack.enter_context(simulators()) for _ in range(2))
        able = {"supports": {"prefill": True}}
        table = json.loads(
            table_of(
                {"first": first.base_urls["openai"], "second": second.base_urls["openai"]},
                models={"acme/chat": {"first": {}, "second": able}},
                routing={"midStream": "continue"},
            )
        )
        for provider in table["providers"].values():
            provider["apiKey"] = KEY
        gateway = stack.enter_context(running(tmp_path_factory.mktemp("pair"), json.dumps(table)))
        yield Pair(gateway, first, second)


@pytest.fixture
def pair(standing: Pair) -> Pair:
    for provider in (standing.first, standing.second):
        provider.reset()
    return standing


@pytest.mark.parametrize("behaviour", ["cut_after=2", "cut_after=9", "stall_after=9", "error_after=9"])
def test_the_answer_is_the_unbroken_one_to_the_letter(pair: Pair, behaviour: str) -> None:
    unbroken = listen(pair.gateway, **WITH_USAGE)
    pair.first.behave("openai", behaviour, times=1)

    heard = listen(pair.gateway, **WITH_USAGE)

    assert heard.error is None
    assert heard.is_done
    assert heard.text == unbroken.text
    (asked,) = pair.second.requests()
    begun = asked["body"]["messages"][-1]
    assert (asked["body"]["continue_final_message"], asked["body"]["add_generation_prompt"]) == (True, False)
    assert begun["role"] == "assistant"
    assert 0 < len(begun["content"]) < len(unbroken.text)
    assert unbroken.text.startswith(begun["content"])

    broken, served = pair.gateway.story(heard.inference_id)
    assert (broken.provider, broken.charged_for, served.provider, served.charged_for) == (
        "first",
        "all",
        "second",
        "completion",
    )
    counts = pair.second.stats()["openai"]["chat"]
    assert (served.prompt_tokens, served.completion_tokens) == (counts["prompt_tokens"], counts["completion_tokens"])
    assert unbroken.usage is not None
    assert served.prompt_tokens > unbroken.usage["prompt_tokens"]
    assert len(begun["content"].split()) + served.completion_tokens == unbroken.usage["completion_tokens"]


def test_broken_at_the_last_word_nothing_is_added(pair: Pair) -> None:
    unbroken = listen(pair.gateway, **WITH_USAGE)
    assert unbroken.usage is not None
    words = unbroken.usage["completion_tokens"]
    pair.first.behave("openai", f"cut_after={words + 1}", times=1)

    heard = listen(pair.gateway)

    assert heard.is_done
    assert heard.text == unbroken.text
    (asked,) = pair.second.requests()
    assert asked["body"]["messages"][-1]["content"] == unbroken.text


def test_a_plain_answer_is_begun_anew_elsewhere(pair: Pair) -> None:
    whole = ask(pair.gateway).json()["choices"][0]["message"]["content"]
    pair.first.behave("openai", "cut_after=1", times=1)

    assert ask(pair.gateway).json()["choices"][0]["message"]["content"] == whole
    (asked,) = pair.second.requests()
    assert "continue_final_message" not in asked["body"]
