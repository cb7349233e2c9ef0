"""What workers make of each other's posts: together they stop at the threshold, and nothing flickers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.catalog import Breaker
from gateway.routing.health import HealthBook
from gateway.routing.health_board import Post, Standing, later
from tests.unit.catalogs import offer

A = offer("a")
OTHER = offer("a", provider_model="other")
OPENS = Breaker(failures=5, percent=50, window_s=30, open_s=15)


class Fleet:
    """Workers before one board. Their clocks are apart by `skew_s` each; `exchange` is one beat of all."""

    def __init__(self, count: int, *, stagger_s: float = 0.0, skew_s: float = 0.0) -> None:
        self.skew_s = skew_s
        self.books = [HealthBook(OPENS, stagger_s=stagger_s * i) for i in range(count)]
        self.posts: dict[int, Post] = {}
        for i, book in enumerate(self.books):
            book.clock.zero_ms = 1_000_000 - skew_s * 1000 * i

    def at(self, worker: int, now_s: float) -> float:
        """The moment by the worker's own clock."""
        return now_s + self.skew_s * worker

    def attempt(self, worker: int, outcome: str, now_s: float) -> None:
        book, now_s = self.books[worker], self.at(worker, now_s)
        probe = book.begin(A, now_s)
        if outcome == "x":
            book.fail(A, now_s, blames=True, probe=probe)
            return
        if probe:
            book.answered(A, now_s)
        book.succeed(A, now_s)

    def tell(self, worker: int, now_s: float) -> None:
        self.posts[worker] = self.books[worker].post(self.at(worker, now_s))

    def listen(self, worker: int, now_s: float) -> None:
        others = [post for name, post in self.posts.items() if name != worker]
        self.books[worker].hear(others, self.at(worker, now_s))

    def exchange(self, now_s: float) -> None:
        for worker in range(len(self.books)):
            self.tell(worker, now_s)
        for worker in range(len(self.books)):
            self.listen(worker, now_s)

    def states(self, now_s: float) -> list[str]:
        return [book.look(A, self.at(i, now_s)).state for i, book in enumerate(self.books)]


def test_failures_of_all_workers_count_together() -> None:
    fleet = Fleet(3)
    for i in range(5):
        assert set(fleet.states(i)) == {"closed"}
        fleet.attempt(i % 3, "x", i)
        fleet.exchange(i)
    assert set(fleet.states(5)) == {"open"}


def test_good_probes_of_all_workers_count_together_and_one_is_under_way_at_a_time() -> None:
    fleet = Fleet(3, stagger_s=0.2)
    for i in range(5):
        fleet.attempt(i % 3, "x", 0)
        fleet.exchange(0)
    fleet.attempt(0, ".", 15)
    fleet.exchange(15)
    for i in range(5):
        fleet.attempt(i % 3, "x", 20)
        fleet.exchange(20)
    now_s = 30.0
    for i in range(5):
        now_s += 0.5
        assert set(fleet.states(now_s)) == {"half_open"}
        prober = fleet.books[i % 3]
        assert prober.begin(A, now_s)
        fleet.exchange(now_s)
        assert not any(book.admits(A, now_s) for book in fleet.books)
        prober.answered(A, now_s)
        prober.succeed(A, now_s)
        fleet.exchange(now_s)
    assert set(fleet.states(now_s)) == {"closed"}


def test_a_host_that_alone_sees_failures_takes_the_provider_from_nobody() -> None:
    fleet = Fleet(3)
    for _ in range(20):
        fleet.attempt(0, ".", 1)
    fleet.exchange(1)
    for _ in range(5):
        fleet.attempt(1, "x", 2)
    fleet.exchange(2)
    assert fleet.states(2) == ["closed", "open", "closed"]


def test_who_was_well_follows_after_a_few_failures_of_its_own() -> None:
    fleet = Fleet(2)
    for _ in range(8):
        fleet.attempt(0, ".", 1)
    for _ in range(5):
        fleet.attempt(1, "x", 2)
    fleet.exchange(2)
    assert fleet.states(2) == ["closed", "open"]
    tried = 0
    while fleet.states(3)[0] == "closed":
        fleet.attempt(0, "x", 3)
        tried += 1
    assert tried == 3  # eight of sixteen by then: not eight: the other one's count with its own


