"""The choice: who is asked, in which order, and why everybody else is not. One pure function of one value, the same
for a request that is on its way and for one that is told again years later.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.routing.candidate import Contender, Skipped
from gateway.routing.fitness import unfit, unready
from gateway.routing.ordering import ordered, room_first, spared_last
from gateway.routing.situation import Situation


class Choice(NamedTuple):
    order: list[int]
    """Places in the offering, the first to be asked first."""
    skipped: list[Skipped]


def choose(situation: Situation) -> Choice:
    """The candidates, those near a rate limit and those without room for one more request last, and the reasons of all
    who are none."""
    offering, seen = situation.offering, situation.seen
    skipped: list[Skipped] = []
    if offering.left_out:
        skipped = [Skipped(name, "unkeyed", reason) for name, reason in offering.left_out.items()]
    lasting: list[Contender] = []
    for place, terms in enumerate(offering.terms):
        reason = unfit(terms, situation)
        if reason is None:
            lasting.append(Contender(terms, seen[place], place))
        else:
            skipped.append(reason)
    if not situation.wishes.allow_fallbacks and len(lasting) > 1:
        # The first in order it is, well or not: to go elsewhere is what the caller forbade.
        first, *others = ordered(lasting, situation)
        lasting = [first]
        why = f"{first.terms.provider} comes first and provider.allow_fallbacks is false"
        skipped += [Skipped(other.terms.provider, "pin", why) for other in others]
    fit: list[Contender] = []
    for one in lasting:
        reason = unready(one.terms, one.seen)
        if reason is None:
            fit.append(one)
        else:
            skipped.append(reason)
    if not fit and lasting:
        fit = _soonest(lasting, skipped)
    if len(fit) > 1:
        fit = room_first(spared_last(ordered(fit, situation)))
    return Choice([one.place for one in fit], skipped)


def _soonest(lasting: list[Contender], skipped: list[Skipped]) -> list[Contender]:
    """Nobody is left: of those whose breaker is open the soonest ready is tried, rather than nobody, as its probe."""
    resting = {skip.provider for skip in skipped if skip.code == "breaker"}
    free = [one for one in lasting if one.terms.provider in resting and one.seen.probe_free]
    if not free:
        return []
    chosen = min(free, key=lambda one: one.seen.ready_in_s)
    skipped[:] = [skip for skip in skipped if skip.provider != chosen.terms.provider]
    return [chosen]
