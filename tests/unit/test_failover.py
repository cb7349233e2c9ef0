"""The walk through a plan: who is asked after which failure, how often, and what the caller sees in the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine
from typing import Any

import pytest

from gateway.config.catalog import Breaker, Offer, Routing
from gateway.errors import AllProvidersFailed, GatewayError, InvalidRequest, Overloaded, UpstreamTimeout
from gateway.failover import Begun, ClientGone, Walk, attempts_header
from gateway.routing.candidate import Candidate
from gateway.routing.choice import Choice
from gateway.routing.health import HealthBook, Seen
from gateway.routing.plan import Plan
from gateway.routing.policy import POLICY, Move
from gateway.routing.retry_budget import RetryBudget
from gateway.routing.situation import Offering, Situation
from providers.wire import FailureKind, ProviderFailure
from tests.unit.catalogs import MODEL, offer

K = FailureKind


def failure(kind: FailureKind, status: int | None = None, **more: Any) -> ProviderFailure:
    return ProviderFailure(kind, f"made up {kind.value}", status=status, **more)


class Upstreams:
    """Answers by a script per provider; keeps who was asked and what was slept."""

    def __init__(self, **scripts: list[ProviderFailure | str]) -> None:
        self.scripts = scripts
        self.asked: list[str] = []
        self.slept: list[float] = []
        self.left = False
        self.barred: list[str] = []

    async def once(self, of: Offer) -> str:
        name = of.provider.name
        self.asked.append(name)
        result = self.scripts[name].pop(0)
        if isinstance(result, ProviderFailure):
            raise result
        return result

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def clock(self) -> float:
        return time.monotonic() + sum(self.slept)

    async def gone(self) -> bool:
        return self.left

    async def wait_for_room(self, providers: Collection[str]) -> str:
        raise AssertionError(f"{providers} were full")


def walk(upstreams: Upstreams, *offers: Offer, **routing: Any) -> Walk:
    candidates = tuple(Candidate(one, Seen()) for one in offers)
    plan = Plan(MODEL, candidates, Situation(Offering(()), []), Choice([], []))
    book = HealthBook(Breaker())
    return Walk(
        plan=plan,
        entered=Begun(candidates[0], book.begin(offers[0], 0)),
        routing=Routing(**routing),
        book=book,
        retry_budget=RetryBudget(20),
        deadline_s=time.monotonic() + 60,
        on_failure=lambda offer, attempt, failed: None,
        on_barred=lambda offer, failed: upstreams.barred.append(offer.provider.name),
        gone=upstreams.gone,
        wait_for_room=upstreams.wait_for_room,
        sleep=upstreams.sleep,
        clock=upstreams.clock,
    )


def answer(of: Walk, upstreams: Upstreams) -> str:
    return asyncio.run(of.first_success(upstreams.once))


def refused(of: Walk, upstreams: Upstreams) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        answer(of, upstreams)
    return caught.value


ABC = (offer("a"), offer("b"), offer("c"))


@pytest.mark.parametrize("kind", [kind for kind, rule in POLICY.items() if rule.move is Move.NEXT])
def test_what_is_the_providers_own_goes_to_the_next(kind: FailureKind) -> None:
    up = Upstreams(a=[failure(kind)], b=["fine"])
    made = walk(up, *ABC[:2])
    assert answer(made, up) == "fine"
    assert up.asked == ["a", "b"]


@pytest.mark.parametrize("kind", [K.BAD_REQUEST, K.CONTENT_FILTER])
def test_what_is_about_the_request_is_returned_and_sent_nowhere_else(kind: FailureKind) -> None:
    up = Upstreams(a=[failure(kind, 400)])
    error = refused(walk(up, *ABC), up)
    assert isinstance(error, InvalidRequest)
    assert error.message.startswith("a: ")
    assert up.asked == ["a"]


def test_an_overflow_goes_only_to_a_larger_window() -> None:
    offers = (offer("a", context_length=8000), offer("b", context_length=8000), offer("c", context_length=16000))
    up = Upstreams(a=[failure(K.CONTEXT_OVERFLOW, 400)], c=["fine"])
    assert answer(walk(up, *offers), up) == "fine"
    assert up.asked == ["a", "c"]
    up = Upstreams(a=[failure(K.CONTEXT_OVERFLOW, 400)])
    assert refused(walk(up, *offers[:2]), up).code == "context_length_exceeded"


def test_three_attempts_in_all_and_every_one_is_told() -> None:
    up = Upstreams(
        a=[failure(K.SERVER_ERROR, 500)], b=[failure(K.RATE_LIMITED, 429)], c=[failure(K.RESET), failure(K.RESET)]
    )
    made = walk(up, *ABC)
    error = refused(made, up)
    assert isinstance(error, AllProvidersFailed)
    assert up.asked == ["a", "b", "c"]
    assert [(a["provider"], a["status"]) for a in error.attempts] == [("a", 500), ("b", 429), ("c", None)]
    assert attempts_header(made.attempts) == "a:500,b:429,c:reset"


def test_the_last_candidate_is_asked_once_more_after_a_jittered_moment() -> None:
    up = Upstreams(a=[failure(K.SERVER_ERROR, 500), "fine"])
    assert answer(walk(up, ABC[0]), up) == "fine"
    assert len(up.slept) == 1


def test_a_silent_provider_is_never_asked_twice() -> None:
    up = Upstreams(a=[failure(K.TIMEOUT)])
    assert isinstance(refused(walk(up, ABC[0]), up), UpstreamTimeout)
    assert up.asked == ["a"]


def test_a_short_retry_after_is_waited_out_exactly() -> None:
    up = Upstreams(a=[failure(K.RATE_LIMITED, 429, retry_after_s=2.0), "fine"], b=["other"])
    made = walk(up, *ABC[:2])
    assert answer(made, up) == "fine"
    assert up.slept == [pytest.approx(2.0, abs=0.01)]
    assert up.slept[0] >= 2.0


def test_a_long_retry_after_moves_on_and_silences_the_account() -> None:
    up = Upstreams(a=[failure(K.RATE_LIMITED, 429, retry_after_s=30.0)], b=["fine"])
    made = walk(up, *ABC[:2])
    assert answer(made, up) == "fine"
    assert up.slept == []
    assert made.book.look(ABC[0], time.monotonic()).cooling_s > 29


def test_a_model_that_is_being_loaded_silences_only_itself() -> None:
    up = Upstreams(a=[failure(K.OVERLOADED, 503, retry_after_s=20.0, model_only=True)], b=["fine"])
    made = walk(up, *ABC[:2])
    assert answer(made, up) == "fine"
    now_s = time.monotonic()
    assert made.book.look(ABC[0], now_s).cooling_s > 19
    assert made.book.look(offer("a", provider_model="other"), now_s).cooling_s == 0


def test_with_no_patience_for_retry_after_it_moves_on_at_once() -> None:
    up = Upstreams(a=[failure(K.RATE_LIMITED, 429, retry_after_s=1.0)], b=["fine"])
    assert answer(walk(up, *ABC[:2], retry_after_wait_s=0.0), up) == "fine"
    assert up.slept == []


def test_what_was_short_may_grow_while_it_is_waited_out() -> None:
    up = Upstreams(a=[failure(K.RATE_LIMITED, 429, retry_after_s=2.0)], b=["fine"])
    made = walk(up, *ABC[:2])

    async def sleep(seconds: float) -> None:
        await up.sleep(seconds)
        made.book.cool(ABC[0], up.clock() + 5)  # meanwhile another request was told more

    made.sleep = sleep
    assert answer(made, up) == "fine"
    assert up.asked == ["a", "b"]


def trip(book: HealthBook, of: Offer, failures: int = 5) -> None:
    now_s = time.monotonic()
    for _ in range(failures):
        book.fail(of, now_s, blames=True, probe=book.begin(of, now_s))


def test_who_broke_or_fell_silent_since_the_plan_is_passed_over() -> None:
    up = Upstreams(a=[failure(K.RESET)], d=["fine"])
    made = walk(up, *ABC, offer("d"))
    trip(made.book, ABC[1])
    made.book.cool(ABC[2], time.monotonic() + 5)
    assert answer(made, up) == "fine"
    assert up.asked == ["a", "d"]


def test_the_failure_that_opens_a_breaker_is_not_followed_by_a_retry() -> None:
    up = Upstreams(a=[failure(K.SERVER_ERROR, 500)])
    made = walk(up, ABC[0])
    trip(made.book, ABC[0], 4)
    assert isinstance(refused(made, up), AllProvidersFailed)
    assert up.asked == ["a"]


@pytest.mark.parametrize(("kind", "of_others"), [(K.AUTH, True), (K.FORBIDDEN, False)])
def test_a_refused_key_is_told_once_and_takes_the_provider_out(kind: FailureKind, of_others: bool) -> None:
    up = Upstreams(a=[failure(kind, 401)], b=["fine"])
    made = walk(up, *ABC[:2])
    assert answer(made, up) == "fine"
    assert up.barred == ["a"]
    assert not made.book.admits(ABC[0], time.monotonic() + 1e6)
    assert made.book.look(offer("a", provider_model="other"), time.monotonic()).barred is of_others


def test_a_dying_provider_does_not_double_the_load() -> None:
    """A thousand requests, nobody else to ask, every one fails; the breaker is held shut so that the budget alone
    holds."""
    up = Upstreams(a=[failure(K.SERVER_ERROR, 500)] * 2000)
    made = walk(up, ABC[0])
    made.book.breaker = Breaker(failures=10_000)
    for _ in range(1000):
        made.attempts.clear()
        made.entered = Begun(made.plan.candidates[0], made.book.begin(ABC[0], 0))
        refused(made, up)
    assert 1000 + 150 < len(up.asked) <= 1000 + 200


def test_the_soonest_retry_after_is_passed_on() -> None:
    up = Upstreams(
        a=[failure(K.RATE_LIMITED, 429, retry_after_s=40.0)], b=[failure(K.OVERLOADED, 503, retry_after_s=20.0)]
    )
    assert refused(walk(up, *ABC[:2]), up).retry_after_s == 20.0


def test_nothing_new_is_tried_for_nobody() -> None:
    up = Upstreams(a=[failure(K.SERVER_ERROR, 500)], b=["fine"])
    up.left = True
    with pytest.raises(ClientGone):
        answer(walk(up, *ABC[:2]), up)
    assert up.asked == ["a"]


def test_past_the_deadline_nobody_else_is_asked() -> None:
    up = Upstreams(a=[failure(K.SERVER_ERROR, 500)], b=["fine"])
    made = walk(up, *ABC[:2])
    made.deadline_s = time.monotonic() - 1
    assert isinstance(refused(made, up), AllProvidersFailed)
    assert up.asked == ["a"]


def test_second_moves_are_paid_for_and_the_first_is_free() -> None:
    up = Upstreams(a=[failure(K.RESET)], b=[failure(K.RESET)], c=["fine"])
    made = walk(up, *ABC)
    while made.retry_budget.allows(time.monotonic()):
        made.retry_budget.spend(time.monotonic())
    assert isinstance(refused(made, up), AllProvidersFailed)
    assert up.asked == ["a", "b"]


def cancelled(of: Walk, once: Callable[[Offer], Coroutine[Any, Any, str]]) -> None:
    async def run() -> None:
        task = asyncio.ensure_future(of.first_success(once))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())


def test_a_cancelled_attempt_blames_nobody_and_is_not_under_way_any_more() -> None:
    up = Upstreams()
    made = walk(up, ABC[0])

    async def for_ever(of: Offer) -> str:
        await asyncio.Event().wait()
        return ""

    cancelled(made, for_ever)
    seen = made.book.look(ABC[0], time.monotonic())
    assert (seen.in_flight, seen.state) == (0, "closed")
    assert made.attempts == []


def bounded(upstreams: Upstreams, **routing: Any) -> Walk:
    """Of three accounts with one room each, the second and third are taken by somebody else."""
    offers = [offer(name, max_concurrency=1) for name in "abc"]
    made = walk(upstreams, *offers, **routing)
    for one in offers[1:]:
        made.book.begin(one, 0)
    return made


def test_a_full_account_is_passed_over_while_another_has_room() -> None:
    up = Upstreams(a=[failure(K.RESET)], c=["fine"])
    made = bounded(up)
    made.book.abandon(made.plan.candidates[2].offer)
    assert answer(made, up) == "fine"
    assert up.asked == ["a", "c"]


def test_where_all_are_full_the_first_that_has_room_is_waited_for() -> None:
    up = Upstreams(a=[failure(K.RESET)], c=["fine"])
    made = bounded(up)

    async def wait_for_room(providers: Collection[str]) -> str:
        assert list(providers) == ["b", "c"]
        made.book.abandon(made.plan.candidates[2].offer)
        made.book.hold_room("c")
        return "c"

    made.wait_for_room = wait_for_room
    assert answer(made, up) == "fine"
    assert (up.asked, made.book.in_flight("c")) == (["a", "c"], 1)


def test_where_too_many_wait_for_the_next_the_failure_of_the_first_is_told() -> None:
    up = Upstreams(a=[failure(K.RESET)])
    made = bounded(up)

    async def wait_for_room(providers: Collection[str]) -> str:
        raise Overloaded("full")

    made.wait_for_room = wait_for_room
    assert isinstance(refused(made, up), AllProvidersFailed)


def test_who_broke_while_it_was_waited_for_is_not_asked() -> None:
    up = Upstreams(a=[failure(K.RESET)])
    made = bounded(up)
    freed: list[str] = []

    async def wait_for_room(providers: Collection[str]) -> str:
        trip(made.book, made.plan.candidates[1].offer)
        made.book.on_room = freed.append
        return "b"

    made.wait_for_room = wait_for_room
    assert isinstance(refused(made, up), AllProvidersFailed)
    assert (up.asked, freed) == (["a"], ["b"])
