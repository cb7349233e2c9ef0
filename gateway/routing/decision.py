"""A decision as it is kept: the whole situation in one short JSON text, and what was chosen beside it in a few words.

Whoever reads the situation can make the choice again, from its own values and not from the table of that day. Left out
is what is as it mostly is: offers that nobody has asked yet, a request without wishes, a key that may all.

The choice is its *route*: who was to be asked in which order, and who not by the code of the reason, such as
`groq,together;novita:wish`. It is short enough for the store. Providers without a key are not in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from gateway.ask import NO_WISHES, Wishes
from gateway.routing.choice import Choice, choose
from gateway.routing.health import UNSEEN, Seen
from gateway.routing.situation import Offering, Rights, Situation


class _Situation(msgspec.Struct, omit_defaults=True):
    """The names are short, as one is written for every request."""

    offering: msgspec.Raw = msgspec.field(name="o")
    draw: float = msgspec.field(default=0.5, name="d")
    seen: list[Seen | None] | None = msgspec.field(default=None, name="s")
    """None: nothing is known of it."""
    policy_asked: str | None = msgspec.field(default=None, name="p")
    pinned: str | None = msgspec.field(default=None, name="pin")
    wishes: Wishes | None = msgspec.field(default=None, name="w")
    rights: Rights | None = msgspec.field(default=None, name="r")
    prompt_tokens: int = msgspec.field(default=0, name="in")
    max_tokens: int = msgspec.field(default=0, name="max")
    alias: str | None = msgspec.field(default=None, name="a")


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Situation).decode
_decode_offering = msgspec.json.Decoder(Offering).decode


class Unreadable(ValueError):
    """What was kept is no situation that this version understands."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was kept: the situation, and the route that was chosen."""

    situation: Situation
    route: str


class Route(NamedTuple):
    """A route in its parts: providers in order, and the codes of the others' reasons."""

    order: list[str]
    skipped: dict[str, str]


def pack(situation: Situation) -> bytes:
    seen: list[Seen | None] = [None if one is UNSEEN else one for one in situation.seen]
    wishes = situation.wishes
    return _encode(
        _Situation(
            situation.packed or msgspec.Raw(_encode(situation.offering)),
            situation.draw,
            seen if any(seen) else None,
            situation.policy_asked,
            situation.pinned,
            None if wishes is NO_WISHES else wishes,
            situation.rights,
            situation.prompt_tokens,
            situation.max_tokens,
            situation.alias,
        )
    )


def unpack(kept: bytes) -> Situation:
    """Back again. Raises Unreadable."""
    try:
        found = _decode(kept)
        offering = _decode_offering(found.offering)
    except msgspec.DecodeError as error:
        raise Unreadable(f"not a situation that this version understands: {error}") from error
    seen = [one or UNSEEN for one in found.seen or [None] * len(offering.terms)]
    if len(seen) != len(offering.terms):
        raise Unreadable("not as much was seen as was offered")
    return Situation(
        offering,
        seen,
        found.draw,
        found.policy_asked,
        found.pinned,
        found.wishes or NO_WISHES,
        found.rights,
        found.prompt_tokens,
        found.max_tokens,
        found.alias,
        found.offering,
    )


def route_of(offering: Offering, choice: Choice) -> str:
    terms = offering.terms
    order = ",".join([terms[place].provider for place in choice.order])
    skipped = ",".join([f"{skip.provider}:{skip.code}" for skip in choice.skipped if skip.code != "unkeyed"])
    return f"{order};{skipped}" if skipped else order


def read_route(route: str) -> Route:
    order, _, skipped = route.partition(";")
    codes = [one.partition(":") for one in skipped.split(",") if one]
    return Route([name for name in order.split(",") if name], {name: code for name, _, code in codes})


def replay(decision: Decision) -> Choice:
    """The choice, made again from the situation alone."""
    return choose(decision.situation)


def is_the_same(decision: Decision, choice: Choice) -> bool:
    """Whether a choice is the one that was kept."""
    return route_of(decision.situation.offering, choice) == decision.route
