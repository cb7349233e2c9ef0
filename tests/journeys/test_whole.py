"""`delivery: whole`: a stream is kept back until its provider has finished it. Then whatever breaks it is another
provider's to put right, and the caller gets a whole answer or an error, never a half."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.journeys.caller import Heard, ask, listen
from tests.journeys.conftest import Town
from tests.journeys.fault_provider import FaultProvider
from tests.journeys.gateway_process import GatewayProcess, running, table_of
from tests.journeys.test_leaving import hanging_on

FIRST_S, BETWEEN_S = 0.5, 0.4
TOWN_TIMEOUTS = {"firstToken": FIRST_S, "betweenTokens": BETWEEN_S}
BUSY_S = 2.0
"""How much later than due anything may happen on a machine that has other things to do."""
WHOLE = {"x-gateway-delivery": "whole"}

BREAKS = {
    "cut-after-3-chunks": (3, "truncated", 0.0),
    "no-finish": (16, "truncated", 0.0),
    "error-event": (2, "overloaded", 0.0),
    "huge-line-9": (1, "unreadable", 0.0),
    "hang-after-3-chunks": (3, "timeout", BETWEEN_S),
}
"""Fault by fault, the words that the provider wrote, the failure, and how long it takes to be noticed."""


def hear_whole(town: Town, **fields: Any) -> Heard:
    return listen(town.gateway, headers=WHOLE, **fields)


@pytest.mark.parametrize("fault", BREAKS)
def test_a_break_after_content_falls_back(town: Town, fault: str) -> None:
    town.first.next(fault)
    words, failure, waited_s = BREAKS[fault]

    heard = hear_whole(town, stream_options={"include_usage": True})

    assert heard.is_done
    assert heard.error is None
    assert len(heard.text.split()) == 16
    assert heard.usage is not None
    assert (heard.usage["prompt_tokens"], heard.usage["completion_tokens"]) == (5, 16)
    assert heard.response.headers["x-gateway-attempts"] == f"first:{failure},second:200"
    assert heard.response.headers["x-inference-provider"] == "second"
    assert len({event["id"] for event in heard.events}) == 1  # nothing of the first one's answer
    assert town.asked == (1, 1, 0)
    later_s = town.second.asked_at_s(heard.inference_id) - town.first.asked_at_s(heard.inference_id)
    assert waited_s - 0.05 < later_s < waited_s + BUSY_S
    broken, served = town.gateway.story(heard.inference_id)
    assert (broken.answered, broken.charge_nano_usd, broken.failure) == (False, 0, failure)
    assert (broken.estimated, broken.unknown) == (True, False)
    assert words - 2 <= broken.completion_tokens <= words + 3
    assert broken.provider_cost_nano_usd == broken.prompt_tokens * 3_000 + broken.completion_tokens * 6_000
    assert (served.charge_nano_usd, served.estimated) == (5 * 1_000 + 16 * 2_000, False)
    told = town.gateway.told(heard.inference_id)
    assert [(one["provider"], one["failure"]) for one in told["attempts"]] == [("first", failure), ("second", None)]
    assert (told["failed"], told["cost_usd"], told["completion_tokens"]) == (False, "0.000037", 16)


def test_where_all_break_the_caller_gets_an_error_and_owes_nothing(town: Town) -> None:
    for provider in town.providers:
        provider.next("cut-after-3-chunks")

    heard = hear_whole(town)

    assert heard.status == 502
    assert heard.response.headers["content-type"] == "application/json"
    assert json.loads(heard.raw)["error"]["code"] == "all_providers_failed"
    assert heard.response.headers["x-gateway-attempts"] == "first:truncated,second:truncated,third:truncated"
    assert town.asked == (1, 1, 1)
    story = town.gateway.story(heard.inference_id)
    assert [entry.charge_nano_usd for entry in story] == [0, 0, 0]
    assert all(entry.estimated and entry.provider_cost_nano_usd for entry in story)
    assert town.gateway.told(heard.inference_id)["cost_usd"] == "0"


def test_nothing_goes_out_before_the_end(town: Town) -> None:
    town.first.next("gap-30ms")
    begun_s = time.monotonic()

    heard = hear_whole(town, max_tokens=20)

    assert time.monotonic() - begun_s > 20 * 0.03
    assert heard.is_done
    assert heard.response.headers["x-inference-provider"] == "first"
    (entry,) = town.gateway.story(heard.inference_id)
    assert (entry.completion_tokens, entry.estimated) == (20, False)


def test_tool_calls_and_choices_come_whole_too(town: Town) -> None:
    town.first.next("tool-calls+cut-after-3-chunks")
    town.second.next("tool-calls")

    heard = hear_whole(town, n=2)

    assert heard.is_done
    assert [choice["finish_reason"] for event in heard.events for choice in event["choices"]][-1] == "tool_calls"
    assert town.asked == (1, 1, 0)


def test_who_leaves_meanwhile_pays_for_the_prompt(town: Town) -> None:
    """Nothing was sent to it. What the provider wrote in vain is the organisation's."""
    town.first.next("gap-50ms")

    with hanging_on(town.gateway, headers=WHOLE, stream=True, max_tokens=100):
        town.first.wait_for_words(5)

    (inference_id,) = town.first.inference_ids()
    (served,) = town.first.ended(inference_id)
    assert served["outcome"] == "client_gone"
    assert served["secs"] < 5 * 0.05 + 0.25 + BUSY_S  # of the five that it would have taken
    assert town.asked == (1, 0, 0)
    (entry,) = town.gateway.story(inference_id)
    assert (entry.failure, entry.answered, entry.estimated) == ("client_gone", True, True)
    assert entry.completion_tokens > 2
    assert entry.charge_nano_usd == entry.prompt_tokens * 3_000
    assert entry.provider_cost_nano_usd == entry.prompt_tokens * 3_000 + entry.completion_tokens * 6_000
    told = town.gateway.told(inference_id)
    assert (told["state"], told["prompt_tokens"], told["completion_tokens"]) == ("left", entry.prompt_tokens, 0)


