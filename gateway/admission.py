"""Asks the store for room for limited principals: what to ask, what follows from the answer, and who asks together.

Requests that come while a question is on the wire travel together in the next one. Principals without any budget or
limit never get here.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, NoReturn

from gateway.config.catalog import Offer
from gateway.errors import BudgetExceeded, LedgerUnavailable, RateLimited
from gateway.grace import UNKNOWN, Grace
from gateway.money import format_usd
from gateway.records import Admission, Admit, Refusal, Scope
from gateway.routing.pricing import OUTPUT_TOKENS_MIN, affordable_tokens, hold_nano_usd, output_cap_tokens
from gateway.store.base import Store, StoreAway
from gateway.tenants import Principal

LEASE_SLACK_S: Final = 60.0
"""A hold outlives its request's deadline by this."""
ADMIT_WAIT_MS: Final = 5_000
"""A store that answers later than this refuses by itself."""
RENEW_EVERY_S: Final = 20.0
CAP_TRIES: Final = 3
AWAY_RETRY_S: Final = 1.0
CLOCK_SLACK_MS: Final = 500

log = logging.getLogger("gateway.admission")


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one request asks for. `max_tokens` is the caller's own cap, None where there was none."""

    inference_id: str
    principal: Principal
    scopes: tuple[Scope, ...]
    day: str
    prompt_bytes: int
    prompt_tokens: int
    messages: int
    images: int
    choices: int
    max_tokens: int | None
    max_tokens_default: int
    offers: Sequence[Offer]
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Granted:
    charge_max_nano_usd: int | None = None
    """The hold, above which nothing is charged; None without a strict budget."""
    max_tokens_set: int | None = None
    away: bool = False
    """Granted without the store."""
    headers: Mapping[str, str] = field(default_factory=dict)


