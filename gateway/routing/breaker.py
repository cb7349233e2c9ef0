"""The breaker of an offer: states, what may happen, and what follows, written as a table.

What stands in the table is all there is; an event that a state has no line for changes nothing. One good probe closes a
breaker. Where it opens again soon after, the provider is neither up nor down, and one probe is a throw of a coin: then
it takes several in a row, the first of them earlier, so that the way back of one that is well takes no longer.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from gateway.config.catalog import Breaker


class State(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    """It may be probed, and nobody does."""
    PROBING = "probing"
    """One attempt is under way to see how it fares; everybody else waits."""


class Event(Enum):
    TRIPPED = "tripped"
    """Failures reached the threshold."""
    WAITED = "waited"
    """`open_s` have passed since it opened, or since the probe began that has not ended yet."""
    TAKEN = "taken"
    """An attempt begins. One that finds it open was chosen though not ready: nobody else was left."""
    ANSWERED = "answered"
    """A probe was answered, and no more are wanted."""
    PASSED = "passed"
    """A probe was answered, and another one is wanted."""
    FAILED = "failed"
    """A probe failed."""
    GIVEN_BACK = "given_back"
    """A probe ended and told nothing: its caller left, or the failure was not the provider's."""
    HEARD_OPEN = "heard_open"
    """Another worker opened it later than anything known here."""
    HEARD_CLOSED = "heard_closed"
    """Another worker closed it later than anything known here."""


RELAPSE_OPENS: Final = 8
"""An opening within so many times `open_s` of the last recovery is a relapse."""
PROBES_AFTER_RELAPSE: Final = 5
"""So many good ones in a row, then, instead of one."""
WAIT_AFTER_RELAPSE: Final = 2 / 3
"""The part of `open_s` that passes before the first of them; the rest is theirs."""

TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = {
    (State.CLOSED, Event.TRIPPED): State.OPEN,
    (State.CLOSED, Event.HEARD_OPEN): State.OPEN,
    (State.OPEN, Event.WAITED): State.HALF_OPEN,
    (State.OPEN, Event.TAKEN): State.PROBING,
    (State.OPEN, Event.HEARD_CLOSED): State.CLOSED,
    (State.HALF_OPEN, Event.TAKEN): State.PROBING,
    (State.HALF_OPEN, Event.HEARD_OPEN): State.OPEN,
    (State.HALF_OPEN, Event.HEARD_CLOSED): State.CLOSED,
    (State.PROBING, Event.GIVEN_BACK): State.HALF_OPEN,
    (State.PROBING, Event.WAITED): State.HALF_OPEN,
    (State.PROBING, Event.HEARD_CLOSED): State.CLOSED,
    # A probe that took longer than `open_s` may end while another one is under way, or after: it counts all the same.
    (State.OPEN, Event.PASSED): State.HALF_OPEN,
    (State.HALF_OPEN, Event.PASSED): State.HALF_OPEN,
    (State.PROBING, Event.PASSED): State.HALF_OPEN,
    (State.OPEN, Event.ANSWERED): State.CLOSED,
    (State.OPEN, Event.FAILED): State.OPEN,
    (State.HALF_OPEN, Event.ANSWERED): State.CLOSED,
    (State.HALF_OPEN, Event.FAILED): State.OPEN,
    (State.PROBING, Event.ANSWERED): State.CLOSED,
    (State.PROBING, Event.FAILED): State.OPEN,
}


def after(state: State, event: Event) -> State:
    return TRANSITIONS.get((state, event), state)


def prevails(failures: int, attempts: int, breaker: Breaker) -> bool:
    """Whether failures are the part of the attempts that opens."""
    return failures * 100 >= attempts * breaker.percent


def trips(failures: int, attempts: int, breaker: Breaker) -> bool:
    """Whether what a window holds opens a breaker."""
    return failures >= breaker.failures and prevails(failures, attempts, breaker)


def is_relapse(since_recovery_s: float, breaker: Breaker) -> bool:
    """Whether an opening so long after the last recovery is one."""
    return since_recovery_s < RELAPSE_OPENS * breaker.open_s


def wait_s(probes: int, breaker: Breaker) -> float:
    """How long an open breaker waits that so many good probes close."""
    return breaker.open_s if probes == 1 else breaker.open_s * WAIT_AFTER_RELAPSE
