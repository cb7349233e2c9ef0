"""The meter of a limited team: what it holds, whom it refuses, and what it does without the store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.admission import Admissions
from gateway.errors import BudgetExceeded, LedgerUnavailable, RateLimited
from gateway.records import Admission, Admit, Refusal
from gateway.store.base import Store, StoreAway
from gateway.tenants import Budget, Limits, Principal
from providers.wire import Usage
from tests.unit.metered_house import House, in_house, limited, win
from tests.unit.offers import offer, opening


def test_a_strict_budget_holds_the_worst_and_charges_what_it_was(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        who = limited(budget=Budget(2_000_000))
        bill = await house.meter.open(opening(who, max_tokens=1000))  # 944 × 0.59 + 1000 × 0.79 = 1 346 960
        with pytest.raises(BudgetExceeded, match=r"0\.00134696 USD held\. It resets at "):
            await house.meter.open(opening(who, max_tokens=1000))
        bill.sent(offer())
        win(bill)
        await bill.close(failed=False)
        again = await house.meter.open(opening(who, max_tokens=1000))
        assert again.max_tokens_set is None
        again.sent(offer())
        win(again, usage=Usage(5000, 1016))  # more than the hold: the rest is not the team's
        await again.close(failed=False)
        use = house.closed()[-1]
        assert (use.charge_nano_usd, use.overrun_nano_usd) == (1_346_960, 2_950_000 + 802_640 - 1_346_960)

    in_house(tmp_path, act)


def test_two_who_made_one_answer_together_cost_the_team_no_more_than_was_held(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        who = limited(budget=Budget(2_000_000))
        bill = await house.meter.open(opening(who, max_tokens=1000))  # 1 346 960 are held
        bill.sent(offer())
        bill.head(200)
        win(bill, usage=None, text_chars=4000, broken="truncated", to_go_on=True)
        assert house.closed() == []  # it waits for who goes on
        bill.sent(offer("together"), goes_on=True)
        win(bill, usage=Usage(1100, 1016))
        await bill.close(failed=False)
        began, went_on = house.closed()
        assert (began.last, went_on.last, went_on.charged_for) == (False, True, "completion")
        assert began.charge_nano_usd == 100 * 590 + 1000 * 790
        assert (began.charge_nano_usd or 0) + (went_on.charge_nano_usd or 0) == 1_346_960
        assert went_on.overrun_nano_usd == 1016 * 790 - (1_346_960 - 100 * 590 - 1000 * 790)
        assert went_on.provider_cost_nano_usd == 1100 * 590 + 1016 * 790

    in_house(tmp_path, act)


def test_a_request_without_a_cap_gets_one_that_the_budget_affords(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        who = limited(budget=Budget(1_000_000, period="total"))
        bill = await house.meter.open(opening(who))
        assert bill.max_tokens_set is not None
        assert 16 <= bill.max_tokens_set == (1_000_000 - 944 * 590) * 10**6 // 790_000_000
        with pytest.raises(BudgetExceeded, match="does not reset"):
            await house.meter.open(opening(who))
        roomy = await house.meter.open(opening(limited(id="t_other", budget=Budget(10**12))))
        assert roomy.max_tokens_set == 8192

    in_house(tmp_path, act)


def test_a_client_with_one_slot_never_meets_its_own_ghost(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        who = limited(limits=Limits(concurrency=1, requests_per_minute=100))
        for _ in range(10):
            bill = await house.meter.open(opening(who))
            with pytest.raises(RateLimited, match="1 requests at a time"):
                await house.meter.open(opening(who))
            bill.sent(offer())
            win(bill)
            await bill.close(failed=False)
        assert bill.limit_headers["x-ratelimit-limit-requests"] == "100"
        assert bill.limit_headers["x-ratelimit-remaining-requests"] == "90"
        assert bill.limit_headers["x-ratelimit-reset-requests"].endswith("s")

    in_house(tmp_path, act)


class SlowStore:
    """Admits when it is told to."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def admit(self, requests: Sequence[Admit]) -> list[Admission | Refusal]:
        self.asked.set()
        await self.may_answer.wait()
        return await self._store.admit(requests)