@pytest.mark.parametrize("stream", [True, False])
def test_a_word_that_means_nothing_is_refused(town: Town, stream: bool) -> None:
    answer = ask(town.gateway, headers={"x-gateway-delivery": "hole"}, stream=stream)

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == "X-Gateway-Delivery"
    assert error["message"] == "X-Gateway-Delivery: 'hole' is none of live and whole."
    assert town.asked == (0, 0, 0)


def test_a_plain_answer_is_whole_anyway(town: Town) -> None:
    assert ask(town.gateway, headers=WHOLE).json()["object"] == "chat.completion"


@dataclass(frozen=True, slots=True)
class Keeping:
    """A gateway that keeps every stream back, and says that it is alive each tenth of a second."""

    gateway: GatewayProcess
    first: FaultProvider
    second: FaultProvider


@pytest.fixture(scope="module")
def standing_keeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeping]:
    with FaultProvider() as first, FaultProvider() as second:
        table = table_of(
            {"first": first.base_url, "second": second.base_url}, routing={"delivery": "whole", "keepAlive": 0.1}
        )
        with running(tmp_path_factory.mktemp("keeping"), table) as gateway:
            yield Keeping(gateway, first, second)


@pytest.fixture
def keeping(standing_keeper: Keeping) -> Keeping:
    standing_keeper.first.reset()
    standing_keeper.second.reset()
    return standing_keeper


def test_the_table_says_so_for_all_and_comments_keep_the_connection(keeping: Keeping) -> None:
    keeping.first.next("gap-30ms+cut-after-12-chunks")

    heard = listen(keeping.gateway)

    before, _, after = heard.raw.partition(b"data: ")
    assert before == b": keep-alive\n\n" * before.count(b":")
    assert 2 <= before.count(b":") <= 5
    assert b": keep-alive" not in after
    assert heard.is_done
    assert len(heard.text.split()) == 16
    assert (keeping.first.requests, keeping.second.requests) == (1, 1)
    _, served = keeping.gateway.story(heard.inference_id)
    assert (served.answered, served.completion_tokens, served.estimated) == (True, 16, False)


def test_an_error_after_a_comment_is_the_only_event(keeping: Keeping) -> None:
    keeping.first.next("gap-30ms+cut-after-12-chunks")
    keeping.second.next("500", "500")

    heard = listen(keeping.gateway)

    assert heard.status == 200
    assert heard.error is not None
    assert heard.error["code"] == "all_providers_failed"
    assert len(heard.events) == 1
    assert b"[DONE]" not in heard.raw
    story = keeping.gateway.story(heard.inference_id)
    assert [entry.charge_nano_usd for entry in story] == [0] * len(story)


def test_a_request_may_ask_for_it_live(keeping: Keeping) -> None:
    keeping.first.next("cut-after-3-chunks")

    heard = listen(keeping.gateway, headers={"x-gateway-delivery": "live"})

    assert heard.error is not None
    assert len(heard.text.split()) == 3
    assert (keeping.first.requests, keeping.second.requests) == (1, 0)


def test_an_answer_too_long_to_be_held_is_given_up(town: Town) -> None:
    """Five choices of seven MiB: more than 32 MiB, which is what a plain answer may have."""
    town.first.next("huge-line-7+gap-100ms")

    heard = hear_whole(town, n=5, provider={"only": ["first"]})

    assert heard.status == 502
    assert "longer than 33554432 bytes" in json.loads(heard.raw)["error"]["message"]
    (entry,) = town.gateway.story(heard.inference_id)
    assert (entry.charge_nano_usd, entry.estimated) == (0, True)
    (served,) = town.first.ended(heard.inference_id)
    assert served["outcome"] == "client_gone"
