"""The breaker as its table of transitions says, silence after Retry-After, and the retry budget."""

from __future__ import annotations

import random

from gateway.config.catalog import Breaker
from gateway.routing.health import HealthBook
from gateway.routing.retry_budget import FLOOR, RetryBudget
from tests.unit.catalogs import offer

A = offer("a")
OPENS = Breaker(failures=5, percent=50, window_s=30, open_s=15)


def book_of(outcomes: str, *, at_s: float = 0.0) -> HealthBook:
    """A book that has seen these outcomes: `x` a failure, `.` a success, `-` a failure that is not the provider's."""
    book = HealthBook(OPENS)
    for outcome in outcomes:
        book.begin(A)
        if outcome == ".":
            book.succeed(A, at_s)
        else:
            book.fail(A, at_s, blames=outcome == "x")
    return book


def state(book: HealthBook, at_s: float = 0.0) -> str:
    return book.look(A, at_s).state


def test_it_opens_at_the_threshold_and_not_before() -> None:
    assert state(book_of("xxxx")) == "closed"
    assert state(book_of("xxxxx")) == "open"


def test_it_stays_closed_while_failures_are_the_smaller_part() -> None:
    assert state(book_of("......xxxxx")) == "closed"
    assert state(book_of(".....xxxxx")) == "open"


def test_failures_outside_the_window_are_forgotten() -> None:
    book = book_of("xxxx", at_s=0)
    book.begin(A)
    book.fail(A, 31, blames=True)
    assert state(book, 31) == "closed"


def test_what_is_not_the_providers_fault_does_not_count() -> None:
    assert state(book_of("-" * 50)) == "closed"


def test_after_its_time_one_probe_is_let_through() -> None:
    book = book_of("xxxxx")
    assert not book.look(A, 14.9).ready
    assert book.look(A, 15.1).ready
    book.begin(A)
    assert not book.look(A, 15.2).ready
    assert not book.look(A, 15.2).probe_free


def test_a_good_probe_closes_and_forgets_a_bad_one_opens_again() -> None:
    book = book_of("xxxxx")
    book.look(A, 16)
    book.begin(A)
    book.fail(A, 16, blames=True)
    assert not book.look(A, 30).ready
    book.look(A, 32)
    book.begin(A)
    book.succeed(A, 32)
    assert state(book, 32) == "closed"
    book.begin(A)
    book.fail(A, 32, blames=True)
    assert state(book, 32) == "closed"


def test_a_probe_whose_caller_left_is_given_back() -> None:
    book = book_of("xxxxx")
    book.look(A, 16)
    book.begin(A)
    book.abandon(A)
    assert book.look(A, 16).ready


def test_a_probe_that_flows_is_given_back_and_still_closes_at_its_end() -> None:
    book = book_of("xxxxx")
    book.look(A, 16)
    book.begin(A)
    book.answering(A)
    assert book.look(A, 16).ready
    assert state(book, 16) == "half_open"
    book.succeed(A, 90)
    assert state(book, 90) == "closed"


def test_nobody_is_lost_count_of() -> None:
    book = HealthBook(OPENS)
    chance = random.Random(7)
    running = 0
    for second in range(2000):
        if running and chance.random() < 0.5:
            running -= 1
            ending = chance.choice(["succeed", "fail", "abandon"])
            if ending == "succeed":
                book.succeed(A, second)
            elif ending == "fail":
                book.fail(A, second, blames=True)
            else:
                book.abandon(A)
        else:
            running += 1
            book.begin(A)
        assert book.look(A, second).in_flight == running == book.in_flight("a")


def test_an_account_has_room_up_to_its_bound_over_all_its_models() -> None:
    book = HealthBook(OPENS)
    one, other = (offer("a", provider_model=name, max_concurrency=2) for name in ("one", "other"))
    freed: list[str] = []
    book.on_room = freed.append
    book.begin(one)
    book.hold_room("a")
    assert not book.look(other, 0).has_room
    book.free_room("a")
    assert book.look(other, 0).has_room
    book.begin(other)
    assert (book.look(one, 0).has_room, book.look(offer("b", max_concurrency=1), 0).has_room) == (False, True)
    book.fail(other, 0, blames=True)
    assert book.look(one, 0).has_room
    assert freed == ["a"]


def test_silence_holds_for_the_account_until_its_end() -> None:
    book = HealthBook(OPENS)
    book.cool("a", 10.0)
    book.cool("a", 7.0)
    assert book.look(A, 4.0).cooling_s == 6.0
    assert book.look(offer("a", provider_model="other"), 4.0).cooling_s == 6.0
    assert book.look(A, 10.0).cooling_s == 0.0


def test_a_quiet_gateway_may_retry_up_to_the_floor() -> None:
    budget = RetryBudget(20)
    spent = 0
    while budget.allows(0):
        budget.spend(0)
        spent += 1
    assert spent == FLOOR


def test_retries_are_a_share_of_the_last_minutes_requests() -> None:
    budget = RetryBudget(20)
    for _ in range(1000):
        budget.request(0)
    for _ in range(200):
        assert budget.allows(30)
        budget.spend(30)
    assert not budget.allows(59)
    assert not budget.allows(61)  # the requests are forgotten, their retries not yet
    assert budget.allows(91)
