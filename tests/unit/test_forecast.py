"""What another table would have done with requests that were made."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from gateway.config.catalog import Catalog
from gateway.forecast import Forecast, forecast
from gateway.journal.entries import Intent, Refused
from gateway.records import ClosedEntry
from gateway.routing.choice import choose
from gateway.routing.health import UNSEEN
from gateway.routing.naming import resolve
from gateway.routing.offerings import Offerings
from gateway.routing.plan import make_plan
from gateway.routing.rerouting import rerouted
from tests.store.samples import entry
from tests.unit.catalogs import MODEL, catalog, offer, principal
from tests.unit.decisions import DAY, random_routes
from tests.unit.test_plan import ask

TWO = catalog(offer("a", usd=(1, 2)), offer("b", usd=(2, 4)))


def begun(inference_id: str, of: Catalog = TWO, name: str = MODEL, team: str = "t_1") -> Intent:
    wanted = ask(name)
    plan = make_plan(wanted, resolve(wanted, of), Offerings(of), principal(), lambda one: UNSEEN, day=DAY, draw=0.5)
    decision = msgspec.Raw(plan.decision())
    return Intent(inference_id, 1_000, DAY, 0, 0, team, "k", MODEL, "r", 7, 9, decision=decision, route=plan.route)


def answered(inference_id: str, provider: str, number: int = 1, **more: object) -> ClosedEntry:
    """1 000 tokens of the prompt and 500 of the answer: 2 000 µUSD at `a`, twice that at `b`."""
    cost = 2_000_000 if provider == "a" else 4_000_000
    values = {"prompt_tokens": 1_000, "completion_tokens": 500, "provider_cost_nano_usd": cost, **more}
    return entry(number, inference_id=inference_id, number=number, provider=provider, day=DAY, **values)


def failed(inference_id: str, provider: str, number: int = 1, *, last: bool = False) -> ClosedEntry:
    values = {"prompt_tokens": 0, "completion_tokens": 0, "provider_cost_nano_usd": 0, "answered": False}
    return entry(number, inference_id=inference_id, number=number, provider=provider, last=last, status=503, **values)


def planned(table: Catalog, *found: Intent | Refused | ClosedEntry, without: tuple[str, ...] = ()) -> Forecast:
    return forecast(found, Offerings(table), without=without)


def test_the_same_table_makes_every_choice_again() -> None:
    for plan, offerings in random_routes(1_000, seed=6):
        again, offers = rerouted(plan.situation, MODEL, offerings, DAY)
        assert choose(again) == plan.choice
        assert [offers[place] for place in plan.choice.order] == [one.offer for one in plan.candidates]


def test_the_same_table_changes_nothing() -> None:
    made = planned(TWO, begun("1"), answered("1", "a"), begun("2"), failed("2", "a"), answered("2", "b", 2))
    assert (made.total.moved, made.total.newly_refused, made.total.cost_delta_nano_usd) == (0, 0, 0)
    assert {name: (one.requests_before, one.requests_after) for name, one in made.providers.items()} == {
        "a": (1, 1),
        "b": (1, 1),
    }
    assert not made.teams["t_1"].is_affected


def test_a_stream_that_was_gone_on_with_costs_what_both_used() -> None:
    both = (answered("1", "a", last=False), answered("1", "b", 2, charged_for="completion"))
    made = planned(TWO, begun("1"), *both)
    assert (made.total.moved, made.total.cost_before_nano_usd, made.total.cost_delta_nano_usd) == (0, 6_000_000, 0)


def test_another_order_moves_requests_with_their_tokens_to_other_prices() -> None:
    turned = replace(TWO, routing=replace(TWO.routing, order=("b",)))
    made = planned(turned, begun("1"), answered("1", "a"), begun("2"), answered("2", "a"))
    assert made.total.moved == 2
    assert (made.providers["a"].requests_after, made.providers["b"].requests_after) == (0, 2)
    assert (made.total.cost_before_nano_usd, made.total.cost_after_nano_usd) == (4_000_000, 8_000_000)
    assert made.teams["t_1"].cost_delta_nano_usd == 4_000_000


def test_another_price_is_another_cost_though_nothing_moves() -> None:
    made = planned(catalog(offer("a", usd=(2, 2)), offer("b")), begun("1"), answered("1", "a"))
    assert (made.total.moved, made.total.cost_delta_nano_usd) == (0, 1_000_000)


def test_whoever_failed_a_request_fails_it_again() -> None:
    three = catalog(offer("b"), offer("a"), offer("c"))
    made = planned(three, begun("1"), failed("1", "a"), failed("1", "b", 2, last=True))
    assert {name: one.requests_after for name, one in made.providers.items()} == {"a": 0, "c": 1}


def test_what_nobody_offers_any_more_is_newly_refused_with_the_reason() -> None:
    gone = replace(TWO, models={}, aliases={})
    made = planned(gone, begun("1"), answered("1", "a"), begun("2"), answered("2", "a"))
    (refusal,) = made.refusals.values()
    assert (refusal.requests, refusal.example) == (2, "1")
    assert "does not exist" in refusal.reason
    assert (made.total.newly_refused, made.providers[""].requests_after) == (2, 2)
    assert (made.total.cost_before_nano_usd, made.total.cost_after_nano_usd) == (4_000_000, 0)


def test_a_pinned_provider_that_goes_takes_its_requests_along() -> None:
    made = planned(catalog(offer("b")), begun("1", name=f"{MODEL}:a"), answered("1", "a"))
    assert next(iter(made.refusals.values())).reason == f"a does not serve {MODEL}."


def test_an_alias_leads_where_the_new_table_says() -> None:
    of = replace(
        TWO, models={"org/other": replace(TWO.models[MODEL], id="org/other")}, aliases={"default": "org/other"}
    )
    assert planned(of, begun("1", name="default"), answered("1", "a")).total.newly_refused == 0
    assert planned(of, begun("1"), answered("1", "a")).total.newly_refused == 1


def test_a_provider_without_its_key_is_left_out_only_of_what_it_was_left_out_of() -> None:
    row = replace(TWO.models[MODEL], offers=TWO.models[MODEL].offers[1:], left_out=("a",))
    keyless = replace(TWO, models={MODEL: row}, left_out={"a": "A_API_KEY is not set"})
    assert planned(TWO, begun("1", keyless), answered("1", "b"), without=("a",)).total.moved == 0
    assert planned(TWO, begun("1", keyless), answered("1", "b")).total.moved == 1
    assert planned(TWO, begun("1"), answered("1", "a"), without=("a",)).total.moved == 0


def test_what_has_no_price_is_in_no_cost() -> None:
    unpriced = catalog(offer("a", usd=None))
    made = planned(
        unpriced, begun("1"), answered("1", "a"), begun("2"), answered("2", "a", provider_cost_nano_usd=None)
    )
    assert (made.unpriced, made.total.cost_before_nano_usd, made.total.cost_after_nano_usd) == (2, 0, 0)


def test_what_was_refused_or_cannot_be_read_counts_for_nothing() -> None:
    old = msgspec.structs.replace(begun("3"), decision=msgspec.Raw(b'{"model":"m"}'))
    made = planned(TWO, begun("1"), Refused("1"), old, answered("3", "a"), begun("4"))
    assert (made.total.requests_before, made.unreadable) == (1, 1)