def test_one_probes_and_all_are_back_when_it_is_answered() -> None:
    fleet = Fleet(3)
    for _ in range(5):
        fleet.attempt(0, "x", 0)
    fleet.exchange(0)
    probe = fleet.books[2].begin(A, 15)
    fleet.exchange(15)
    assert probe
    assert [book.look(A, 16).ready for book in fleet.books] == [False, False, False]
    fleet.books[2].answered(A, 16)
    fleet.exchange(16)
    assert set(fleet.states(16)) == {"closed"}


def test_with_a_stagger_the_one_that_opened_it_probes_first() -> None:
    fleet = Fleet(3, stagger_s=0.2)
    for _ in range(5):
        fleet.attempt(0, "x", 0)
    fleet.exchange(0)
    assert [book.look(A, 15.1).ready for book in fleet.books] == [True, False, False]
    for _ in range(20):
        fleet.exchange(15.1)  # what is told again is no later than it was
    assert [book.look(A, 15.3).ready for book in fleet.books] == [True, True, False]


def test_the_probe_of_a_worker_that_died_is_free_again() -> None:
    fleet = Fleet(2)
    for _ in range(5):
        fleet.attempt(0, "x", 0)
    fleet.books[0].begin(A, 15)
    fleet.exchange(15)
    assert not fleet.books[1].look(A, 16).ready
    del fleet.posts[0]
    fleet.listen(1, 19)
    assert fleet.books[1].look(A, 19).ready


def test_a_newcomer_hears_what_is_down() -> None:
    fleet = Fleet(2)
    for _ in range(5):
        fleet.attempt(0, "x", 0)
    fleet.exchange(0)
    newcomer = HealthBook(OPENS)
    newcomer.clock.zero_ms = 1_000_000
    newcomer.hear(fleet.posts.values(), 1)
    assert newcomer.look(A, 1).state == "open"


@pytest.mark.parametrize("skew_s", [0.0, 86_400.0])
def test_silence_and_refused_keys_are_everybodys(skew_s: float) -> None:
    fleet = Fleet(2, skew_s=skew_s)
    fleet.books[0].cool(A, 10)
    fleet.books[0].cool_offer(OTHER, 20)
    fleet.books[0].bar(OTHER, 0, whole_account=False)
    fleet.exchange(0)
    other, now_s = fleet.books[1], fleet.at(1, 4)
    assert other.look(A, now_s).cooling_s == pytest.approx(6)
    assert other.look(OTHER, now_s).cooling_s == pytest.approx(16)
    assert not other.look(A, now_s).barred
    assert other.look(OTHER, now_s).barred


def test_a_reload_forgets_refused_keys_though_others_have_not_reloaded_yet() -> None:
    fleet = Fleet(3)
    fleet.books[0].bar(A, 1, whole_account=True)
    fleet.exchange(1)
    assert all(book.look(A, 1).barred for book in fleet.books)
    fleet.books[1].reloaded(2)
    fleet.exchange(2)
    assert [book.look(A, 2).barred for book in fleet.books] == [True, False, True]
    fleet.books[0].reloaded(3)
    fleet.books[2].reloaded(3)
    fleet.exchange(3)
    assert not any(book.look(A, 3).barred for book in fleet.books)
    assert fleet.books[2].bar(A, 4, whole_account=True)


def test_what_is_offered_no_longer_is_forgotten_though_others_speak_of_it() -> None:
    fleet = Fleet(2)
    for _ in range(5):
        fleet.attempt(0, "x", 0)
    fleet.exchange(0)
    for book in fleet.books:
        assert book.open_breakers() == {("a", "a-model")}
        book.use_table(OPENS, [OTHER])
        fleet.exchange(1)
        assert book.open_breakers() == set()
    fleet.exchange(2)
    assert not any(post.offers for post in fleet.posts.values())


def test_an_account_near_its_limit_is_spared_by_all_until_somebody_reads_better() -> None:
    fleet = Fleet(2)
    few = [(b"x-ratelimit-limit-requests", b"100"), (b"x-ratelimit-remaining-requests", b"1")]
    fleet.books[0].read_limits(A, few, 0)
    fleet.exchange(0)
    assert fleet.books[1].look(A, 1).spared_s == pytest.approx(4)
    fleet.books[1].read_limits(A, [few[0], (b"x-ratelimit-remaining-requests", b"90")], 2)
    fleet.exchange(2)
    assert fleet.books[0].look(A, 2).spared_s == 0


