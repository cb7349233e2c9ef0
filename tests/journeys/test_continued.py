"""`midStream: continue`: a stream that breaks goes on at another provider, in the middle of the sentence. The caller
sees one answer and pays for one; each provider is booked for what it did."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tests.journeys.caller import Heard, ask, listen, listening
from tests.journeys.fault_provider import FaultProvider
from tests.journeys.gateway_process import GatewayProcess, running, table_of

BETWEEN_S = 1.0
OF_FIRST, OF_SECOND = (3_000, 6_000), (1_000, 2_000)
"""Nano-USD a token of the prompt and of the answer."""


@dataclass(frozen=True, slots=True)
class Relay:
    """Three providers for `acme/chat`, of which `second` and `third` can go on from what another began."""

    gateway: GatewayProcess
    first: FaultProvider
    second: FaultProvider
    third: FaultProvider

    @property
    def asked(self) -> tuple[int, int, int]:
        return self.first.requests, self.second.requests, self.third.requests


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    with ExitStack() as stack:
        first, second, third = (stack.enter_context(FaultProvider()) for _ in range(3))
        able = {"supports": {"prefill": True}}
        table = table_of(
            {"first": first.base_url, "second": second.base_url, "third": third.base_url},
            models={
                "acme/chat": {"first": {"pricing": {"input": "3", "output": "6"}}, "second": able, "third": able},
                "acme/unable": {"first": {}, "second": {}, "third": {"supports": {"prefill": False}}},
            },
            timeouts={"betweenTokens": BETWEEN_S},
            routing={"midStream": "continue"},
        )
        gateway = stack.enter_context(running(tmp_path_factory.mktemp("relay"), table))
        yield Relay(gateway, first, second, third)


@pytest.fixture
def relay(standing: Relay) -> Relay:
    for provider in (standing.first, standing.second, standing.third):
        provider.reset()
    return standing


def unbroken(relay: Relay) -> str:
    """What the first provider says when nothing breaks; the others say the same."""
    text = listen(relay.gateway).text
    for provider in (relay.first, relay.second, relay.third):
        provider.reset()
    return text


@pytest.mark.parametrize(
    ("fault", "failure"),
    {
        "cut-after-3-chunks": "truncated",
        "error-event": "overloaded",
        "hang-after-3-chunks": "timeout",
        "rst-after-1-chunks": "truncated",
    }.items(),
)
def test_another_goes_on_in_the_middle(relay: Relay, fault: str, failure: str) -> None:
    text = unbroken(relay)
    relay.first.next(fault)

    heard = listen(relay.gateway, stream_options={"include_usage": True})

    assert heard.error is None
    assert heard.is_done
    assert heard.text == text
    assert relay.asked == (1, 1, 0)
    chunks = [event for event in heard.events if event["choices"]]
    assert len({(event["id"], event["created"], event["model"]) for event in heard.events}) == 1
    assert [event["choices"][0]["delta"]["role"] for event in chunks if "role" in event["choices"][0]["delta"]] == [
        "assistant"
    ]
    assert [event["choices"][0]["finish_reason"] for event in chunks if event["choices"][0]["finish_reason"]] == [
        "stop"
    ]

    broken, served = relay.gateway.story(heard.inference_id)
    (truth,) = relay.second.ended(heard.inference_id)
    assert truth["begun"] > 0
    assert (broken.last, broken.answered, broken.estimated, broken.failure) == (False, True, True, failure)
    cost = broken.prompt_tokens * OF_FIRST[0] + broken.completion_tokens * OF_FIRST[1]
    assert (broken.charge_nano_usd, broken.provider_cost_nano_usd) == (cost, cost)
    assert (served.last, served.answered, served.failed, served.failure) == (True, True, False, None)
    assert (served.prompt_tokens, served.completion_tokens) == (5 + truth["begun"], 16 - truth["begun"])
    assert served.charge_nano_usd == served.completion_tokens * OF_SECOND[1]
    assert served.provider_cost_nano_usd == served.prompt_tokens * OF_SECOND[0] + served.charge_nano_usd

    said = broken.completion_tokens + served.completion_tokens
    assert heard.usage is not None
    assert (heard.usage["prompt_tokens"], heard.usage["completion_tokens"]) == (broken.prompt_tokens, said)
    told = relay.gateway.told(heard.inference_id)
    assert (told["prompt_tokens"], told["completion_tokens"]) == (broken.prompt_tokens, said)
    assert (told["state"], told["failed"], told["estimated"]) == ("answered", False, True)
    assert float(told["cost_usd"]) == pytest.approx((cost + served.completion_tokens * OF_SECOND[1]) / 1e9, abs=1e-12)
    assert [(one["provider"], one["failure"], one["answered"], one["goes_on"]) for one in told["attempts"]] == [
        ("first", failure, True, False),
        ("second", None, True, True),
    ]


def test_the_ledger_counts_one_request_and_its_prompt_once(relay: Relay) -> None:
    relay.first.next("cut-after-3-chunks")
    team = "counted"

    heard = listen(relay.gateway, team=team)

    broken, served = relay.gateway.story(heard.inference_id)
    usage = relay.gateway.http.get(f"{relay.gateway.url}/v1/usage", headers=relay.gateway.headers(team)).json()["total"]
    assert (usage["requests"], usage["failed_requests"], usage["estimated_requests"]) == (1, 0, 1)
    assert usage["prompt_tokens"] == broken.prompt_tokens
    assert usage["completion_tokens"] == broken.completion_tokens + served.completion_tokens


def test_the_story_says_who_began_and_who_ended(relay: Relay) -> None:
    relay.first.next("cut-after-3-chunks")
    heard = listen(relay.gateway)
    relay.gateway.story(heard.inference_id)

    words = relay.gateway.command("explain", "--request", heard.inference_id)

    assert "  begun by first, which broke off, and ended by second\n" in words
    assert "  second, from there on: 200, done after " in words


def test_a_second_break_goes_on_again(relay: Relay) -> None:
    text = unbroken(relay)
    relay.first.next("cut-after-3-chunks")
    relay.second.next("cut-after-4-chunks")

    heard = listen(relay.gateway, stream_options={"include_usage": True})

    assert heard.is_done
    assert heard.text == text
    assert relay.asked == (1, 1, 1)
    story = relay.gateway.story(heard.inference_id)
    assert [(entry.provider, entry.charged_for, entry.last) for entry in story] == [
        ("first", "all", False),
        ("second", "completion", False),
        ("third", "completion", True),
    ]
    assert heard.usage is not None
    assert heard.usage["completion_tokens"] == sum(entry.completion_tokens for entry in story)
    (truth,) = relay.third.ended(heard.inference_id)
    assert truth["begun"] == 7


def test_where_the_next_fails_before_it_says_a_word_the_one_after_goes_on(relay: Relay) -> None:
    text = unbroken(relay)
    relay.first.next("cut-after-3-chunks")
    relay.second.next("500")

    heard = listen(relay.gateway)

    assert heard.text == text
    assert relay.asked == (1, 1, 1)
    _, refused, served = relay.gateway.story(heard.inference_id)
    assert (refused.kind, refused.charge_nano_usd, refused.answered) == ("void", 0, False)
    assert (served.provider, served.charged_for) == ("third", "completion")


def test_the_cap_on_attempts_holds_and_the_break_is_told(relay: Relay) -> None:
    relay.first.next("cut-after-3-chunks")
    relay.second.next("cut-after-3-chunks")
    relay.third.next("cut-after-3-chunks")

    heard = listen(relay.gateway)

    assert relay.asked == (1, 1, 1)
    assert_told(heard, words=9)
    story = relay.gateway.story(heard.inference_id)
    assert [(entry.answered, entry.failed) for entry in story] == [(True, False), (True, False), (True, True)]
    assert sum(entry.charge_nano_usd or 0 for entry in story) == (
        story[0].prompt_tokens * OF_FIRST[0]
        + story[0].completion_tokens * OF_FIRST[1]
        + (story[1].completion_tokens + story[2].completion_tokens) * OF_SECOND[1]
    )


def assert_told(heard: Heard, *, words: int) -> None:
    assert heard.error is not None
    assert heard.error["code"] == "stream_broken"
    assert b"[DONE]" not in heard.raw
    assert len(heard.text.split()) == words


@pytest.mark.parametrize(
    ("fault", "fields"),
    [
        pytest.param("cut-after-3-chunks", {"model": "acme/unable"}, id="nobody can"),
        pytest.param("cut-after-3-chunks", {"n": 2}, id="two choices"),
        pytest.param("cut-after-3-chunks", {"logprobs": True}, id="logprobs"),
        pytest.param("cut-after-3-chunks", {"response_format": {"type": "json_object"}}, id="a format"),
        pytest.param("no-finish", {"max_tokens": 1}, id="nothing left to say"),
        pytest.param("tool-calls+cut-after-3-chunks", {"tools": [
            {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
        ]}, id="inside a tool call"),
    ],
)  # fmt: skip
def test_what_cannot_be_gone_on_from_ends_with_the_error(relay: Relay, fault: str, fields: dict[str, Any]) -> None:
    relay.first.next(fault)

    heard = listen(relay.gateway, **fields)

    assert heard.error is not None
    assert heard.error["code"] == "stream_broken"
    assert relay.asked == (1, 0, 0)
    (entry,) = relay.gateway.story(heard.inference_id)
    assert (entry.answered, entry.failed, entry.last, entry.estimated) == (True, True, True, True)
    assert entry.charge_nano_usd == entry.provider_cost_nano_usd


def test_a_refusal_to_go_on_ends_with_the_error_of_the_break(relay: Relay) -> None:
    relay.first.next("cut-after-3-chunks")
    relay.second.next("400")

    heard = listen(relay.gateway)

    assert_told(heard, words=3)
    assert heard.error is not None
    assert "first" in heard.error["message"]
    broken, refused = relay.gateway.story(heard.inference_id)
    assert (broken.answered, broken.last) == (True, False)
    assert (refused.kind, refused.failed, refused.charge_nano_usd) == ("void", True, 0)


def test_the_callers_own_cap_holds_for_both_together(relay: Relay) -> None:
    relay.first.next("cut-after-3-chunks")

    heard = listen(relay.gateway, max_tokens=10)

    broken, served = relay.gateway.story(heard.inference_id)
    assert broken.completion_tokens + served.completion_tokens == 10


def test_who_leaves_while_another_goes_on_pays_for_what_was_sent(relay: Relay) -> None:
    relay.first.next("cut-after-3-chunks")
    relay.second.next("gap-50ms")

    with listening(relay.gateway) as (response, chunks):
        inference_id = response.headers["inference-id"]
        seen = b""
        while seen.count(b'"content"') < 6:
            seen += next(chunks)

    (truth,) = relay.second.ended(inference_id)
    assert truth["outcome"] == "client_gone"
    broken, left = relay.gateway.story(inference_id)
    assert (left.failure, left.charged_for, left.estimated) == ("client_gone", "completion", True)
    assert left.charge_nano_usd == left.completion_tokens * OF_SECOND[1] > 0
    assert broken.charge_nano_usd == broken.provider_cost_nano_usd


def test_it_is_off_where_the_request_says_so(relay: Relay) -> None:
    relay.first.next("cut-after-3-chunks")

    heard = listen(relay.gateway, headers={"x-gateway-mid-stream": "error"})

    assert_told(heard, words=3)
    assert relay.asked == (1, 0, 0)


def test_a_word_that_means_nothing_is_refused(relay: Relay) -> None:
    answer = ask(relay.gateway, headers={"x-gateway-mid-stream": "resume"})

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "X-Gateway-Mid-Stream"
    assert relay.asked == (0, 0, 0)
