"""What holds of every choice, whatever the table, the wishes and the moment: of three thousand, drawn at random."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

import pytest

from gateway.ask import Wishes
from gateway.routing.candidate import Contender
from gateway.routing.health import Seen
from gateway.routing.ordering import ordered
from gateway.routing.plan import Plan
from gateway.routing.situation import Bound, Offering, Situation, Terms
from tests.unit.decisions import random_plans

DRAWS = [(i + 0.5) / 2_003 for i in range(2_003)]


@cache
def plans() -> list[Plan]:
    return list(random_plans(3_000, seed=9))


def contenders(of: Plan) -> list[Contender]:
    """The candidates in their order."""
    return [Contender(of.situation.offering.terms[place], of.situation.seen[place], place) for place in of.choice.order]


def ceilings(situation: Situation) -> list[Bound]:
    """The organisation's and the team's."""
    rights = situation.rights
    return [bound for bound in (situation.offering.bound, rights.bound if rights else None) if bound is not None]


def classes(of: Plan) -> list[list[Contender]]:
    """The candidates in their order, parted where a new one begins: at ease, near a rate limit, full."""
    parts: dict[tuple[bool, bool], list[Contender]] = {}
    for one in contenders(of):
        parts.setdefault((not one.seen.has_room, one.seen.spared_s > 0), []).append(one)
    return list(parts.values())


def follows(policy: str) -> list[list[Contender]]:
    """Runs of candidates that were put in order by this policy alone."""
    return [
        part
        for plan in plans()
        if plan.situation.policy == policy and not plan.situation.wishes.order
        for part in classes(plan)
        if len(part) > 1
    ]


def is_rising(values: Sequence[float]) -> bool:
    return all(one <= other for one, other in pairwise(values))


def test_every_offer_is_a_candidate_once_or_left_out_with_a_reason() -> None:
    for plan in plans():
        terms = plan.situation.offering.terms
        asked = [terms[place].provider for place in plan.choice.order]
        left_out = [skip.provider for skip in plan.skipped if skip.code != "unkeyed"]
        assert sorted(asked + left_out) == sorted(one.provider for one in terms)
        assert all(skip.reason for skip in plan.skipped)


def test_no_candidate_is_dearer_than_anybody_allows() -> None:
    """Fallbacks are bound as the first one is."""
    bounded = 0
    for plan in plans():
        situation = plan.situation
        bounds = [(situation.wishes.price_input_max, situation.wishes.price_output_max)]
        bounds += [(bound.input_max, bound.output_max) for bound in ceilings(situation)]
        for input_max, output_max in bounds:
            for one in contenders(plan):
                bounded += input_max is not None or output_max is not None
                assert input_max is None or (one.terms.input is not None and one.terms.input <= input_max)
                assert output_max is None or (one.terms.output is not None and one.terms.output <= output_max)
    assert bounded > 100


def test_wishes_and_ceilings_rule_out_and_none_loosens_another() -> None:
    for plan in plans():
        narrowing: list[Wishes | Bound] = [plan.situation.wishes, *ceilings(plan.situation)]
        for said in narrowing:
            for one in contenders(plan):
                assert not said.only or one.terms.provider in said.only
                assert one.terms.provider not in said.ignore


def test_who_is_full_comes_last_and_who_is_near_a_limit_before_them() -> None:
    for plan in plans():
        assert is_rising([(not one.seen.has_room) * 2 + (one.seen.spared_s > 0) for one in contenders(plan)])


def test_wished_for_providers_come_first_in_the_order_of_the_wish() -> None:
    wished = [
        plan for plan in plans() if len(plan.situation.wishes.order) > 1 and plan.situation.wishes.allow_fallbacks
    ]
    assert len(wished) > 50
    for plan in wished:
        order = plan.situation.wishes.order
        for part in classes(plan):
            names = [one.terms.provider for one in part]
            assert is_rising([order.index(name) if name in order else len(order) for name in names])


def test_cheapest_is_the_price_of_output_and_no_price_is_dear() -> None:
    runs = follows("cheapest")
    assert len(runs) > 100
    for run in runs:
        assert is_rising([float("inf") if one.terms.output is None else one.terms.output for one in run])


@pytest.mark.parametrize(
    ("policy", "figure"),
    [
        ("fastest", lambda seen: None if seen.tokens_per_s is None else -seen.tokens_per_s),
        ("latency", lambda seen: seen.first_content_ms),
    ],
)
def test_what_is_measured_stays_in_its_order_and_keeps_together(
    policy: str, figure: Callable[[Seen], float | None]
) -> None:
    runs = follows(policy)
    assert len(runs) > 10
    for run in runs:
        figures = [figure(one.seen) for one in run]
        assert is_rising([value for value in figures if value is not None])
        assert is_rising([value is None for value in figures]) or is_rising([value is not None for value in figures])


def first_ones(policy: str, *seen: Seen, weights: Sequence[int] = ()) -> Counter[str]:
    """Who comes first how often, over all draws. Offers are named a, b, c, …"""
    terms = tuple(
        Terms(name, name, weight=weight) for name, weight in zip("abcdefgh", weights or [1] * len(seen), strict=False)
    )
    counts: Counter[str] = Counter()
    for draw in DRAWS:
        fit = [Contender(one, seen[place], place) for place, one in enumerate(terms)]
        counts[ordered(fit, Situation(Offering(terms, policy), list(seen), draw))[0].terms.provider] += 1
    return counts


@pytest.mark.parametrize("policy", ["fastest", "latency"])
def test_a_cold_start_tries_all_of_them(policy: str) -> None:
    counts = first_ones(policy, Seen(), Seen(), Seen(), Seen())
    assert len(counts) == 4
    assert max(counts.values()) - min(counts.values()) <= 2


def test_what_is_measured_leaves_a_tenth_to_what_is_not() -> None:
    fast, slow = Seen(tokens_per_s=90.0), Seen(tokens_per_s=10.0)
    counts = first_ones("fastest", slow, fast, Seen(), Seen())
    assert counts["a"] == 0
    assert counts["b"] == pytest.approx(0.9 * len(DRAWS), abs=2)
    assert counts["c"] == pytest.approx(counts["d"], abs=2)


def test_balanced_gives_a_newcomer_its_share_and_not_everything() -> None:
    known = Seen(first_content_ms=400.0, in_flight=3)
    counts = first_ones("balanced", known, known, Seen(in_flight=3), weights=[1, 1, 1])
    assert counts["c"] == pytest.approx(len(DRAWS) / 3, rel=0.1)
    counts = first_ones("balanced", known, known, Seen(in_flight=50), weights=[1, 1, 1])
    assert counts["c"] == pytest.approx(len(DRAWS) / 9, rel=0.1)  # only where both draws fell on it