class Admissions:
    """One per worker. `clock_ahead_ms` is how far the store's clock is ahead of ours."""

    def __init__(self, store: Store, clock_ms: Callable[[], int] = _wall_clock_ms) -> None:
        self.clock_ms = clock_ms
        self.clock_ahead_ms = 0
        self._store = store
        self._asking: list[tuple[Admit, asyncio.Future[Admission | Refusal]]] = []
        self._flight: asyncio.Task[None] | None = None
        self._landing: asyncio.Future[None] | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._slots: dict[tuple[str, str], set[str]] = {}
        self._running: dict[str, Admit] = {}
        self.grace = Grace()
        self._open = asyncio.Event()
        self._open.set()

    async def ask(self, wanted: Wanted) -> Granted:
        """Raises BudgetExceeded, RateLimited or LedgerUnavailable."""
        scopes = wanted.scopes
        strict = any(scope.budget_nano_usd is not None and scope.strict for scope in scopes)
        cap = _first_cap(wanted, strict)
        for attempt in range(CAP_TRIES):
            hold = _hold(wanted, strict, cap)
            try:
                answer = await self._answer(wanted, scopes, hold)
            except StoreAway as error:
                return self._without_store(wanted, strict, error)
            self.grace.read(wanted.principal.billed.id, scopes, answer.remaining)
            if isinstance(answer, Admission):
                self._remember(wanted, scopes, hold)
                own_cap = cap if strict and wanted.max_tokens is None else None
                return Granted(
                    hold if strict else None, own_cap, headers=limit_headers(wanted.principal, scopes, answer)
                )
            smaller = _smaller_cap(wanted, scopes, answer, cap) if strict and attempt + 1 < CAP_TRIES else None
            if smaller is None:
                _refuse(wanted.principal, scopes, answer)
            cap = smaller
        raise AssertionError("the last try grants or refuses")

    async def _answer(self, wanted: Wanted, scopes: tuple[Scope, ...], hold: int) -> Admission | Refusal:
        """The store's word. One that came too late by its clock and not by ours told us how far the clocks are apart;
        then it is asked once more."""
        ahead_ms = self.clock_ahead_ms
        answer = await self._admit(_question(wanted, scopes, hold, self.clock_ms() + ahead_ms))
        if isinstance(answer, Refusal) and answer.reason == "late" and self.clock_ahead_ms != ahead_ms:
            answer = await self._admit(_question(wanted, scopes, hold, self.clock_ms() + self.clock_ahead_ms))
        return answer

    @staticmethod
    def is_refusal(error: BaseException) -> bool:
        """Whether an exception of `ask` means that the store surely holds nothing for the request."""
        return isinstance(error, BudgetExceeded | RateLimited)

    def forget(self, team_id: str, key_id: str, inference_id: str, charged_nano_usd: int = 0) -> None:
        """The request has ended: nothing is held for it again, and its slots are not renewed any more."""
        self._running.pop(inference_id, None)
        self.grace.end(inference_id, charged_nano_usd)
        for place in ((team_id, "team"), (team_id, f"key:{key_id}")):
            held = self._slots.get(place)
            if held is not None:
                held.discard(inference_id)
                if not held:
                    del self._slots[place]

    async def hold_again(self) -> None:
        """Holds anew what running requests hold, in a store that may have lost it. Raises StoreAway."""
        if self._running:
            not_after_ms = self.clock_ms() + self.clock_ahead_ms + ADMIT_WAIT_MS
            await self._store.hold_again(
                [replace(question, not_after_ms=not_after_ms) for question in self._running.values()]
            )

    def compare_clocks(self, asked_ms: int, store_ms: int) -> None:
        """The store was asked at a time of ours, and has just told its own."""
        ahead_ms = store_ms - (asked_ms + self.clock_ms()) // 2
        if abs(ahead_ms - self.clock_ahead_ms) > CLOCK_SLACK_MS:
            self.clock_ahead_ms = ahead_ms

    def pause(self) -> None:
        """Questions wait: the store may have forgotten what is held."""
        self._open.clear()

    def resume(self) -> None:
        self._open.set()

    def _remember(self, wanted: Wanted, scopes: tuple[Scope, ...], hold: int) -> None:
        """Of a request that runs from now on: what to hold again, and which slots to renew."""
        self._running[wanted.inference_id] = _question(wanted, scopes, hold, self.clock_ms())
        for scope in scopes:
            if scope.concurrency is not None:
                place = (wanted.principal.billed.id, scope.id)
                self._slots.setdefault(place, set()).add(wanted.inference_id)
                if self._renewing is None:
                    self._renewing = asyncio.get_running_loop().create_task(self._renew())

    async def _renew(self) -> None:
        """Renews the slots of requests under way, as long as there are any."""
        try:
            while self._slots:
                await asyncio.sleep(RENEW_EVERY_S)
                for (team_id, scope_id), inference_ids in list(self._slots.items()):
                    try:
                        await self._store.renew(team_id, scope_id, sorted(inference_ids))
                    except StoreAway:
                        break  # the slots end by themselves; the shipper has said that the store is away
        finally:
            self._renewing = None

    async def _admit(self, request: Admit) -> Admission | Refusal:
        """The store's word. A caller who leaves takes back a question that was not asked yet, and waits for the answer
        to one that was: its hold must be there before the close that ends it."""
        answer: asyncio.Future[Admission | Refusal] = asyncio.get_running_loop().create_future()
        question = (request, answer)
        self._asking.append(question)
        if self._flight is None:
            self._flight = asyncio.get_running_loop().create_task(self._fly())
        try:
            return await answer
        except asyncio.CancelledError:
            if question in self._asking:
                self._asking.remove(question)
            elif self._landing is not None:
                await asyncio.wait([self._landing])
            raise

    async def _fly(self) -> None:
        """Asks until nobody waits. A task of its own, so that a caller who leaves takes nobody's answer along."""
        try:
            while self._asking:
                await self._open.wait()
                asking, self._asking = self._asking, []
                if not asking:
                    continue  # whoever asked has left
                self._landing = asyncio.get_running_loop().create_future()
                try:
                    await self._ask_store(asking)
                finally:
                    self._landing.set_result(None)
        finally:
            self._flight = None
            if self._asking:  # whoever asked while this flight broke off is not left waiting for the next one
                self._flight = asyncio.get_running_loop().create_task(self._fly())

    async def _ask_store(self, asking: list[tuple[Admit, asyncio.Future[Admission | Refusal]]]) -> None:
        asked_ms = self.clock_ms()
        try:
            answers = await self._store.admit([request for request, _ in asking])
        except BaseException as error:
            for _, future in asking:
                if not future.done():
                    future.set_exception(error if isinstance(error, StoreAway) else StoreAway("the question broke off"))
            if not isinstance(error, StoreAway):
                raise
            return
        self.compare_clocks(asked_ms, answers[0].now_ms)
        for (_, future), answer in zip(asking, answers, strict=True):
            if not future.done():
                future.set_result(answer)

    def _without_store(self, wanted: Wanted, strict: bool, error: StoreAway) -> Granted:
        """What the team has chosen for now; by default a strict budget denies, and all else goes on within bounds."""
        team = wanted.principal.billed
        choice = team.when_store_down or ("deny" if strict else "allow-bounded")
        if choice == "allow":
            return Granted(away=True)
        retry_after_s, more = AWAY_RETRY_S, ""
        if choice == "allow-bounded":
            granted = self._within_share(wanted, strict)
            if isinstance(granted, Granted):
                return granted
            retry_after_s = max(retry_after_s, granted.retry_after_s)
            what = "is not known" if granted.reason == UNKNOWN else f"does not cover this request ({granted.reason})"
            more = f" What was left of it {what}."
        raise LedgerUnavailable(
            f"The budget or limit of team '{team.name}' cannot be checked now: {error.reason}.{more}",
            retry_after_s=retry_after_s,
        ) from error

    def _within_share(self, wanted: Wanted, strict: bool) -> Granted | Refusal:
        """Room in this worker's share. Every budget is held to as a strict one is: the worst case must fit."""
        scopes, team_id = wanted.scopes, wanted.principal.billed.id
        has_budget = any(scope.budget_nano_usd is not None for scope in scopes)
        running = {scope.id: len(self._slots.get((team_id, scope.id), ())) for scope in scopes}
        cap = _first_cap(wanted, has_budget)
        while True:
            hold = _hold(wanted, has_budget, cap)
            refusal = self.grace.take(
                wanted.inference_id,
                team_id,
                scopes,
                hold_nano_usd=hold,
                tokens=_question(wanted, scopes, hold, 0).tokens,
                running=running,
            )
            if refusal is None:
                self._remember(wanted, scopes, hold)
                own_cap = cap if has_budget and wanted.max_tokens is None else None
                return Granted(hold if strict else None, own_cap, away=True)
            smaller = _smaller_cap(wanted, scopes, refusal, cap) if has_budget else None
            if smaller is None:
                return refusal
            cap = smaller


