"""An offer that may be asked, and one that may not with its reason; and what stands for an offer while it is chosen."""

from __future__ import annotations

from typing import NamedTuple

from gateway.config.catalog import Offer
from gateway.routing.health import Seen
from gateway.routing.situation import Terms


class Candidate(NamedTuple):
    """Where the request may really go."""

    offer: Offer
    seen: Seen


class Contender(NamedTuple):
    """The values behind a candidate, all that the choice looks at; `place` is its index in the offering."""

    terms: Terms
    seen: Seen
    place: int


class Skipped(NamedTuple):
    """An offer (or a provider without one) that is not asked. `code` groups the reasons."""

    provider: str
    code: str
    reason: str
    ready_in_s: float = 0.0