def test_what_others_measured_is_better_than_nothing() -> None:
    fleet = Fleet(2)
    fleet.books[0].begin(A, 0)
    fleet.books[0].succeed(A, 0, first_content_ms=80, tokens=100, took_s=2)
    fleet.exchange(0)
    seen = fleet.books[1].look(A, 1)
    assert (seen.first_content_ms, seen.tokens_per_s) == (80, 50)


STANDINGS = st.builds(
    Standing,
    since_ms=st.integers(0, 5),
    is_open=st.booleans(),
    ready_ms=st.integers(0, 5),
    failures=st.integers(0, 10),
    attempts=st.integers(10, 20),
)


@given(STANDINGS, st.lists(STANDINGS, max_size=4))
def test_the_order_of_posts_and_their_repetition_change_nothing(own: Standing, others: list[Standing]) -> None:
    merged = {later(own, [*order, *order[:1]], OPENS) for order in permutations(others)}
    assert len(merged) == 1
    (once,) = merged
    assert later(once, others, OPENS) == once


@given(STANDINGS, st.lists(STANDINGS, max_size=4))
def test_nothing_older_is_ever_followed(own: Standing, others: list[Standing]) -> None:
    merged = later(own, others, OPENS)
    assert merged == own or (merged.since_ms, merged.is_open) > (own.since_ms, own.is_open)
    if own.is_open and any(not other.is_open and other.since_ms > own.since_ms for other in others):
        assert merged.since_ms > own.since_ms


@given(st.lists(STANDINGS, min_size=1, max_size=5))
def test_those_who_have_nothing_of_their_own_to_say_agree(posts: list[Standing]) -> None:
    """What one worker held true when it opened, any idle one follows: all end up the same."""
    posts = [post._replace(failures=post.attempts) if post.is_open else post for post in posts]
    settled = [later(Standing(), posts, OPENS)] * len(posts)
    assert all(later(one, settled, OPENS) == settled[0] for one in settled)
    assert settled[0][:2] == max(Standing(), *posts)[:2]


def run(fleet: Fleet, seed: int, healthy: Sequence[bool]) -> tuple[list[str], int]:
    """Random traffic, ten requests a second, with posts that arrive half a second late, in any order, or never. The
    states of one worker as they changed, and how many requests failed."""
    chance = random.Random(seed)
    seen, failed = ["closed"], 0
    for tick in range(len(healthy) * 10):
        now_s = tick / 10
        worker = chance.randrange(len(fleet.books))
        if fleet.books[worker].admits(A, now_s):
            well = healthy[tick // 10]
            fleet.attempt(worker, "." if well else "x", now_s)
            failed += not well
        for other in range(len(fleet.books)):
            if chance.random() < 0.2:
                fleet.tell(other, now_s)
            if chance.random() < 0.2:
                fleet.listen(other, now_s)
        state = "closed" if fleet.states(now_s)[0] == "closed" else "not closed"
        if state != seen[-1]:
            seen.append(state)
    return seen, failed


@pytest.mark.parametrize("seed", range(8))
def test_late_posts_make_nothing_flicker(seed: int) -> None:
    """One outage of twenty seconds: everybody opens once and closes once."""
    outage = [second < 10 or second >= 30 for second in range(60)]
    seen, _ = run(Fleet(4), seed, outage)
    assert seen == ["closed", "not closed", "closed"]


@pytest.mark.parametrize("seed", range(8))
def test_while_it_is_down_probes_are_all_that_reaches_it(seed: int) -> None:
    fleet = Fleet(4, stagger_s=0.25)
    seen, failed = run(fleet, seed, [False] * 75)
    assert seen == ["closed", "not closed"]
    # Four workers alone would send five each, and a probe every fifteen seconds: forty.
    assert failed <= 28


@given(st.floats(0, 100_000), st.floats(0.001, 3600))
def test_a_silence_that_was_heard_of_is_not_a_moment_shorter(now_s: float, wait_s: float) -> None:
    fleet = Fleet(2)
    fleet.books[0].cool(A, now_s + wait_s)
    fleet.exchange(now_s)
    assert fleet.books[1].look(A, now_s).cooling_s >= wait_s - 1e-6