def _first_cap(wanted: Wanted, strict: bool) -> int | None:
    """Output tokens of one choice: the caller's cap, or ours where a strict budget needs one."""
    if wanted.max_tokens is not None or not strict:
        return wanted.max_tokens
    return output_cap_tokens(
        wanted.offers, prompt_tokens=wanted.prompt_tokens, max_tokens_default=wanted.max_tokens_default
    )


def _hold(wanted: Wanted, strict: bool, cap: int | None) -> int:
    """The worst case under a strict budget; otherwise the prompt's cost, which warns early enough."""
    return hold_nano_usd(
        wanted.offers,
        wanted.day,
        prompt_bytes=wanted.prompt_bytes if strict else wanted.prompt_tokens,
        messages=wanted.messages if strict else 0,
        images=wanted.images if strict else 0,
        output_tokens=(cap or 0) * wanted.choices if strict else 0,
    )


def _smaller_cap(wanted: Wanted, scopes: Sequence[Scope], answer: Refusal, cap: int | None) -> int | None:
    """A cap of our own that the remainder affords; None where nothing smaller helps."""
    if answer.reason != "budget" or wanted.max_tokens is not None or cap is None:
        return None
    budget = next((scope.budget_nano_usd for scope in scopes if scope.id == answer.scope), None) or 0
    tokens = affordable_tokens(
        wanted.offers,
        wanted.day,
        prompt_bytes=wanted.prompt_bytes,
        messages=wanted.messages,
        images=wanted.images,
        left_nano_usd=budget - answer.spent_nano_usd - answer.held_nano_usd,
    )
    smaller = min(cap, tokens // wanted.choices)
    return smaller if OUTPUT_TOKENS_MIN <= smaller < cap else None


def _question(wanted: Wanted, scopes: tuple[Scope, ...], hold: int, now_ms: int) -> Admit:
    tokens = wanted.prompt_tokens + (wanted.max_tokens or 0) * wanted.choices
    # A request larger than a whole minute's limit gets through when the minute is empty, and not never.
    tokens = min([tokens, *(scope.tokens_per_minute for scope in scopes if scope.tokens_per_minute is not None)])
    return Admit(
        inference_id=wanted.inference_id,
        team_id=wanted.principal.billed.id,
        scopes=scopes,
        hold_nano_usd=hold,
        tokens=tokens,
        lease_ms=int((wanted.deadline_s + LEASE_SLACK_S) * 1000),
        not_after_ms=now_ms + ADMIT_WAIT_MS,
    )


def limit_headers(principal: Principal, scopes: Sequence[Scope], answer: Admission | Refusal) -> dict[str, str]:
    """`x-ratelimit-*` of the scope with the least left, and a warning where a budget is nearly spent."""
    headers: dict[str, str] = {}
    for kind in ("requests", "tokens"):
        known = [
            (left[kind], limit, left.get(f"reset_{kind}_s", 0))
            for scope in scopes
            if (left := answer.remaining.get(scope.id, {})) and kind in left
            if (limit := scope.requests_per_minute if kind == "requests" else scope.tokens_per_minute) is not None
        ]
        if known:
            remaining, limit, reset = min(known)
            headers[f"x-ratelimit-limit-{kind}"] = str(limit)
            headers[f"x-ratelimit-remaining-{kind}"] = str(remaining)
            headers[f"x-ratelimit-reset-{kind}"] = f"{reset}s"
    for scope in scopes:
        budget = principal.billed.budget if scope.id == "team" else principal.key.budget
        remaining_budget = answer.remaining.get(scope.id, {}).get("budget_nano_usd")
        if budget is None or remaining_budget is None or not budget.warn_at:
            continue
        whose = _whose(principal, scope.id)
        if budget.nano_usd == 0:
            headers["x-gateway-budget-warning"] = f"the {budget.period} budget of {whose} is 0 USD"
            continue
        percent = 100 * (budget.nano_usd - remaining_budget) // budget.nano_usd
        if percent >= min(budget.warn_at):
            headers["x-gateway-budget-warning"] = f"{percent}% of the {budget.period} budget of {whose} is used"
    return headers


def _whose(principal: Principal, scope_id: str) -> str:
    return f"team '{principal.billed.name}'" if scope_id == "team" else f"key {principal.key.prefix}"


def _refuse(principal: Principal, scopes: Sequence[Scope], answer: Refusal) -> NoReturn:
    headers = tuple(limit_headers(principal, scopes, answer).items())
    whose = _whose(principal, answer.scope)
    scope = next((scope for scope in scopes if scope.id == answer.scope), None)
    if answer.reason == "budget" and scope is not None:
        resets = "It does not reset."
        if scope.budget_resets_at_ms is not None:
            moment = datetime.fromtimestamp(scope.budget_resets_at_ms / 1000, UTC)
            resets = f"It resets at {moment.isoformat().replace('+00:00', 'Z')}."
        raise BudgetExceeded(
            f"The budget of {whose} ({format_usd(scope.budget_nano_usd or 0)} USD) does not cover this request: "
            f"{format_usd(answer.spent_nano_usd)} USD are spent and "
            f"{format_usd(answer.held_nano_usd)} USD held. {resets}",
            headers=headers,
        )
    if answer.reason == "late":
        raise RateLimited("The store answered too late; try again.", retry_after_s=AWAY_RETRY_S)
    limits = {
        "requests": f"{scope.requests_per_minute} requests a minute" if scope else "requests",
        "tokens": f"{scope.tokens_per_minute} tokens a minute" if scope else "tokens",
        "concurrency": f"{scope.concurrency} requests at a time" if scope else "concurrency",
    }
    raise RateLimited(
        f"The limit of {whose} is reached: {limits[answer.reason]}.",
        retry_after_s=max(1, math.ceil(answer.retry_after_s)),
        headers=headers,
    )
