"""An offer that may be asked, and one that may not with its reason."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.config.catalog import Offer
from gateway.routing.health import Seen


@dataclass(frozen=True, slots=True)
class Candidate:
    offer: Offer
    seen: Seen


@dataclass(frozen=True, slots=True)
class Skipped:
    """An offer (or a provider without one) that is not asked. `code` groups the reasons."""

    provider: str
    code: str
    reason: str
    ready_in_s: float = 0.0