def test_who_leaves_while_the_store_is_asked_leaves_nothing_held(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        slow: Any = SlowStore(house.store)
        house.meter.admissions = Admissions(slow)
        who = limited(limits=Limits(concurrency=1))
        first = asyncio.ensure_future(house.meter.open(opening(who)))
        await slow.asked.wait()
        second = asyncio.ensure_future(house.meter.open(opening(who)))  # which waits for the first one's answer
        await asyncio.sleep(0)
        for opened in (first, second):
            opened.cancel()
        # A close that did not wait for the answer would come before it now.
        await asyncio.wait([first, second], timeout=0.01)
        await house.meter.shipper.drain(5)
        slow.may_answer.set()
        await asyncio.wait([first, second])
        assert (first.cancelled(), second.cancelled()) == (True, True)
        await house.meter.shipper.drain(5)
        bill = await house.meter.open(opening(who))
        await bill.close(failed=True)

    in_house(tmp_path, act)


def test_who_leaves_before_the_store_is_asked_stops_nobody(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        house.meter.admissions.pause()
        opened = asyncio.ensure_future(house.meter.open(opening(limited(limits=Limits(concurrency=1)))))
        await asyncio.sleep(0)
        opened.cancel()
        await asyncio.wait([opened])
        house.meter.admissions.resume()
        bill = await house.meter.open(opening(limited(limits=Limits(concurrency=1))))
        await bill.close(failed=True)

    in_house(tmp_path, act)


def test_a_budget_that_is_nearly_spent_says_so(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        who = limited(budget=Budget(100, enforce="soft", period="day"))
        bill = await house.meter.open(opening(who))
        assert "of the day budget of team 'search' is used" in bill.limit_headers["x-gateway-budget-warning"]

    in_house(tmp_path, act)


@pytest.mark.parametrize(
    ("limits", "choice", "expected"),
    [
        ({"budget": Budget(10**12)}, None, "refused"),
        ({"budget": Budget(10**12)}, "deny", "refused"),
        ({"budget": Budget(10**12)}, "allow-bounded", "bounded"),
        ({"budget": Budget(10**12)}, "allow", "free"),
        ({"budget": Budget(10**12, enforce="soft")}, None, "bounded"),
        ({"budget": Budget(10**12, enforce="soft")}, "deny", "refused"),
        ({"budget": Budget(10**12, enforce="soft")}, "allow", "free"),
        ({"limits": Limits(requests_per_minute=4)}, None, "bounded"),
        ({"limits": Limits(tokens_per_minute=4_000)}, None, "bounded"),
        ({"limits": Limits(concurrency=4)}, None, "bounded"),
        ({"limits": Limits(concurrency=4)}, "deny", "refused"),
        ({"limits": Limits(concurrency=4)}, "allow", "free"),
        ({}, "deny", "unasked"),
    ],
)
def test_without_the_store_a_team_goes_on_as_it_has_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: dict[str, object], choice: str | None, expected: str
) -> None:
    """By default strict budgets are refused, and the rest goes on within what was left; a team may choose."""

    async def goes_on(house: House, team: Principal) -> bool:
        try:
            bill = await house.meter.open(opening(team))
        except LedgerUnavailable:
            return False
        bill.sent(offer())
        bill.head(200, "up")
        win(bill)
        (use,) = [one for one in house.closed() if one.inference_id == bill.inference_id]
        assert use.away is (expected != "unasked")
        return True

    async def act(house: House) -> None:
        async def away(*_: object) -> None:
            raise StoreAway("Redis does not answer")

        team = limited(**limits, when_store_down=choice)
        with monkeypatch.context() as patched:
            patched.setattr(house.store, "admit", away)
            unread = await goes_on(house, team)
        assert unread is (expected in ("free", "unasked"))
        before = await house.meter.open(opening(team))
        with monkeypatch.context() as patched:
            patched.setattr(house.store, "admit", away)
            assert await goes_on(house, team) is (expected != "refused")
        await before.close(failed=True)
        # The store may have held something before it went: the refused ones are closed, so that it ends.
        assert {(one.kind, one.number, one.last) for one in house.closed() if not one.answered} == {("void", 0, True)}

    in_house(tmp_path, act)


def test_without_the_store_a_soft_budget_ends_at_what_was_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(house: House) -> None:
        async def away(*_: object) -> None:
            raise StoreAway("Redis does not answer")

        team = limited(budget=Budget(4_000_000, enforce="soft"))
        await (await house.meter.open(opening(team))).close(failed=True)
        monkeypatch.setattr(house.store, "admit", away)
        bill = await house.meter.open(opening(team, max_tokens=None))
        assert bill.max_tokens_set is not None  # what it may cost at most fits into what was left
        with pytest.raises(LedgerUnavailable, match=r"does not cover this request \(budget\)"):
            await house.meter.open(opening(team, max_tokens=None))
        bill.sent(offer())
        bill.head(200, "up")
        win(bill)
        await house.meter.open(opening(team, max_tokens=None))  # and what it did not cost is there again

    in_house(tmp_path, act)
