"""What is kept of a decision is enough to make it again, and every value of it counts."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

import pytest

from gateway.ask import Ask
from gateway.routing.decision import Decision, Unreadable, is_the_same, read_route, replay, unpack
from gateway.routing.health import UNSEEN, Seen
from gateway.routing.naming import resolve
from gateway.routing.offerings import Offerings
from gateway.routing.plan import Plan, make_plan
from gateway.routing.telling import decision_view
from providers.wire import ChatRequest
from tests.unit.catalogs import MODEL, catalog, offer, principal
from tests.unit.decisions import random_plans

DECISIONS = 10_000


def test_every_decision_is_made_again_from_what_was_kept() -> None:
    orders: set[tuple[int, ...]] = set()
    codes: set[str] = set()
    for plan in random_plans(DECISIONS, seed=1):
        kept = Decision(unpack(plan.decision()), plan.route)
        again = replay(kept)
        assert is_the_same(kept, again)
        assert again == plan.choice  # the reasons, too, word for word
        assert kept.situation == plan.situation
        route = read_route(plan.route)
        assert route.order == [one.offer.provider.name for one in plan.candidates]
        orders.add(tuple(again.order))
        codes.update(route.skipped.values())
    assert len(orders) > 400
    assert codes == {"pin", "staging", "wish", "access", "price", "feature", "barred", "cooling", "breaker"}


def changed(kept: bytes, place: int, **values: Any) -> bytes:
    """The same decision, but that something else was seen of one offer."""
    entry = json.loads(kept)
    entry.setdefault("s", [None] * len(entry["o"]["t"]))
    entry["s"][place] = list(Seen(*(entry["s"][place] or UNSEEN))._replace(**values))
    return json.dumps(entry).encode()


@pytest.mark.parametrize(
    "values",
    [
        {"ready": False, "state": "open", "ready_in_s": 9.0},
        {"cooling_s": 5.0},
        {"in_flight": 1_000},
        {"first_content_ms": 60_000.0},
        {"tokens_per_s": 1e-3},
        {"has_room": False},
        {"spared_s": 9.0},
        {"barred": True},
    ],
    ids=lambda values: next(iter(values)),
)
def test_another_health_value_in_the_entry_is_another_choice(values: dict[str, Any]) -> None:
    several = (plan for plan in random_plans(5_000, seed=6) if len(plan.candidates) > 1)
    different = 0
    for plan in islice(several, 100):
        kept = Decision(unpack(changed(plan.decision(), plan.choice.order[0], **values)), plan.route)
        different += not is_the_same(kept, replay(kept))
    assert different >= 1


def turned(plan: Plan) -> str:
    """Its route the other way round."""
    order, semicolon, skipped = plan.route.partition(";")
    return ",".join(reversed(order.split(","))) + semicolon + skipped


def test_a_kept_choice_that_was_not_made_is_found_out() -> None:
    plan = next(plan for plan in random_plans(1_000, seed=3) if len(plan.candidates) > 2)
    kept = Decision(unpack(plan.decision()), turned(plan))
    assert not is_the_same(kept, replay(kept))


def test_little_is_written_where_there_is_little_to_choose() -> None:
    of = Offerings(catalog(offer("groq", context_length=131_072, output_tokens_max=32_768)))
    ask = Ask(request=ChatRequest(hub_model=MODEL, body={}), model=MODEL)
    plan = make_plan(ask, resolve(ask, of.catalog), of, principal(), lambda one: UNSEEN, day="2026-11-24", draw=0.25)
    assert len(plan.decision()) < 140


def test_a_decision_by_other_rules_is_told_as_it_was() -> None:
    plan = next(plan for plan in random_plans(1_000, seed=4) if len(plan.candidates) > 1 and plan.skipped)
    view = decision_view(Decision(unpack(plan.decision()), turned(plan)))
    names = [candidate.offer.provider.name for candidate in plan.candidates]
    assert [candidate["provider"] for candidate in view["candidates"]] == names[::-1]
    assert all("the version that routed it" in skip["reason"] for skip in view["skipped"])


@pytest.mark.parametrize("kept", [b"null", b"{}", b'{"x":1}', b"", b'{"o":{"t":[]},"s":[null]}', b'{"o":{}}'])
def test_what_is_no_decision_is_refused(kept: bytes) -> None:
    with pytest.raises(Unreadable):
        unpack(kept)
