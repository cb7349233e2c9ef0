"""What a request may ask of the routing, and what of it no provider ever sees."""

from __future__ import annotations

import pytest

from tests.journeys.caller import ask
from tests.journeys.conftest import Town


@pytest.mark.parametrize(
    ("model", "wishes", "answered_by"),
    [
        ("acme/chat", {}, "first"),
        ("default", {}, "first"),
        ("acme/chat:second", {}, "second"),
        ("acme/chat:preferred", {}, "first"),
        ("acme/chat:cheapest", {}, "second"),
        ("acme/chat", {"only": ["third"]}, "third"),
        ("acme/chat", {"ignore": ["first"]}, "second"),
        ("acme/chat", {"order": ["third", "second"]}, "third"),
        ("acme/chat", {"sort": "price"}, "second"),
        ("acme/chat", {"max_price": {"input": 1, "output": 2}}, "second"),
    ],
)
def test_who_answers(town: Town, model: str, wishes: dict[str, object], answered_by: str) -> None:
    answer = ask(town.gateway, model=model, provider=wishes)

    assert answer.status_code == 200
    assert answer.headers["x-inference-provider"] == answered_by
    assert sum(town.asked) == 1


def test_a_pinned_provider_has_no_fallback(town: Town) -> None:
    town.second.next("503", "503")

    answer = ask(town.gateway, model="acme/chat:second")

    assert answer.status_code == 502
    assert town.first.requests == town.third.requests == 0


@pytest.mark.parametrize(
    "wishes", [{"only": ["nobody"]}, {"ignore": ["first", "second", "third"]}, {"max_price": {"input": 0.1}}]
)
def test_wishes_that_rule_out_all_are_the_callers_mistake(town: Town, wishes: dict[str, object]) -> None:
    answer = ask(town.gateway, provider=wishes)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "provider"
    assert town.asked == (0, 0, 0)


def test_a_wish_beyond_the_teams_ceiling_is_told_as_what_it_is(town: Town) -> None:
    town.gateway.key("thrifty", ceilings={"ignore": ["third"], "max_price": {"output": "2"}})

    assert ask(town.gateway, team="thrifty").headers["x-inference-provider"] == "second"
    loose = {"max_price": {"output": 6}}
    assert ask(town.gateway, team="thrifty", provider=loose).headers["x-inference-provider"] == "second"
    beyond = ask(town.gateway, team="thrifty", provider={"only": ["first", "third"]})

    assert beyond.status_code == 400
    error = beyond.json()["error"]
    assert error["param"] == "provider"
    assert "first: its output tokens cost more than the team's ceiling" in error["message"]
    assert "second: not in provider.only" in error["message"]
    assert "third: ruled out by the team's ceiling" in error["message"]


def test_max_price_binds_the_fallbacks_too(town: Town) -> None:
    town.second.next("503")

    answer = ask(town.gateway, provider={"max_price": {"input": 2}})

    assert answer.headers["x-gateway-attempts"] == "second:503,third:200"


def test_what_is_meant_for_us_stays_here(town: Town) -> None:
    answer = ask(
        town.gateway,
        provider={"order": ["first"]},
        headers={"x-gateway-tags": "project=tides,env=prod", "x-request-id": "mine"},
    )

    (served,) = town.first.ended(answer.headers["inference-id"])
    assert not [name for name in served["headers"] if "gateway" in name or "bill" in name]
    assert served["rid"].startswith(answer.headers["inference-id"])
    (entry,) = town.gateway.story(answer.headers["inference-id"])
    assert entry.tags == {"project": "tides", "env": "prod"}
    (line,) = [row for row in town.gateway.export() if row["inference_id"] == answer.headers["inference-id"]]
    assert line["tags"] == {"project": "tides", "env": "prod"}
    assert (line["team"], line["request_id"], line["cost_usd"]) == ("search", "mine", "0.000111")
