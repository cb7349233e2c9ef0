"""One worker's view of an offer: the breaker, silence, refused keys, rate limits, averages; and the retry budget."""

from __future__ import annotations

import random

import pytest

from gateway.config.catalog import Breaker
from gateway.routing.health import HealthBook
from gateway.routing.retry_budget import FLOOR, RetryBudget
from providers.wire import Headers
from tests.unit.catalogs import offer

A = offer("a")
OPENS = Breaker(failures=5, percent=50, window_s=30, open_s=15)


def attempt(book: HealthBook, outcome: str, at_s: float) -> None:
    """One attempt: `x` a failure, `.` a success, `-` a failure that is not the provider's, `g` its caller left."""
    probe = book.begin(A, at_s)
    if outcome == "g":
        book.abandon(A, probe=probe)
    elif outcome != ".":
        book.fail(A, at_s, blames=outcome == "x", probe=probe)
    else:
        if probe:
            book.answered(A, at_s)
        book.succeed(A, at_s)


def book_of(outcomes: str, *, at_s: float = 0.0) -> HealthBook:
    """A book that has seen these outcomes."""
    book = HealthBook(OPENS)
    for outcome in outcomes:
        attempt(book, outcome, at_s)
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
    attempt(book, "x", 31)
    assert state(book, 31) == "closed"


def test_what_is_not_the_providers_fault_does_not_count() -> None:
    assert state(book_of("-" * 50)) == "closed"


def test_one_in_a_thousand_at_a_thousand_a_second_opens_nothing() -> None:
    chance = random.Random(11)
    book = HealthBook(OPENS)
    for i in range(120_000):
        attempt(book, "x" if chance.random() < 0.001 else ".", i / 1000)
        assert book.look(A, i / 1000).ready
    assert 0 < book.look(A, 120).error_rate < 0.005


def test_after_its_time_one_probe_is_let_through() -> None:
    book = book_of("xxxxx")
    assert not book.look(A, 14.9).ready
    assert book.look(A, 15.1).ready
    assert book.begin(A, 15.1)
    assert not book.look(A, 15.2).ready
    assert not book.look(A, 15.2).probe_free
    assert not book.begin(A, 15.2)


def test_a_good_probe_closes_and_forgets_a_bad_one_opens_again() -> None:
    book = book_of("xxxxx")
    attempt(book, "x", 16)
    assert not book.look(A, 30).ready
    attempt(book, ".", 32)
    assert state(book, 32) == "closed"
    attempt(book, "x", 32)
    assert state(book, 32) == "closed"


def test_what_opens_again_soon_takes_several_good_probes_in_a_row() -> None:
    book = book_of("xxxxx")
    attempt(book, ".", 15)
    for _ in range(5):
        attempt(book, "x", 20)
    assert not book.look(A, 29.9).ready
    for outcome, now_s in (("....x", 30), ("x", 40), ("....", 50)):
        for one in outcome:
            assert book.look(A, now_s).ready, "one at a time, each as soon as the one before was good"
            attempt(book, one, now_s)
            assert state(book, now_s) != "closed"
    attempt(book, ".", 51)
    assert state(book, 51) == "closed"


def test_what_is_well_again_is_back_as_soon_after_a_relapse() -> None:
    """It begins to be well right after a probe has failed."""
    for relapse in ("", "xxxxx"):
        book = book_of("xxxxx")
        attempt(book, "." if relapse else "x", 15)
        for one in relapse:
            attempt(book, one, 15)
        now_s = 15.0
        while state(book, now_s) != "closed":
            now_s += 0.5
            if book.look(A, now_s).ready:
                attempt(book, ".", now_s)
        assert now_s <= 15 + OPENS.open_s


def test_a_probe_that_breaks_after_its_first_content_was_none_of_the_good_ones() -> None:
    book = book_of("xxxxx")
    attempt(book, ".", 15)
    for _ in range(5):
        attempt(book, "x", 15)
    for now_s in range(30, 130, 20):
        assert book.begin(A, now_s)
        book.answered(A, now_s)
        book.fail(A, now_s + 1, blames=True)
        assert state(book, now_s + 1) == "open"


def test_a_relapse_is_forgotten_after_a_while() -> None:
    book = book_of("xxxxx")
    attempt(book, ".", 15)
    for _ in range(5):
        attempt(book, "x", 15 + 8 * OPENS.open_s)
    attempt(book, ".", 15 + 9 * OPENS.open_s)
    assert state(book, 15 + 9 * OPENS.open_s) == "closed"


def test_a_probe_closes_with_its_first_content_and_not_with_its_end() -> None:
    book = book_of("xxxxx")
    assert book.begin(A, 16)
    book.answered(A, 16.5)
    assert book.look(A, 16.5).ready
    book.fail(A, 60, blames=True)
    assert state(book, 60) == "closed"


def test_a_probe_that_tells_nothing_is_given_back() -> None:
    for outcome in "g-":
        book = book_of("xxxxx")
        attempt(book, outcome, 16)
        assert book.look(A, 16).ready


def test_a_probe_that_hangs_does_not_keep_the_next_one_waiting_for_ever() -> None:
    book = book_of("xxxxx")
    assert book.begin(A, 16)
    assert not book.look(A, 30).ready
    assert book.look(A, 31).ready
    assert book.begin(A, 31)
    book.fail(A, 32, blames=True, probe=True)
    assert state(book, 32) == "open"


