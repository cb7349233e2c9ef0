"""Walks a plan until somebody answers, with bounded patience.

One loop serves plain and streamed requests; what differs is the function that makes one try. Every attempt is
recorded. The rules come from `routing/policy.py`; this file only follows them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from gateway.config.catalog import Offer, Routing
from gateway.errors import AllProvidersFailed, GatewayError, NoProviderAvailable, Overloaded, UpstreamTimeout
from gateway.records import Attempt
from gateway.routing.candidate import Candidate
from gateway.routing.health import HealthBook
from gateway.routing.plan import Plan
from gateway.routing.policy import POLICY, TIMED_OUT, Bar, Move, Rule, shown_to_caller
from gateway.routing.retry_budget import RetryBudget
from providers.wire import FailureKind, ProviderFailure

T = TypeVar("T")
TryOnce = Callable[[Offer], Awaitable[T]]
Gone = Callable[[], Awaitable[bool]]

TIMER_S: Final = 0.005
"""A timer of the event loop may be early by a millisecond, and silence is to be kept to its end."""
_BACKOFF: Final = wait_random_exponential(multiplier=0.1, max=1.0)


class ClientGone(Exception):
    """The caller left before anything was sent to it; nothing new is tried for nobody."""


OnBarred = Callable[[Offer, ProviderFailure], None]
"""Told once when a provider has refused our key."""


class Begun(NamedTuple):
    """A candidate whose attempt is begun in the book."""

    candidate: Candidate
    probe: bool
    """It is the one attempt that shows whether the offer is well again."""


class OnAttempt(Protocol):
    """Told of each attempt that failed, before the next one begins."""

    def __call__(self, offer: Offer, attempt: Attempt, failure: ProviderFailure) -> None: ...


@dataclass(slots=True)
class Walk:
    """One request on its way through a plan. `attempts` is complete at any moment."""

    plan: Plan
    entered: Begun
    """Who is asked first."""
    routing: Routing
    book: HealthBook
    retry_budget: RetryBudget
    deadline_s: float
    """Monotonic seconds."""
    on_failure: OnAttempt
    on_barred: OnBarred
    gone: Gone
    wait_for_room: Callable[[Collection[str]], Awaitable[str]]
    """Where all these accounts are full: the name of the first that has room, which is held. Raises Overloaded."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic
    attempts: list[Attempt] = field(default_factory=list, init=False)
    probing: bool = field(default=False, init=False)
    """The attempt under way is the one that shows whether its offer is well again."""
    last_failure: ProviderFailure | None = field(default=None, init=False)
    _asked: int = field(default=0, init=False)
    _begun_s: float = field(default=0.0, init=False)

    async def first_success(self, once: TryOnce[T]) -> T:
        """The first answer of the plan's candidates.

        Raises what the caller should see: a refusal that is about the request (400), or AllProvidersFailed with the
        list of attempts. ClientGone where the caller left between two attempts.
        """
        self._begun_s = self.clock()
        self.retry_budget.request(self._begun_s)
        try:
            return await self._walk(self.entered, list(self.plan.candidates), once)
        finally:
            self.last_failure = None  # its traceback holds frames that hold this walk

    async def go_on(self, once: TryOnce[T], can: Callable[[Offer], bool]) -> T:
        """After an answer that broke off half way: the first of those who can go on from it and were not asked yet.
        Raises as `first_success`."""
        tried = {(one.provider, one.provider_model) for one in self.attempts}
        rest = (one for one in self.plan.candidates if (one.offer.provider.name, one.offer.provider_model) not in tried)
        waiting = [one for one in rest if can(one.offer)]
        try:
            return await self._walk(await self._next(waiting), waiting, once)
        finally:
            self.last_failure = None

    async def _walk(self, begun: Begun | None, waiting: list[Candidate], once: TryOnce[T]) -> T:
        larger_than: int | None = None
        while begun is not None:
            waiting.remove(begun.candidate)
            self._asked += 1
            offer = begun.candidate.offer
            try:
                return await self._ask(begun, once, is_last=not waiting)
            except ProviderFailure as failure:
                move = POLICY[failure.kind].move
                if move is Move.STOP:
                    raise shown_to_caller(failure, offer.provider.name) from failure
                if move is Move.LARGER:
                    larger_than = max(larger_than or 0, offer.context_length or 0)
            if larger_than is not None:
                waiting = [other for other in waiting if (other.offer.context_length or 0) > larger_than]
            begun = await self._next(waiting)
        raise self._all_failed(larger_than is not None)

    async def _next(self, waiting: list[Candidate]) -> Begun | None:
        """Begins with one more candidate; None where none may be asked. Those of whom worse was heard since the plan
        was made leave `waiting`."""
        waiting[:] = [one for one in waiting if self.book.admits(one.offer, self.clock())]
        if not waiting or not await self._may_go_on():
            return None
        return await self._begin(waiting)

    async def _begin(self, waiting: Sequence[Candidate]) -> Begun | None:
        """The first that has room, its attempt begun. Where all are full: the first that gets room, unless it is not
        well by then, or too many wait already."""
        begun = begin_first(waiting, self.book, self.clock())
        if begun is not None:
            return begun
        try:
            name = await self.wait_for_room([one.offer.provider.name for one in waiting])
        except Overloaded:
            return None
        self.book.free_room(name)
        freed = [one for one in waiting if one.offer.provider.name == name]
        now_s = self.clock()
        if self.book.admits(freed[0].offer, now_s):
            return begin_first(freed, self.book, now_s)
        self.book.on_room(name)
        return None

    async def _may_go_on(self) -> bool:
        """Whether one more candidate may be asked."""
        if len(self.attempts) >= self.routing.attempts or self.clock() >= self.deadline_s:
            return False
        if await self.gone():
            raise ClientGone
        if self._asked >= 2:  # the first move is free
            now_s = self.clock()
            if not self.retry_budget.allows(now_s):
                return False
            self.retry_budget.spend(now_s)
        return True

    async def _ask(self, begun: Begun, once: TryOnce[T], *, is_last: bool) -> T:
        """One offer: once, and where the failure says so, once more."""
        candidate = begun.candidate
        try:
            return await self._try(begun, once)
        except ProviderFailure as failure:
            if not self._worth_repeating(candidate.offer, failure, is_last=is_last):
                raise
            first: ProviderFailure | None = failure

        async def repeat() -> T:
            # tenacity sees the first failure as its own first try, and so decides how long to wait for the second.
            nonlocal first
            if first is not None:
                known, first = first, None
                raise known
            if await self.gone():
                raise ClientGone
            # While this request waited, another one may have heard worse.
            again = await self._begin([candidate]) if self.book.admits(candidate.offer, self.clock()) else None
            if again is None:
                assert self.last_failure is not None
                raise self.last_failure
            self.retry_budget.spend(self.clock())
            return await self._try(again, once)

        retrying = AsyncRetrying(
            stop=stop_after_attempt(2),
            wait=_wait,
            retry=retry_if_exception(lambda error: isinstance(error, ProviderFailure)),
            sleep=self.sleep,
            reraise=True,
        )
        return await retrying(repeat)

    def _worth_repeating(self, offer: Offer, failure: ProviderFailure, *, is_last: bool) -> bool:
        if not POLICY[failure.kind].same_offer or len(self.attempts) >= self.routing.attempts:
            return False
        now_s = self.clock()
        wait_s = failure.retry_after_s
        if not self.book.look(offer, now_s).ready:
            return False  # that was one failure too many
        if wait_s is not None:
            # Waited out exactly, even if somebody else could be asked; a longer one is not.
            if wait_s > self.routing.retry_after_wait_s:
                return False
        elif not is_last or failure.kind in (FailureKind.RATE_LIMITED, FailureKind.OVERLOADED):
            return False  # another candidate is a better second try; a throttled account is left alone
        return now_s + (wait_s or 0.0) < self.deadline_s and self.retry_budget.allows(now_s)

    async def _try(self, begun: Begun, once: TryOnce[T]) -> T:
        offer, self.probing = begun.candidate.offer, begun.probe
        started_s = self.clock()
        try:
            answer = await once(offer)
        except ProviderFailure as failure:
            self._tell_health(offer, failure, POLICY[failure.kind])
            attempt = self._record(offer, started_s, failure)
            self.last_failure = failure
            self.on_failure(offer, attempt, failure)
            raise
        except BaseException:
            self.book.abandon(offer, probe=self.probing)
            raise
        self.answering(offer)
        self._record(offer, started_s, None)
        return answer

    def answering(self, offer: Offer) -> None:
        """The attempt under way has its first content: what it was to show is shown, though its end may be far away."""
        if self.probing:
            self.probing = False
            self.book.answered(offer, self.clock())

    def _tell_health(self, offer: Offer, failure: ProviderFailure, rule: Rule) -> None:
        now_s = self.clock()
        self.book.fail(offer, now_s, blames=rule.blames, probe=self.probing)
        if rule.cools and failure.retry_after_s is not None:
            if failure.model_only:
                self.book.cool_offer(offer, now_s + failure.retry_after_s)
            else:
                self.book.cool(offer, now_s + failure.retry_after_s)
        if rule.bars is not None and self.book.bar(offer, now_s, whole_account=rule.bars is Bar.ACCOUNT):
            self.on_barred(offer, failure)

    def _record(self, offer: Offer, started_s: float, failure: ProviderFailure | None) -> Attempt:
        duration_ms = int((self.clock() - started_s) * 1000)
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
        told = "; ".join(f"{a.provider}: {a.reason or a.failure}" for a in self.attempts)
        kind = UpstreamTimeout if failure.kind in TIMED_OUT else AllProvidersFailed
        waits = [a.retry_after_s for a in self.attempts if a.retry_after_s is not None]
        silence_s = self.plan.silence_s
        if silence_s is not None:  # of one that was not even asked
            waits.append(max(1.0, silence_s - (self.clock() - self._begun_s)))
        return kind(
            f"Every provider that was asked for {self.plan.hub_model} failed ({told}).",
            listed(self.attempts),
            retry_after_s=min(waits) if waits else None,
        )


def begin_first(candidates: Sequence[Candidate], book: HealthBook, now_s: float) -> Begun | None:
    """Begins the attempt of the first whose account has room, so that nobody else takes it; None where none has."""
    for candidate in candidates:
        if book.has_room(candidate.offer.provider):
            return Begun(candidate, book.begin(candidate.offer, now_s))
    return None


def _wait(state: RetryCallState) -> float:
    """What the provider asked for, else a jittered moment."""
    failure = state.outcome.exception() if state.outcome is not None else None
    if isinstance(failure, ProviderFailure) and failure.retry_after_s is not None:
        return failure.retry_after_s + TIMER_S
    return _BACKOFF(state)


def listed(attempts: Sequence[Attempt]) -> list[dict[str, object]]:
    """Each try with its provider, status and reason, as an error tells it."""
    return [{"provider": one.provider, "status": one.status, "reason": one.reason or one.failure} for one in attempts]


def attempts_header(attempts: list[Attempt]) -> str:
    """`groq:429,together:200`; where no answer came, or a 200 was none, the failure's name stands for the status."""
    return ",".join(
        f"{a.provider}:{a.failure if a.failure is not None and a.status in (None, 200) else a.status}" for a in attempts
    )
