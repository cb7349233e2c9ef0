"""Whatever was decided and whatever became of it can be said in sentences."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.cli.story_words import decision_words, replay_words, story_words
from gateway.journal.entries import Refused
from gateway.journal.local import Begun
from gateway.routing.decision import Decision, unpack
from gateway.routing.telling import decision_view, route_view
from gateway.story import Story
from tests.store.samples import entry
from tests.unit.decisions import random_plans
from tests.unit.test_journal_entries import INTENT


def test_every_decision_can_be_said() -> None:
    for plan in random_plans(500, seed=5):
        lines = list(decision_words(decision_view(Decision(unpack(plan.decision()), plan.route))))
        assert len([line for line in lines if line[0].isdigit()]) == len(plan.candidates)
        assert [line for line in lines if line[0] == "-"] == [f"-  {s.provider}: {s.reason}" for s in plan.skipped]
        assert not any("None" in line or "{" in line for line in lines)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "answered by groq at once"),
        ({"number": 2}, "answered by groq at once"),
        ({"failure": "client_gone"}, "left by its caller"),
        ({"failed": True, "answered": False, "failure": "timeout", "status": None}, "failed after 1 attempt\n"),
        ({"number": 0, "failed": True, "answered": False}, "failed; nobody was asked"),
        ({"last": False, "answered": False}, "not finished yet"),
        ({"cached_tokens": 7, "reasoning_tokens": 3}, "100 prompt tokens (7 of them cached), 20 of the answer (3 of"),
        ({"charge_nano_usd": None}, "nobody knows a price"),
        ({"estimated": True}, "by our own estimate"),
        ({"unknown": True, "answered": False}, "what it used is not known"),
        ({"dropped": ("seed",)}, "without seed, which it does not take"),
        ({"route": "groq,together;novita:wish"}, "The order was groq, then together."),
        ({"route": "groq,together;novita:wish"}, "Left out were novita (wish)."),
        ({"tags": {"env": "prod"}}, "tagged env=prod"),
        ({"duration_ms": 2345, "first_content_ms": 340}, "done after 2.3 s, first content at 340 ms"),
    ],
)
def test_every_end_can_be_said(fields: dict[str, Any], words: str) -> None:
    one = entry(1, **fields)
    told = story_words(Story(one, "search", [one], None).as_json(provider_costs=True))
    assert words in told
    assert "No more is kept on this host" in told


def test_what_has_only_begun_can_be_said() -> None:
    assert "not finished yet" in story_words(Story(INTENT, "a", [], Begun(INTENT)).as_json(provider_costs=True))
    refused = story_words(
        Story(INTENT, "a", [], Begun(INTENT, Refused(INTENT.inference_id))).as_json(provider_costs=True)
    )
    assert "refused by a budget or a limit" in refused


def test_a_replay_says_what_differs() -> None:
    both, nobody = route_view("a,b"), route_view(";a:wish,b:cooling")
    assert "the same: a, then b." in replay_words({"same": True, "kept": both, "again": both})
    told = replay_words({"same": False, "kept": both, "again": nobody})
    assert "it was a, then b; it is nobody, without a (wish), b (cooling)." in told
