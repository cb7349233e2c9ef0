"""The breaker's table: what can happen at all, and what the book makes of any run of events."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from gateway.config.catalog import Breaker
from gateway.routing.breaker import PROBES_AFTER_RELAPSE, TRANSITIONS, Event, State, after, trips
from gateway.routing.health import HealthBook
from tests.unit.catalogs import offer

A = offer("a")
STEPS = st.lists(
    st.tuples(st.sampled_from(["succeed", "fail", "blameless", "abandon", "begin", "wait"]), st.integers(0, 7)),
    max_size=60,
)


def test_only_evidence_closes_and_only_evidence_opens() -> None:
    closing = {event for (before, event), state in TRANSITIONS.items() if state is State.CLOSED}
    opening = {
        event for (before, event), state in TRANSITIONS.items() if before is State.CLOSED and state is not before
    }
    assert closing == {Event.ANSWERED, Event.HEARD_CLOSED}
    assert opening == {Event.TRIPPED, Event.HEARD_OPEN}


def test_every_state_that_is_not_closed_can_be_probed_and_left() -> None:
    for state in State:
        if state is not State.CLOSED:
            probing = state if state is State.PROBING else after(state, Event.TAKEN)
            assert probing is State.PROBING
        assert after(state, Event.ANSWERED) is State.CLOSED
        assert after(state, Event.HEARD_CLOSED) is State.CLOSED


def test_what_is_not_in_the_table_changes_nothing() -> None:
    for state in State:
        for event in Event:
            if (state, event) not in TRANSITIONS:
                assert after(state, event) is state


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 20), st.integers(1, 100))
def test_it_trips_at_so_many_failures_that_are_such_a_part(ok: int, bad: int, failures: int, percent: int) -> None:
    breaker = Breaker(failures=failures, percent=percent)
    enough = bad >= failures and bad >= math.ceil((ok + bad) * percent / 100)
    assert trips(bad, ok + bad, breaker) is enough


@dataclass
class Ring:
    """Attempts under way: which of them is the probe."""

    book: HealthBook
    now_s: float = 0.0
    running: list[bool] = field(default_factory=list)

    def step(self, what: str, number: int) -> None:
        book, now_s = self.book, self.now_s
        if what == "wait":
            self.now_s += number
        elif what == "begin":
            seen = book.look(A, now_s)
            if seen.ready or (number == 0 and seen.probe_free):  # nobody else is left
                self.running.append(book.begin(A, now_s))
        elif self.running:
            probe = self.running.pop(number % len(self.running))
            if what == "succeed":
                if probe:
                    book.answered(A, now_s)
                book.succeed(A, now_s)
            elif what == "abandon":
                book.abandon(A, probe=probe)
            else:
                book.fail(A, now_s, blames=what == "fail", probe=probe)


@given(STEPS)
def test_whatever_happens_there_is_one_probe_at_a_time_and_a_way_back(steps: list[tuple[str, int]]) -> None:
    breaker = Breaker(failures=2, percent=50, window_s=10, open_s=5)
    ring = Ring(HealthBook(breaker))
    probes_begun: list[float] = []
    for what, number in steps:
        before = sum(ring.running)
        ring.step(what, number)
        if sum(ring.running) > before:
            # Not before the one under way has ended, or has taken as long as an open breaker waits.
            assert before == 0 or ring.now_s >= probes_begun[-1] + breaker.open_s
            probes_begun.append(ring.now_s)
        seen = ring.book.look(A, ring.now_s)
        assert seen.in_flight == len(ring.running)
        assert seen.ready == (seen.state in ("closed", "half_open"))
        assert 0 <= seen.ready_in_s <= breaker.open_s
    # However it stands: after `open_s` one attempt may be made; if that and at most four more are answered, all are.
    ring.now_s += breaker.open_s
    for _ in range(PROBES_AFTER_RELAPSE):
        assert ring.book.admits(A, ring.now_s)
        if ring.book.begin(A, ring.now_s):
            ring.book.answered(A, ring.now_s)
    assert ring.book.look(A, ring.now_s).state == "closed"
