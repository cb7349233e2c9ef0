"""Walks a plan until somebody answers, with bounded patience.

One loop serves plain and streamed requests; what differs is the function that makes one try. Every attempt is
recorded. The rules come from `routing/policy.py`; this file only follows them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from gateway.config.catalog import Offer, Routing
from gateway.errors import AllProvidersFailed, GatewayError, NoProviderAvailable, Overloaded, UpstreamTimeout
from gateway.records import Attempt
from gateway.routing.candidate import Candidate
from gateway.routing.health import HealthBook
from gateway.routing.plan import Plan
from gateway.routing.policy import POLICY, Move, shown_to_caller
from gateway.routing.retry_budget import RetryBudget
from providers.wire import FailureKind, ProviderFailure

T = TypeVar("T")
TryOnce = Callable[[Offer], Awaitable[T]]
Gone = Callable[[], Awaitable[bool]]

_BACKOFF: Final = wait_random_exponential(multiplier=0.1, max=1.0)


class ClientGone(Exception):
    """The caller left before anything was sent to it; nothing new is tried for nobody."""


class OnAttempt(Protocol):
    """Told of each attempt that failed, before the next one begins."""

    def __call__(self, offer: Offer, attempt: Attempt, failure: ProviderFailure) -> None: ...


@dataclass(slots=True)
class Walk:
    """One request on its way through a plan. `attempts` is complete at any moment."""

    plan: Plan
    entered: Candidate
    """Who is asked first; its attempt is begun in the book."""
    routing: Routing
    book: HealthBook
    retry_budget: RetryBudget
    deadline_s: float
    """Monotonic seconds."""
    on_failure: OnAttempt
    gone: Gone
    wait_for_room: Callable[[Collection[str]], Awaitable[str]]
    """Where all these accounts are full: the name of the first that has room, which is held. Raises Overloaded."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    attempts: list[Attempt] = field(default_factory=list, init=False)
    last_failure: ProviderFailure | None = field(default=None, init=False)
    _asked: int = field(default=0, init=False)

    async def first_success(self, once: TryOnce[T]) -> T:
        """The first answer of the plan's candidates.

        Raises what the caller should see: a refusal that is about the request (400), or AllProvidersFailed with the
        list of attempts. ClientGone where the caller left between two attempts.
        """
        self.retry_budget.request(time.monotonic())
        return await self._walk(self.entered, list(self.plan.candidates), once)

    async def go_on(self, once: TryOnce[T], can: Callable[[Offer], bool]) -> T:
        """After an answer that broke off half way: the first of those who can go on from it and were not asked yet.
        Raises as `first_success`."""
        tried = {(one.provider, one.provider_model) for one in self.attempts}
        rest = (one for one in self.plan.candidates if (one.offer.provider.name, one.offer.provider_model) not in tried)
        waiting = [one for one in rest if can(one.offer)]
        return await self._walk(await self._next(waiting), waiting, once)

    async def _walk(self, candidate: Candidate | None, waiting: list[Candidate], once: TryOnce[T]) -> T:
        larger_than: int | None = None
        while candidate is not None:
            waiting.remove(candidate)
            self._asked += 1
            offer = candidate.offer
            try:
                return await self._ask(candidate, once, is_last=not waiting)
            except ProviderFailure as failure:
                move = POLICY[failure.kind].move
                if move is Move.STOP:
                    raise shown_to_caller(failure, offer.provider.name) from failure
                if move is Move.LARGER:
                    larger_than = max(larger_than or 0, offer.context_length or 0)
            if larger_than is not None:
                waiting = [other for other in waiting if (other.offer.context_length or 0) > larger_than]
            candidate = await self._next(waiting)
        raise self._all_failed(larger_than is not None)

    async def _next(self, waiting: list[Candidate]) -> Candidate | None:
        """Begins with one more candidate; None where none may be asked. Those who asked for silence since the plan was
        made leave `waiting`."""
        waiting[:] = [one for one in waiting if self.book.look(one.offer, time.monotonic()).cooling_s <= 0]
        if not waiting or not await self._may_go_on():
            return None
        return await self._begin(waiting)

    async def _begin(self, waiting: Sequence[Candidate]) -> Candidate | None:
        """The first that has room, its attempt begun. Where all are full: the first that gets room, unless it is not
        well by then, or too many wait already."""
        candidate = begin_first(waiting, self.book)
        if candidate is not None:
            return candidate
        try:
            name = await self.wait_for_room([one.offer.provider.name for one in waiting])
        except Overloaded:
            return None
        self.book.free_room(name)
        freed = [one for one in waiting if one.offer.provider.name == name]
        seen = self.book.look(freed[0].offer, time.monotonic())
        if seen.ready and seen.cooling_s <= 0:
            return begin_first(freed, self.book)
        self.book.on_room(name)
        return None

    async def _may_go_on(self) -> bool:
        """Whether one more candidate may be asked."""
        if len(self.attempts) >= self.routing.attempts or time.monotonic() >= self.deadline_s:
            return False
        if await self.gone():
            raise ClientGone
        if self._asked >= 2:  # the first move is free
            now_s = time.monotonic()
            if not self.retry_budget.allows(now_s):
                return False
            self.retry_budget.spend(now_s)
        return True

    async def _ask(self, candidate: Candidate, once: TryOnce[T], *, is_last: bool) -> T:
        """One offer: once, and where the failure says so, once more."""
        try:
            return await self._try(candidate.offer, once)
        except ProviderFailure as failure:
            if not self._worth_repeating(failure, is_last=is_last):
                raise
            first: ProviderFailure | None = failure

        async def again() -> T:
            # tenacity sees the first failure as its own first try, and so decides how long to wait for the second.
            nonlocal first
            if first is not None:
                known, first = first, None
                raise known
            if await self.gone():
                raise ClientGone
            if await self._begin([candidate]) is None:
                assert self.last_failure is not None
                raise self.last_failure
            self.retry_budget.spend(time.monotonic())
            return await self._try(candidate.offer, once)

        retrying = AsyncRetrying(
            stop=stop_after_attempt(2),
            wait=_wait,
            retry=retry_if_exception(lambda error: isinstance(error, ProviderFailure)),
            sleep=self.sleep,
            reraise=True,
        )
        return await retrying(again)

    def _worth_repeating(self, failure: ProviderFailure, *, is_last: bool) -> bool:
        if not POLICY[failure.kind].same_offer or len(self.attempts) >= self.routing.attempts:
            return False
        now_s = time.monotonic()
        wait_s = failure.retry_after_s
        if wait_s is not None:
            # Waited out exactly, even if somebody else could be asked; a longer one is not.
            if wait_s > self.routing.retry_after_wait_s:
                return False
        elif not is_last or failure.kind in (FailureKind.RATE_LIMITED, FailureKind.OVERLOADED):
            return False  # another candidate is a better second try; a throttled account is left alone
        return now_s + (wait_s or 0.0) < self.deadline_s and self.retry_budget.allows(now_s)

    async def _try(self, offer: Offer, once: TryOnce[T]) -> T:
        """One attempt, which is begun in the book already."""
        started_s = time.monotonic()
        try:
            answer = await once(offer)
        except ProviderFailure as failure:
            now_s = time.monotonic()
            rule = POLICY[failure.kind]
            self.book.fail(offer, now_s, blames=rule.blames)
            if rule.cools and failure.retry_after_s is not None:
                if failure.model_only:
                    self.book.cool_offer(offer, now_s + failure.retry_after_s)
                else:
                    self.book.cool(offer.provider.name, now_s + failure.retry_after_s)
            attempt = self._record(offer, started_s, failure)
            self.last_failure = failure
            self.on_failure(offer, attempt, failure)
            raise
        except BaseException:
            self.book.abandon(offer)
            raise
        self._record(offer, started_s, None)
        return answer

    def _record(self, offer: Offer, started_s: float, failure: ProviderFailure | None) -> Attempt:
        duration_ms = int((time.monotonic() - started_s) * 1000)
        attempt = Attempt(
            number=len(self.attempts) + 1,
            provider=offer.provider.name,
            provider_model=offer.provider_model,
            status=200 if failure is None else failure.status,
            failure=None if failure is None else failure.kind.value,
            reason=None if failure is None else failure.message,
            started_ms=int(time.time() * 1000) - duration_ms,
            duration_ms=duration_ms,
            retry_after_s=None if failure is None else failure.retry_after_s,
        )
        self.attempts.append(attempt)
        return attempt

    def _all_failed(self, overflowed: bool) -> GatewayError:
        failure = self.last_failure
        if failure is None:
            return NoProviderAvailable(
                f"No provider of {self.plan.hub_model} can be asked right now.", retry_after_s=1.0
            )
        last = self.attempts[-1]
        if overflowed and failure.kind is FailureKind.CONTEXT_OVERFLOW:
            return shown_to_caller(failure, last.provider)
        listed = [{"provider": a.provider, "status": a.status, "reason": a.reason or a.failure} for a in self.attempts]
        told = "; ".join(f"{a.provider}: {a.reason or a.failure}" for a in self.attempts)
        kind = UpstreamTimeout if failure.kind is FailureKind.TIMEOUT else AllProvidersFailed
        waits = [a.retry_after_s for a in self.attempts if a.retry_after_s is not None]
        return kind(
            f"Every provider that was asked for {self.plan.hub_model} failed ({told}).",
            listed,
            retry_after_s=min(waits) if waits else None,
        )


def begin_first(candidates: Sequence[Candidate], book: HealthBook) -> Candidate | None:
    """Begins the attempt of the first whose account has room, so that nobody else takes it; None where none has."""
    for candidate in candidates:
        if book.has_room(candidate.offer.provider):
            book.begin(candidate.offer)
            return candidate
    return None


def _wait(state: RetryCallState) -> float:
    """What the provider asked for, else a jittered moment."""
    failure = state.outcome.exception() if state.outcome is not None else None
    if isinstance(failure, ProviderFailure) and failure.retry_after_s is not None:
        return failure.retry_after_s
    return _BACKOFF(state)


def attempts_header(attempts: list[Attempt]) -> str:
    """`groq:429,together:200`; where no answer came, or a 200 was none, the failure's name stands for the status."""
    return ",".join(
        f"{a.provider}:{a.failure if a.failure is not None and a.status in (None, 200) else a.status}" for a in attempts
    )
