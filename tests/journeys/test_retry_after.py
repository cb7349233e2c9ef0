"""A provider that says when to come back: a short wait is waited out, a longer one silences the account."""

from __future__ import annotations

import time

from tests.journeys.caller import ask, listen
from tests.journeys.conftest import Town


def test_who_says_wait_twice_is_left_for_the_next(town: Town) -> None:
    town.first.next("429-retry-after-1", "429-retry-after-1")

    heard = listen(town.gateway)
    silent_from_s = time.monotonic()
    meanwhile = ask(town.gateway)
    # Nobody else serves this model, so the short silence is waited out, by requests that came in its middle too.
    alone = ask(town.gateway, model="acme/alone")

    assert heard.is_done
    assert heard.response.headers["x-gateway-attempts"] == "first:429,first:429,second:200"
    assert meanwhile.headers["x-gateway-attempts"] == "second:200"
    assert alone.headers["x-gateway-attempts"] == "first:200"
    assert 0.8 < time.monotonic() - silent_from_s < 1.5
    assert town.asked == (3, 2, 0)


def test_a_long_wait_silences_the_account_for_everybody(town: Town) -> None:
    town.first.next("429-retry-after-5")

    first_answer = ask(town.gateway)
    others = [ask(town.gateway) for _ in range(3)]
    alone = ask(town.gateway, model="acme/alone")

    assert first_answer.headers["x-gateway-attempts"] == "first:429,second:200"
    assert [answer.headers["x-gateway-attempts"] for answer in others] == ["second:200"] * 3
    assert town.asked == (1, 4, 0)
    assert alone.status_code == 502
    assert alone.json()["error"]["code"] == "no_provider_available"
    assert 1 <= int(alone.headers["retry-after"]) <= 5

    town.second.next("500", "500")
    failed = ask(town.gateway, provider={"only": ["first", "second"]})
    assert failed.headers["x-gateway-attempts"] == "second:500,second:500"
    assert 1 <= int(failed.headers["retry-after"]) <= 5, "the time of the one that was not even asked"
