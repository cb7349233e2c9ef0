"""What providers report as usage, and what the ledger makes of it: exact where it can be believed, else estimated."""

from __future__ import annotations

import pytest

from tests.journeys.caller import ask, listen
from tests.journeys.conftest import Town

EXACT = [
    "usage-always",
    "usage-bad-total",
    "usage-in-every-chunk",
    "usage-twice",
    "usage-conflict",
    "usage-with-finish",
    "usage-first",
]
JUNK = [
    "no-usage",
    "usage-null",
    "usage-negative",
    "usage-string",
    "usage-float",
    "usage-huge",
    "usage-partial",
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", EXACT)
def test_the_last_word_of_the_provider_counts(town: Town, fault: str, stream: bool) -> None:
    town.first.next(fault)

    answer = ask(town.gateway, stream=stream)

    assert answer.status_code == 200
    (entry,) = town.gateway.story(answer.headers["inference-id"])
    assert (entry.prompt_tokens, entry.completion_tokens, entry.estimated) == (5, 16, False)
    assert entry.charge_nano_usd == 5 * 3_000 + 16 * 6_000


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", JUNK)
def test_what_is_no_usage_is_estimated_and_says_so(town: Town, fault: str, stream: bool) -> None:
    town.first.next(fault)

    answer = ask(town.gateway, stream=stream)

    assert answer.status_code == 200
    (entry,) = town.gateway.story(answer.headers["inference-id"])
    assert entry.estimated
    assert 3 <= entry.prompt_tokens <= 8
    assert 12 <= entry.completion_tokens <= 20


@pytest.mark.parametrize("stream", [False, True])
def test_a_zero_is_a_zero(town: Town, stream: bool) -> None:
    town.first.next("usage-zero")

    answer = ask(town.gateway, stream=stream)

    (entry,) = town.gateway.story(answer.headers["inference-id"])
    assert (entry.prompt_tokens, entry.completion_tokens, entry.estimated) == (0, 0, False)
    assert entry.charge_nano_usd == 0


def test_a_plain_caller_gets_usage_even_where_the_provider_gave_none(town: Town) -> None:
    town.first.next("no-usage")

    answer = ask(town.gateway)

    assert set(answer.json()["usage"]) >= {"prompt_tokens", "completion_tokens", "total_tokens"}


@pytest.mark.parametrize("fault", ["no-usage", "usage-null", "usage-zero", "usage-twice", "usage-in-every-chunk"])
def test_a_stream_that_asked_gets_one_usage_at_its_end(town: Town, fault: str) -> None:
    town.first.next(fault)

    heard = listen(town.gateway, stream_options={"include_usage": True})

    assert heard.is_done
    assert sum(not event["choices"] for event in heard.events) <= 1
