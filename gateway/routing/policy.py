"""One table: what follows from each kind of provider failure.

The only bridge from what went wrong over there (`FailureKind`) to what we do about it and what the caller sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from gateway.errors import GatewayError, InvalidRequest
from providers.wire import FailureKind, ProviderFailure


class Move(Enum):
    """Where the request goes after a failure."""

    NEXT = "next"
    """The next candidate."""
    LARGER = "larger"
    """Only a candidate with a larger context window; where there is none the caller gets the answer."""
    STOP = "stop"
    """The caller gets the answer: it is about the request, not about the provider."""


class Bar(Enum):
    """What is out, until the table is reloaded, when our key was refused."""

    ACCOUNT = "account"
    OFFER = "offer"


@dataclass(frozen=True, slots=True)
class Rule:
    """`same_offer`: it may be worth asking the same offer once more, first. `blames`: it counts against the
    provider's health. `cools`: a Retry-After with it silences the whole account. `bars`: what to ask again is of no
    use until an operator has changed something."""

    move: Move
    same_offer: bool = False
    blames: bool = True
    cools: bool = False
    bars: Bar | None = None


TIMED_OUT: Final = frozenset({FailureKind.TIMEOUT, FailureKind.DEADLINE})
"""Kinds of which a caller hears that it took too long; the provider may have been at work."""

POLICY: Final[Mapping[FailureKind, Rule]] = {
    FailureKind.BAD_REQUEST: Rule(Move.STOP, blames=False),
    FailureKind.CONTENT_FILTER: Rule(Move.STOP, blames=False),
    FailureKind.CONTEXT_OVERFLOW: Rule(Move.LARGER, blames=False),
    FailureKind.TOO_LARGE: Rule(Move.NEXT, blames=False),
    FailureKind.MODEL_OUTPUT: Rule(Move.NEXT, same_offer=True, blames=False),
    # Our own key or account is at fault: never the caller's business.
    FailureKind.AUTH: Rule(Move.NEXT, blames=False, bars=Bar.ACCOUNT),
    # Nobody can pay for it but an operator.
    FailureKind.PAYMENT: Rule(Move.NEXT, blames=False, bars=Bar.ACCOUNT),
    # The key is known, and may not use this model; others perhaps.
    FailureKind.FORBIDDEN: Rule(Move.NEXT, blames=False, bars=Bar.OFFER),
    FailureKind.NOT_FOUND: Rule(Move.NEXT),
    FailureKind.CONFLICT: Rule(Move.NEXT),
    # A provider that was silent is never asked twice.
    FailureKind.TIMEOUT: Rule(Move.NEXT),
    FailureKind.DEADLINE: Rule(Move.NEXT, blames=False),
    FailureKind.RATE_LIMITED: Rule(Move.NEXT, same_offer=True, blames=False, cools=True),
    FailureKind.OVERLOADED: Rule(Move.NEXT, same_offer=True, cools=True),
    FailureKind.SERVER_ERROR: Rule(Move.NEXT, same_offer=True),
    FailureKind.CONNECT: Rule(Move.NEXT, same_offer=True),
    FailureKind.RESET: Rule(Move.NEXT, same_offer=True),
    FailureKind.TRUNCATED: Rule(Move.NEXT),
    FailureKind.UNREADABLE: Rule(Move.NEXT),
    FailureKind.ERROR_EVENT: Rule(Move.NEXT),
}


def shown_to_caller(failure: ProviderFailure, provider: str) -> GatewayError:
    """The provider's own word about the request, in our form, the provider named."""
    code = failure.code
    if failure.kind is FailureKind.CONTEXT_OVERFLOW:
        code = "context_length_exceeded"
    elif failure.kind is FailureKind.CONTENT_FILTER:
        code = "content_filter"
    return InvalidRequest(f"{provider}: {failure.message}", code=code or "provider_refused")