def test_only_the_probe_decides_not_what_began_before_it_opened() -> None:
    book = HealthBook(OPENS)
    for _ in range(7):
        book.begin(A, 0)
    for _ in range(5):
        book.fail(A, 1, blames=True)
    book.succeed(A, 2)
    assert state(book, 2) == "open"
    assert book.begin(A, 16)
    book.fail(A, 17, blames=True)
    assert not book.look(A, 17).probe_free
    book.answered(A, 18)
    assert state(book, 18) == "closed"


def test_nobody_is_lost_count_of() -> None:
    book = HealthBook(OPENS)
    chance = random.Random(7)
    running: list[bool] = []
    for second in range(2000):
        if running and chance.random() < 0.5:
            probe = running.pop(chance.randrange(len(running)))
            ending = chance.choice(["succeed", "fail", "abandon"])
            if ending == "succeed":
                book.succeed(A, second)
            elif ending == "fail":
                book.fail(A, second, blames=True, probe=probe)
            else:
                book.abandon(A, probe=probe)
        else:
            running.append(book.begin(A, second))
        assert book.look(A, second).in_flight == len(running) == book.in_flight("a")


def test_an_account_has_room_up_to_its_bound_over_all_its_models() -> None:
    book = HealthBook(OPENS)
    one, other = (offer("a", provider_model=name, max_concurrency=2) for name in ("one", "other"))
    freed: list[str] = []
    book.on_room = freed.append
    book.begin(one, 0)
    book.hold_room("a")
    assert not book.look(other, 0).has_room
    book.free_room("a")
    assert book.look(other, 0).has_room
    book.begin(other, 0)
    assert (book.look(one, 0).has_room, book.look(offer("b", max_concurrency=1), 0).has_room) == (False, True)
    book.fail(other, 0, blames=True)
    assert book.look(one, 0).has_room
    assert freed == ["a"]


def test_silence_holds_for_the_account_until_its_end() -> None:
    book = HealthBook(OPENS)
    book.cool(A, 10.0)
    book.cool(A, 7.0)
    assert book.look(A, 4.0).cooling_s == 6.0
    assert book.look(offer("a", provider_model="other"), 4.0).cooling_s == 6.0
    assert (
        book.look(offer("again", api_key="key-of-a"), 4.0).cooling_s == 6.0
    )  # another name for the same address and key
    assert not book.admits(A, 9.99)
    assert book.look(A, 10.0).cooling_s == 0.0
    assert book.admits(A, 10.0)


def test_a_refused_key_takes_out_the_account_until_the_table_is_reloaded() -> None:
    book = HealthBook(OPENS)
    assert book.bar(A, 1, whole_account=True)
    assert not book.bar(A, 2, whole_account=True)
    assert book.look(offer("a", provider_model="other"), 1e6).barred
    assert not book.admits(A, 1e6)
    book.reloaded(1e6)
    assert not book.look(A, 1e6).barred


def test_a_model_that_the_key_may_not_use_takes_out_only_itself() -> None:
    book = HealthBook(OPENS)
    assert book.bar(A, 1, whole_account=False)
    assert book.look(A, 1).barred
    assert not book.look(offer("a", provider_model="other"), 1).barred


def limits(left: int, *, reset: str = "30s", limit: int = 100) -> Headers:
    return [
        (b"x-ratelimit-limit-requests", b"%d" % limit),
        (b"x-ratelimit-remaining-requests", b"%d" % left),
        (b"x-ratelimit-reset-requests", reset.encode()),
    ]


@pytest.mark.parametrize(
    ("left", "reset", "spared_s"), [(5, "30s", 0), (4, "30s", 30), (0, "30s", 30), (0, "6h", 60), (0, "", 5)]
)
def test_an_account_near_its_rate_limit_is_spared(left: int, reset: str, spared_s: float) -> None:
    book = HealthBook(OPENS)
    book.read_limits(A, limits(left, reset=reset), 0)
    assert book.look(A, 0).spared_s == spared_s
    assert book.look(A, 0).ready
    assert book.look(A, spared_s).spared_s == 0


def test_what_a_later_answer_says_of_the_limit_counts() -> None:
    book = HealthBook(OPENS)
    book.read_limits(A, limits(1), 0)
    book.read_limits(A, limits(90), 1)
    assert book.look(A, 1).spared_s == 0
    book.read_limits(A, limits(1), 1.04)  # too soon after there was plenty
    assert book.look(A, 1.04).spared_s == 0
    book.read_limits(A, limits(1), 1.1)
    assert book.look(A, 1.1).spared_s > 0


def test_averages_follow_and_are_forgotten() -> None:
    book = HealthBook(OPENS)
    for first_ms, tokens, took_s in ((100.0, 100, 1.0), (200.0, 400, 2.0)):
        book.begin(A, 0)
        book.succeed(A, 0, first_content_ms=first_ms, tokens=tokens, took_s=took_s)
    seen = book.look(A, 0)
    assert seen.first_content_ms == 120
    # A long answer weighs more than a short one.
    assert 100 < (seen.tokens_per_s or 0) < 200
    later = book.look(A, 300)
    assert (later.first_content_ms, later.tokens_per_s) == (None, None)


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
