"""A request that is answered, plain and as a stream: what the caller gets, what the provider saw, what it costs."""

from __future__ import annotations

from tests.journeys.caller import ask, listen
from tests.journeys.conftest import Town


def test_a_plain_answer_is_metered_to_the_token(town: Town) -> None:
    answer = ask(town.gateway)

    assert answer.status_code == 200
    reply = answer.json()
    (served,) = town.first.ended(answer.headers["inference-id"])
    assert reply["id"] == served["id"]
    assert reply["usage"].items() >= served["usage"].items()
    assert reply["model"] == "chat"
    assert answer.headers["x-inference-provider"] == "first"
    assert answer.headers["x-gateway-attempts"] == "first:200"
    (entry,) = town.gateway.story(answer.headers["inference-id"])
    assert (entry.prompt_tokens, entry.completion_tokens) == (5, 16)
    assert entry.upstream_id == served["id"]
    assert (entry.estimated, entry.unknown) == (False, False)
    assert entry.charge_nano_usd == entry.provider_cost_nano_usd == 5 * 3_000 + 16 * 6_000
    assert town.asked == (1, 0, 0)


def test_a_stream_asks_for_usage_and_keeps_it_from_who_did_not(town: Town) -> None:
    heard = listen(town.gateway)

    assert heard.status == 200
    assert heard.is_done
    assert heard.usage is None
    assert all("error" not in event for event in heard.events)
    (served,) = town.first.ended(heard.inference_id)
    assert served["usage"]["completion_tokens"] == 16
    assert len(heard.text.split()) == 16
    (entry,) = town.gateway.story(heard.inference_id)
    assert (entry.prompt_tokens, entry.completion_tokens, entry.estimated) == (5, 16, False)


def test_a_stream_gives_usage_to_who_asked(town: Town) -> None:
    heard = listen(town.gateway, stream_options={"include_usage": True})

    (served,) = town.first.ended(heard.inference_id)
    assert heard.is_done
    assert heard.usage is not None
    assert heard.usage.items() >= served["usage"].items()
    assert heard.events[-1]["choices"] == []
