"""A decision as it is kept: the whole situation and what was chosen, in one short JSON text.

Whoever reads it can make the choice again, from its own values and not from the table of that day. Left out is what is
as it mostly is: offers that nobody has asked yet, a request without wishes, a key that may all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from gateway.ask import NO_WISHES, Wishes
from gateway.routing.choice import Choice, choose
from gateway.routing.health import UNSEEN, Seen
from gateway.routing.situation import Offering, Rights, Situation


class _Decision(msgspec.Struct, omit_defaults=True):
    """The names are short, as one is written for every request."""

    offering: msgspec.Raw = msgspec.field(name="o")
    order: list[int] = msgspec.field(name="c")
    skipped: Mapping[str, str] | None = msgspec.field(default=None, name="x")
    """Provider to code; those without a key are in the offering."""
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
_decode = msgspec.json.Decoder(_Decision).decode
_decode_offering = msgspec.json.Decoder(Offering).decode


class Unreadable(ValueError):
    """What was kept is no decision that this version understands."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was kept: the situation, the order that was chosen (places in the offering), and who was left out, by the
    code of the reason."""

    situation: Situation
    order: list[int]
    skipped: Mapping[str, str]


def pack(situation: Situation, choice: Choice) -> bytes:
    seen: list[Seen | None] | None = None
    if any(one is not UNSEEN for one in situation.seen):
        seen = [None if one is UNSEEN else one for one in situation.seen]
    wishes = situation.wishes
    return _encode(
        _Decision(
            situation.packed or msgspec.Raw(_encode(situation.offering)),
            choice.order,
            _codes(choice) if choice.skipped else None,
            situation.draw,
            seen,
            situation.policy_asked,
            situation.pinned,
            None if wishes is NO_WISHES else wishes,
            situation.rights,
            situation.prompt_tokens,
            situation.max_tokens,
            situation.alias,
        )
    )


def unpack(kept: bytes) -> Decision:
    """Back again. Raises Unreadable."""
    try:
        found = _decode(kept)
        offering = _decode_offering(found.offering)
    except msgspec.DecodeError as error:
        raise Unreadable(f"not a decision that this version understands: {error}") from error
    seen = [one or UNSEEN for one in found.seen or [None] * len(offering.terms)]
    if len(seen) != len(offering.terms) or not all(0 <= place < len(seen) for place in found.order):
        raise Unreadable("a decision about other offers than it names")
    situation = Situation(
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
    return Decision(situation, found.order, found.skipped or {})


def is_the_same(decision: Decision, choice: Choice) -> bool:
    """Whether a choice is the one that was kept."""
    return choice.order == decision.order and _codes(choice) == decision.skipped


def replay(decision: Decision) -> Choice:
    """The choice, made again from the situation alone."""
    return choose(decision.situation)


def _codes(choice: Choice) -> dict[str, str]:
    return {skip.provider: skip.code for skip in choice.skipped if skip.code != "unkeyed"}
