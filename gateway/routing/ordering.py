"""In which order candidates are asked: one small function a policy. Pure; the random number is handed in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.ask import Ask
from gateway.config.catalog import Catalog
from gateway.routing.candidate import Candidate

EXPLORE_SHARE: Final = 0.1
"""How often `fastest` tries what nobody has measured yet."""


def ordered(fit: list[Candidate], ask: Ask, catalog: Catalog, policy: str, day: str, draw: float) -> list[Candidate]:
    if len(fit) > 1:
        fit = _ORDERINGS[policy](fit, catalog, day, draw)
        if ask.wishes.order:
            fit = _by_names(fit, ask.wishes.order)
    return fit


def _by_names(fit: list[Candidate], names: Sequence[str]) -> list[Candidate]:
    rank = {name: i for i, name in enumerate(names)}
    return sorted(fit, key=lambda candidate: rank.get(candidate.offer.provider.name, len(rank)))


def _preferred(fit: list[Candidate], catalog: Catalog, day: str, draw: float) -> list[Candidate]:
    return _by_names(fit, catalog.routing.order) if catalog.routing.order else fit


def _cheapest(fit: list[Candidate], catalog: Catalog, day: str, draw: float) -> list[Candidate]:
    def cost(candidate: Candidate) -> tuple[int, int, int]:
        price = candidate.offer.price_on(day)
        return (1, 0, 0) if price is None else (0, price.output, price.input)

    return sorted(fit, key=cost)


def _fastest(fit: list[Candidate], catalog: Catalog, day: str, draw: float) -> list[Candidate]:
    unmeasured = [candidate for candidate in fit if candidate.seen.tokens_per_s is None]
    measured = sorted(
        (candidate for candidate in fit if candidate.seen.tokens_per_s is not None),
        key=lambda candidate: -(candidate.seen.tokens_per_s or 0.0),
    )
    if not measured or draw < EXPLORE_SHARE:
        return unmeasured + measured
    return measured + unmeasured


def _quickest(fit: list[Candidate], catalog: Catalog, day: str, draw: float) -> list[Candidate]:
    return sorted(fit, key=lambda candidate: candidate.seen.first_content_ms or 0.0)


def _balanced(fit: list[Candidate], catalog: Catalog, day: str, draw: float) -> list[Candidate]:
    """Power of two choices: of two drawn by weight (they may be one), the one with less work and quicker answers."""
    first = _draw_by_weight(fit, draw)
    # A second number from the same draw: its digits below the first few are as good as new.
    second = _draw_by_weight(fit, draw * 4096 % 1.0)
    best = min((first, second), key=_load)
    return [best, *sorted((candidate for candidate in fit if candidate is not best), key=_load)]


def _load(candidate: Candidate) -> float:
    return (candidate.seen.in_flight + 1) * (candidate.seen.first_content_ms or 1.0)


def _draw_by_weight(fit: list[Candidate], draw: float) -> Candidate:
    point = draw * sum(candidate.offer.weight for candidate in fit)
    for candidate in fit:
        point -= candidate.offer.weight
        if point < 0:
            return candidate
    return fit[-1]


_ORDERINGS: Final = {
    "preferred": _preferred,
    "cheapest": _cheapest,
    "fastest": _fastest,
    "latency": _quickest,
    "balanced": _balanced,
}
