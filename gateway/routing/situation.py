"""Everything that a choice depends on, as values: what the table offers, what was seen of it, what the request wants,
what the organisation, the team and the key allow, and the random number.

The choice is a function of this and of nothing else, so whoever keeps a situation can make the choice again, without
the table of the day. The short names are those of the kept form.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.ask import NO_WISHES, Wishes
from gateway.routing.health import Seen
from providers.wire import Value


class _Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is as it mostly is takes no room."""


class Bound(_Kept, frozen=True):
    """What nobody below may loosen. Empty lists rule out nothing; prices are nano-USD per million tokens."""

    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    input_max: int | None = msgspec.field(default=None, name="in")
    output_max: int | None = msgspec.field(default=None, name="out")


class Terms(_Kept, frozen=True):
    """What the table says of an offer, so far as it matters to a request with certain needs."""

    provider: str = msgspec.field(name="p")
    provider_model: str = msgspec.field(name="m")
    input: int | None = msgspec.field(default=None, name="in")
    """Nano-USD per million tokens on the day; None where no price is known."""
    output: int | None = msgspec.field(default=None, name="out")
    status: str = msgspec.field(default="live", name="st")
    weight: int = msgspec.field(default=1, name="w")
    context_length: int | None = msgspec.field(default=None, name="ctx")
    output_tokens_max: int | None = msgspec.field(default=None, name="most")
    lacks: str | None = msgspec.field(default=None, name="no")
    """What of the needs it cannot do; a sentence."""


class Offering(_Kept, frozen=True):
    """All offers of one model on one day, in the table's order, and what the table says of the choice among them."""

    terms: tuple[Terms, ...] = msgspec.field(name="t")
    policy: str = msgspec.field(default="preferred", name="p")
    order: tuple[str, ...] = ()
    bound: Bound | None = None
    """The organisation's."""
    refuses_unpriced: bool = msgspec.field(default=False, name="priced")
    needs: tuple[str, ...] = ()
    """Names of features."""
    left_out: Mapping[str, str] = msgspec.field(default={}, name="out")
    """Providers of its row that are not served, with the reason."""


class Rights(_Kept, frozen=True):
    """What a key and the team that pays narrow."""

    providers: tuple[tuple[str, ...], ...] = msgspec.field(default=(), name="p")
    """Lists, each of which must name a provider."""
    bound: Bound | None = None
    """The team's."""
    refuses_unpriced: bool = msgspec.field(default=False, name="priced")
    strict_budget: bool = msgspec.field(default=False, name="strict")


class Situation(Value, frozen=True):
    """One request at one moment."""

    offering: Offering
    seen: list[Seen]
    """One for each of the offering's terms."""
    draw: float = 0.5
    """The random number, in [0, 1)."""
    policy_asked: str | None = None
    """By a suffix or by `provider.sort`; None: the table's."""
    pinned: str | None = None
    """The only provider that a suffix or a provider's own route asks for."""
    wishes: Wishes = NO_WISHES
    rights: Rights | None = None
    prompt_tokens: int = 0
    """A low estimate."""
    max_tokens: int = 0
    """The caller's own cap; 0: none."""
    alias: str | None = None
    """The name that was asked for, where it is not the model's own."""
    packed: msgspec.Raw | None = None
    """The offering as it is kept, where that is known already."""

    @property
    def policy(self) -> str:
        return self.policy_asked or self.offering.policy
