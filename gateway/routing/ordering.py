"""In which order candidates are asked: one small function a policy. Pure; the random number is in the situation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from gateway.routing.candidate import Contender
from gateway.routing.situation import Situation

EXPLORE_SHARE: Final = 0.1
"""How often what nobody has measured yet is tried first, where others are measured."""


def ordered(fit: list[Contender], situation: Situation) -> list[Contender]:
    """More than one, by the situation's policy and wishes."""
    fit = _ORDERINGS[situation.policy](fit, situation)
    return _by_names(fit, situation.wishes.order) if situation.wishes.order else fit


def score(policy: str, one: Contender) -> float | None:
    """The figure by which a policy compares offers, for people to read; None where it has none, or is not known."""
    if policy == "cheapest":
        return one.terms.output
    if policy == "fastest":
        return one.seen.tokens_per_s
    if policy == "latency":
        return one.seen.first_content_ms
    if policy == "balanced" and one.seen.first_content_ms is not None:
        return _load(one, one.seen.first_content_ms)
    return None


def room_first(fit: list[Contender]) -> list[Contender]:
    """The same order, but those without room for one more request last: they are waited for where nobody else is."""
    full = [one for one in fit if not one.seen.has_room]
    return [one for one in fit if one.seen.has_room] + full if full else fit


def spared_last(fit: list[Contender]) -> list[Contender]:
    """The same order, but accounts near their rate limit last, so that it is not a 429 that says so."""
    spared = [one for one in fit if one.seen.spared_s > 0]
    return [one for one in fit if one.seen.spared_s <= 0] + spared if spared else fit


def _by_names(fit: list[Contender], names: Sequence[str]) -> list[Contender]:
    rank = {name: i for i, name in enumerate(names)}
    return sorted(fit, key=lambda one: rank.get(one.terms.provider, len(rank)))


def _preferred(fit: list[Contender], situation: Situation) -> list[Contender]:
    return _by_names(fit, situation.offering.order) if situation.offering.order else fit


def _cheapest(fit: list[Contender], situation: Situation) -> list[Contender]:
    def cost(one: Contender) -> tuple[int, int, int]:
        terms = one.terms
        return (1, 0, 0) if terms.output is None else (0, terms.output, terms.input or 0)

    return sorted(fit, key=cost)


def _fastest(fit: list[Contender], situation: Situation) -> list[Contender]:
    measured = [one for one in fit if one.seen.tokens_per_s is not None]
    measured.sort(key=lambda one: -(one.seen.tokens_per_s or 0.0))
    return _explored(measured, [one for one in fit if one.seen.tokens_per_s is None], situation.draw)


def _quickest(fit: list[Contender], situation: Situation) -> list[Contender]:
    measured = [one for one in fit if one.seen.first_content_ms is not None]
    measured.sort(key=lambda one: one.seen.first_content_ms or 0.0)
    return _explored(measured, [one for one in fit if one.seen.first_content_ms is None], situation.draw)


def _explored(measured: list[Contender], unmeasured: list[Contender], draw: float) -> list[Contender]:
    """The measured in their order, but now and then one of the others first: any of them, so that each gets its turn
    also while the answer of the first that was tried is not there yet."""
    share = EXPLORE_SHARE if measured else 1.0
    if not unmeasured or draw >= share:
        return measured + unmeasured
    first = int(draw / share * len(unmeasured))
    return unmeasured[first:] + unmeasured[:first] + measured


def _balanced(fit: list[Contender], situation: Situation) -> list[Contender]:
    """Power of two choices: of two drawn by weight (they may be one), the one with less work and quicker answers. Of
    whom nobody knows how quick it is, it is held to be as quick as the others are on average."""
    known = [one.seen.first_content_ms for one in fit if one.seen.first_content_ms is not None]
    typical_ms = sum(known) / len(known) if known else 1.0

    def load(one: Contender) -> float:
        first_ms = one.seen.first_content_ms
        return _load(one, typical_ms if first_ms is None else first_ms)

    draw = situation.draw
    first = _draw_by_weight(fit, draw)
    # A second number from the same draw: its digits below the first few are as good as new.
    second = _draw_by_weight(fit, draw * 4096 % 1.0)
    best = min((first, second), key=load)
    return [best, *sorted((one for one in fit if one is not best), key=load)]


def _load(one: Contender, first_ms: float) -> float:
    return (one.seen.in_flight + 1) * first_ms


def _draw_by_weight(fit: list[Contender], draw: float) -> Contender:
    point = draw * sum([one.terms.weight for one in fit])
    for one in fit:
        point -= one.terms.weight
        if point < 0:
            return one
    return fit[-1]


_ORDERINGS: Final[dict[str, Callable[[list[Contender], Situation], list[Contender]]]] = {
    "preferred": _preferred,
    "cheapest": _cheapest,
    "fastest": _fastest,
    "latency": _quickest,
    "balanced": _balanced,
}
