"""Who is asked, in which order, and what is said of everybody else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from gateway.ask import Ask, Wishes, split_model
from gateway.config.catalog import Catalog, Ceilings, MaxPrice, Offer, Price
from gateway.errors import Forbidden, InvalidRequest, NoProviderAvailable, NotFound
from gateway.routing.health import Seen
from gateway.routing.naming import pin, resolve
from gateway.routing.offerings import Offerings
from gateway.routing.plan import Plan, make_plan, refusal
from gateway.tenants import Budget, Principal
from providers.base import OpenAICompatible
from providers.fields import Feature
from providers.wire import ChatRequest
from tests.unit.catalogs import MODEL, TEAM, catalog, offer, principal


def ask(name: str = MODEL, **more: Any) -> Ask:
    model, suffix = split_model(name)
    return Ask(request=ChatRequest(hub_model=model, body={"messages": []}), model=model, suffix=suffix, **more)


def plan(
    of: Catalog,
    wanted: Ask | None = None,
    *,
    who: Principal | None = None,
    seen: dict[str, Seen] | None = None,
    draw: float = 0.5,
    day: str = "2026-11-23",
) -> Plan:
    wanted = wanted or ask()

    def look(one: Offer) -> Seen:
        return (seen or {}).get(one.provider.name, Seen())

    return make_plan(wanted, resolve(wanted, of), Offerings(of), who or principal(), look, day=day, draw=draw)


def names(of: Plan) -> list[str]:
    return [candidate.offer.provider.name for candidate in of.candidates]


THREE = catalog(offer("a", usd=(1, 3)), offer("b", usd=(2, 1)), offer("c", usd=None))


def test_preferred_is_the_tables_order_unless_order_says_otherwise() -> None:
    assert names(plan(THREE)) == ["a", "b", "c"]
    assert names(plan(replace(THREE, routing=replace(THREE.routing, order=("c",))))) == ["c", "a", "b"]


def test_suffixes_choose_a_policy_or_a_provider() -> None:
    assert names(plan(THREE, ask(MODEL + ":cheapest"))) == ["b", "a", "c"]
    assert names(plan(THREE, ask(MODEL + ":b"))) == ["b"]
    assert names(plan(THREE, ask("default:preferred"))) == ["a", "b", "c"]
    for wrong in (":nobody", ":b:c", ":"):
        with pytest.raises(NotFound, match=r"fastest, .*a, b, c"):
            plan(THREE, ask(MODEL + wrong))


def test_fastest_is_measured_speed_and_now_and_then_what_nobody_measured() -> None:
    seen = {"a": Seen(tokens_per_s=10.0), "b": Seen(tokens_per_s=90.0)}
    assert names(plan(THREE, ask(MODEL + ":fastest"), seen=seen)) == ["b", "a", "c"]
    assert names(plan(THREE, ask(MODEL + ":fastest"), seen=seen, draw=0.05)) == ["c", "b", "a"]


def test_balanced_shares_by_weight_and_prefers_the_less_loaded() -> None:
    of = catalog(offer("a", weight=3), offer("b", weight=1), policy="balanced")
    draws = [(i + 0.5) / 10_007 for i in range(10_007)]
    idle = [names(plan(of, draw=draw))[0] for draw in draws[::10]]
    assert 0.7 < idle.count("a") / len(idle) < 0.8
    busy = [names(plan(of, draw=draw, seen={"a": Seen(in_flight=50)}))[0] for draw in draws[::10]]
    assert 0.5 < busy.count("a") / len(busy) < 0.62


def test_wishes_bend_the_order_and_narrow_it() -> None:
    assert names(plan(THREE, ask(wishes=Wishes(order=("b", "c"))))) == ["b", "c", "a"]
    assert names(plan(THREE, ask(wishes=Wishes(only=("c", "b"))))) == ["b", "c"]
    assert names(plan(THREE, ask(wishes=Wishes(ignore=("a",))))) == ["b", "c"]
    assert names(plan(THREE, ask(wishes=Wishes(sort="price")))) == ["b", "a", "c"]
    assert names(plan(THREE, ask(wishes=Wishes(allow_fallbacks=False)))) == ["a"]


def test_without_fallbacks_the_first_is_asked_or_nobody() -> None:
    alone = ask(wishes=Wishes(order=("a",), allow_fallbacks=False))
    assert names(plan(THREE, alone, seen={"a": Seen(cooling_s=5.0)})) == []
    assert names(plan(THREE, alone, seen={"b": Seen(cooling_s=5.0)})) == ["a"]


def test_a_price_ceiling_binds_every_candidate_and_the_unpriced() -> None:
    made = plan(THREE, ask(wishes=Wishes(price_output_max=2_000_000_000)))
    assert names(made) == ["b"]
    assert {skip.provider: skip.code for skip in made.skipped} == {"a": "price", "c": "price"}


def test_dated_prices_count_from_their_day() -> None:
    dated = offer("a", prices=(Price(1, 9_000_000_000), Price(1, 1_000_000_000, from_day="2026-12-01")))
    of = catalog(dated, offer("b", usd=(1, 5)))
    assert names(plan(of, ask(MODEL + ":cheapest"), day="2026-11-30")) == ["b", "a"]
    assert names(plan(of, ask(MODEL + ":cheapest"), day="2026-12-01")) == ["a", "b"]


def test_staging_is_reached_only_by_its_name() -> None:
    of = catalog(offer("a", status="staging"), offer("b"))
    assert names(plan(of)) == ["b"]
    assert names(plan(of, ask(MODEL + ":a"))) == ["a"]


def test_what_a_provider_cannot_do_takes_it_out_with_the_reason() -> None:
    of = catalog(offer("groq", adapter="groq"), offer("b", supports={"tools": False}))
    made = plan(of, ask(features=frozenset({Feature.LOGPROBS})))
    assert names(made) == ["b"]
    assert made.skipped[0].code == "feature"
    assert "logprobs" in made.skipped[0].reason
    assert names(plan(of, ask(features=frozenset({Feature.TOOLS})))) == ["groq"]


@pytest.mark.parametrize("feature", Feature, ids=lambda feature: feature.name.lower())
def test_each_need_that_is_refused_is_said_by_name(feature: Feature) -> None:
    able, refusing = offer("able", supports={"regex": True}), offer("refusing")

    class Refusing(OpenAICompatible):
        refuses: ClassVar[Mapping[Feature, str]] = {feature: "not here"}

    unable = replace(refusing, provider=replace(refusing.provider, adapter=Refusing()))
    made = plan(catalog(unable, able), ask(features=frozenset({feature})))
    assert names(made) == ["able"]
    assert [(skip.provider, skip.code) for skip in made.skipped] == [("refusing", "feature")]
    assert made.skipped[0].reason == f"{feature.value}: not here"


@pytest.mark.parametrize(
    ("feature", "flag"),
    [
        (Feature.TOOLS, "tools"),
        (Feature.FORCED_TOOL_CHOICE, "tools"),
        (Feature.JSON_SCHEMA, "structured_output"),
        (Feature.IMAGES, "vision"),
        (Feature.LOGPROBS, "logprobs"),
        (Feature.REGEX, "regex"),
    ],
    ids=lambda value: value.name.lower() if isinstance(value, Feature) else value,
)
def test_what_a_row_of_the_table_denies_is_said_by_name(feature: Feature, flag: str) -> None:
    of = catalog(offer("without", supports={flag: False}), offer("with", supports={flag: True}))
    made = plan(of, ask(features=frozenset({feature})))
    assert names(made) == ["with"]
    assert made.skipped[0].reason == f"the model does not support {feature.value} there"


def test_what_is_too_long_is_said_in_tokens() -> None:
    of = catalog(offer("narrow", context_length=100), offer("brief", output_tokens_max=50))
    reasons = {skip.provider: skip.reason for skip in plan(of, ask(prompt_bytes=400, max_tokens=60)).skipped}
    assert reasons == {
        "narrow": "its context holds 100 tokens; prompt and max_tokens come to about 160",
        "brief": "it answers with at most 50 tokens, 60 are asked",
    }


def test_a_pinned_provider_says_for_itself_what_its_model_cannot_do() -> None:
    of = catalog(offer("groq", adapter="groq", supports={"structured_output": False}))
    assert names(plan(of, ask(MODEL + ":groq", features=frozenset({Feature.JSON_SCHEMA})))) == ["groq"]
    assert names(plan(of, ask(MODEL + ":groq", features=frozenset({Feature.LOGPROBS})))) == []


def test_a_regex_needs_a_row_that_says_so_at_a_generic_server() -> None:
    regex = ask(features=frozenset({Feature.REGEX}))
    assert names(plan(catalog(offer("a"), offer("b", supports={"regex": True})), regex)) == ["b"]


def test_length_limits_take_out_what_is_clearly_too_short() -> None:
    of = catalog(offer("a", context_length=100), offer("b", output_tokens_max=50), offer("c"))
    assert names(plan(of, ask(prompt_bytes=400, max_tokens=60))) == ["c"]


def test_teams_keys_and_the_organisation_rule_out_providers() -> None:
    assert names(plan(THREE, who=principal(providers=("b",)))) == ["b"]
    assert names(plan(THREE, who=principal(team=replace(TEAM, providers=("a",))))) == ["a"]
    ceilings = Ceilings(ignore=("a",), max_price=MaxPrice(output=1_000_000_000))
    assert names(plan(replace(THREE, routing=replace(THREE.routing, ceilings=ceilings)))) == ["b"]
    assert names(plan(replace(THREE, routing=replace(THREE.routing, unpriced="refuse")))) == ["a", "b"]


def test_a_strict_budget_never_reaches_an_offer_without_a_price() -> None:
    strict, soft = Budget(1), Budget(1, enforce="soft")
    assert names(plan(THREE, who=principal(team=replace(TEAM, budget=strict)))) == ["a", "b"]
    assert names(plan(THREE, who=principal(budget=strict))) == ["a", "b"]
    assert names(plan(THREE, who=principal(budget=soft))) == ["a", "b", "c"]


def test_a_team_may_tighten_what_the_organisation_allows() -> None:
    tight = principal(team=replace(TEAM, ceilings={"ignore": ["a"], "max_price": {"output": "2"}}))
    made = plan(THREE, who=tight)
    assert names(made) == ["b"]
    assert {skip.provider: skip.code for skip in made.skipped} == {"a": "access", "c": "access"}
    assert names(plan(THREE, who=principal(team=replace(TEAM, ceilings={"only": ["c"], "max_price": None})))) == ["c"]


def test_what_rests_is_passed_over_and_the_last_one_is_never_ejected() -> None:
    resting = Seen(state="open", ready=False, probe_free=True, ready_in_s=9)
    sooner = resting._replace(ready_in_s=3)
    assert names(plan(THREE, seen={"a": resting})) == ["b", "c"]
    assert names(plan(THREE, seen={"a": resting, "b": sooner, "c": resting})) == ["b"]
    taken = resting._replace(state="half_open", probe_free=False)
    made = plan(THREE, seen={"a": taken, "b": taken, "c": taken})
    assert names(made) == []
    assert isinstance(refusal(made), NoProviderAvailable)


def test_a_full_account_comes_last_and_is_better_than_one_that_rests() -> None:
    full, resting = Seen(has_room=False), Seen(state="open", ready=False, ready_in_s=3)
    assert names(plan(THREE, seen={"a": full})) == ["b", "c", "a"]
    assert names(plan(THREE, seen={"a": full, "b": full, "c": resting})) == ["a", "b"]
    assert names(plan(THREE, ask(wishes=Wishes(allow_fallbacks=False)), seen={"a": full})) == ["a"]


def test_an_account_near_its_rate_limit_comes_after_the_others_and_before_nobody() -> None:
    near = Seen(spared_s=9.0)
    assert names(plan(THREE, seen={"a": near})) == ["b", "c", "a"]
    assert names(plan(THREE, seen={"a": near, "b": near})) == ["c", "a", "b"]
    assert names(plan(THREE, seen={"a": near, "b": near, "c": near})) == ["a", "b", "c"]
    assert names(plan(THREE, seen={"a": near, "b": Seen(has_room=False)})) == ["c", "a", "b"]


def test_who_refused_our_key_is_out_even_where_nobody_else_is_left() -> None:
    refused = Seen(barred=True)
    assert names(plan(THREE, seen={"a": refused})) == ["b", "c"]
    made = plan(THREE, seen={"a": refused, "b": refused, "c": refused})
    assert names(made) == []
    error = refusal(made)
    assert isinstance(error, NoProviderAvailable)
    assert "refused the gateway's key" in error.message


def test_an_account_that_asked_for_silence_gets_it_even_alone() -> None:
    made = plan(catalog(offer("a")), seen={"a": Seen(cooling_s=7.0)})
    error = refusal(made)
    assert isinstance(error, NoProviderAvailable)
    assert error.retry_after_s == 7.0


@pytest.mark.parametrize(
    ("wanted", "who", "kind", "words"),
    [
        (ask(features=frozenset({Feature.MANY_CHOICES})), principal(), InvalidRequest, "n > 1"),
        (ask(wishes=Wishes(only=("z",))), principal(), InvalidRequest, "provider.only"),
        (ask(), principal(providers=("z",)), Forbidden, "may use"),
    ],
)
def test_an_empty_plan_says_why(wanted: Ask, who: Principal, kind: type[Exception], words: str) -> None:
    error = refusal(plan(catalog(offer("groq", adapter="groq")), wanted, who=who))
    assert isinstance(error, kind)
    assert words in error.message
    assert "groq" in error.message


def test_unknown_names_are_refused_with_what_would_be_right() -> None:
    with pytest.raises(NotFound, match="Did you mean 'org/model'"):
        plan(THREE, ask("org/modle"))
    with pytest.raises(NotFound, match="fastest, cheapest, preferred, a, b, c"):
        plan(THREE, ask(MODEL + ":nobody"))
    with pytest.raises(NotFound, match="ABSENT_API_KEY is not set"):
        plan(THREE, ask(MODEL + ":absent"))


def test_a_pinned_refusal_speaks_of_the_pinned_one_alone() -> None:
    of = catalog(offer("groq", adapter="groq"), offer("b"))
    error = refusal(plan(of, ask(MODEL + ":groq", features=frozenset({Feature.LOGPROBS}))))
    assert isinstance(error, InvalidRequest)
    assert "b:" not in error.message


def test_providers_without_a_key_are_named_with_the_variable() -> None:
    of = catalog(offer("a"))
    model = replace(of.models[MODEL], offers=(), left_out=("absent",))
    error = refusal(plan(replace(of, models={MODEL: model})))
    assert isinstance(error, NotFound)
    assert "absent: ABSENT_API_KEY is not set" in error.message


def test_a_providers_own_route_understands_its_own_ids() -> None:
    assert pin(ask("b-model"), "b", THREE).model == MODEL
    assert pin(ask(MODEL), "b", THREE).suffix == "b"
    with pytest.raises(NotFound, match="is no provider"):
        pin(ask(), "nobody", THREE)
    with pytest.raises(InvalidRequest, match="leave one of them out"):
        pin(ask(MODEL + ":a"), "b", THREE)
