"""While the store is away: workers together give out no more than what was left, and only if that was known."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.grace import GRACE_S, READ_WITHIN_S, UNKNOWN, Grace
from gateway.records import Refusal, Scope

TEAM = "t_aaaaaaaaaaaa"
SCOPE = Scope("team", budget_nano_usd=10_000, budget_window="total", requests_per_minute=60, tokens_per_minute=600,
              concurrency=10)  # fmt: skip
LEFT = {"budget_nano_usd": 900, "requests": 30, "tokens": 300, "slots": 6}


@dataclass
class Worker:
    """One worker's grace, a clock of ours, and what runs there."""

    now_s: float = 1_000.0
    running: int = 0
    asked: int = 0
    granted: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.grace = Grace(lambda: self.now_s)

    def read(self, **left: int) -> None:
        self.grace.read(TEAM, [SCOPE], {SCOPE.id: {**LEFT, **left}})

    def ask(self, scope: Scope = SCOPE, *, hold: int = 100, tokens: int = 10) -> Refusal | None:
        self.asked += 1
        inference_id = f"{id(self)}-{self.asked}"
        refusal = self.grace.take(
            inference_id, TEAM, [scope], hold_nano_usd=hold, tokens=tokens, running={scope.id: self.running}
        )
        if refusal is None:
            self.running += 1
            self.granted.append(inference_id)
        return refusal

    def end(self, charged: int) -> None:
        self.running -= 1
        self.grace.end(self.granted.pop(), charged)


def reason(refusal: Refusal | None) -> str | None:
    return None if refusal is None else refusal.reason


@settings(max_examples=150, deadline=None)
@given(
    workers=st.integers(1, 5),
    left=st.fixed_dictionaries(
        {"budget_nano_usd": st.integers(-500, 10_000), "requests": st.integers(0, 60), "tokens": st.integers(0, 600),
         "slots": st.integers(0, 10)}
    ),
    asks=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2_000), st.integers(1, 200), st.booleans()), max_size=80),
)  # fmt: skip
def test_all_workers_together_give_out_no_more_than_was_left(
    workers: int, left: dict[str, int], asks: list[tuple[int, int, int, bool]]
) -> None:
    """Within a minute. An ask: which worker, hold, tokens, and whether one of its requests ends first."""
    house = [Worker() for _ in range(workers)]
    for worker in house:
        worker.read(**left)
        worker.grace.workers = workers
        worker.grace.lost()
    held = requests = tokens_taken = 0
    holds: dict[int, list[int]] = {n: [] for n in range(workers)}
    for number, hold, tokens, ends in asks:
        worker = house[number % workers]
        if ends and holds[number % workers]:
            worker.end(holds[number % workers].pop())
        if worker.ask(hold=hold, tokens=tokens) is None:
            holds[number % workers].append(hold)
            held, requests, tokens_taken = held + hold, requests + 1, tokens_taken + tokens
        assert sum(one.running for one in house) <= left["slots"]
    assert held <= max(0, left["budget_nano_usd"])
    assert requests <= left["requests"]
    assert tokens_taken <= left["tokens"]


def test_what_was_read_too_long_before_the_loss_is_not_known() -> None:
    worker = Worker()
    worker.read()
    worker.now_s += READ_WITHIN_S
    worker.grace.lost()
    worker.now_s += 60
    assert worker.ask() is None  # noticed in time, asked for later

    late = Worker()
    late.read()
    late.now_s += READ_WITHIN_S + 0.1
    late.grace.lost()
    assert reason(late.ask()) == UNKNOWN


def test_without_a_word_of_the_store_nothing_is_given_out() -> None:
    assert reason(Worker().ask()) == UNKNOWN


def test_it_ends_after_ten_minutes() -> None:
    worker = Worker()
    worker.read()
    assert worker.ask() is None
    worker.now_s += GRACE_S
    assert worker.ask() is None
    worker.now_s += 1
    assert reason(worker.ask()) == UNKNOWN


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        ({"budget_nano_usd": 199}, "budget"),
        ({"budget_nano_usd": -5}, "budget"),
        ({"requests": 1}, "requests"),
        ({"tokens": 19}, "tokens"),
        ({"slots": 1}, "concurrency"),
    ],
)
def test_each_of_two_workers_has_half(left: dict[str, int], expected: str) -> None:
    worker = Worker()
    worker.grace.workers = 2
    worker.read(**left)
    assert reason(worker.ask()) == expected


def test_what_a_request_did_not_cost_is_given_out_again() -> None:
    worker = Worker()
    worker.read(budget_nano_usd=100)
    assert worker.ask(hold=100) is None
    assert reason(worker.ask(hold=1)) == "budget"
    worker.end(charged=40)
    refusal = worker.ask(hold=61)
    assert refusal is not None
    assert (refusal.reason, 10_000 - refusal.spent_nano_usd) == ("budget", 60)
    assert worker.ask(hold=60) is None


def test_rates_come_back_at_this_workers_part_of_them() -> None:
    worker = Worker()
    worker.grace.workers = 2
    worker.read(requests=2)
    assert [reason(worker.ask()) for _ in range(2)] == [None, "requests"]
    worker.running = 0
    worker.now_s += 61
    answers = []
    for _ in range(31):
        answers.append(reason(worker.ask(hold=0, tokens=0)))
        worker.running = 0
    assert answers == [None] * 30 + ["requests"]


def test_another_budget_or_window_than_the_one_that_was_read_is_not_known() -> None:
    worker = Worker()
    worker.read()
    assert reason(worker.ask(replace(SCOPE, budget_window="day:2026-11-24"))) == UNKNOWN
    assert worker.ask() is None


def test_the_store_that_is_back_counts_again() -> None:
    worker = Worker()
    worker.read(budget_nano_usd=100)
    assert worker.ask(hold=100) is None
    worker.grace.found()
    worker.read(budget_nano_usd=70)
    worker.end(charged=100)  # of before: the store has it now
    assert worker.ask(hold=70) is None
    assert reason(worker.ask(hold=1)) == "budget"


def test_all_scopes_or_none() -> None:
    worker = Worker()
    key = Scope("key:k_one", requests_per_minute=1)
    worker.grace.read(TEAM, [SCOPE, key], {"team": LEFT, "key:k_one": {"requests": 0}})

    def ask(*scopes: Scope) -> Refusal | None:
        return worker.grace.take("r", TEAM, scopes, hold_nano_usd=900, tokens=1, running={})

    refusal = ask(SCOPE, key)
    assert refusal is not None
    assert (refusal.reason, refusal.scope) == ("requests", "key:k_one")
    assert ask(SCOPE) is None
