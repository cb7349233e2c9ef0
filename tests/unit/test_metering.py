"""The bill of one request: which entries it leaves, and what each charges."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from gateway.admission import Admissions
from gateway.config.catalog import Price
from gateway.errors import BudgetExceeded, LedgerUnavailable, RateLimited
from gateway.journal import writer as writing
from gateway.journal.entries import Intent, Sent, decode_entry, frames
from gateway.journal.reader import closed_entries, read_state, segments
from gateway.journal.writer import JournalFailed, JournalWriter
from gateway.metering import Bill, Meter
from gateway.outcomes import abandoned
from gateway.records import Admission, Admit, ClosedEntry, PriceTaken, Refusal
from gateway.store.base import Store, StoreAway
from gateway.store.open import open_store
from gateway.store.shipper import Shipper
from gateway.tenants import Budget, Limits, Principal
from providers.wire import FailureKind, ProviderFailure, Usage
from tests.unit.offers import TEAM, offer, opening, principal


@dataclass
class House:
    meter: Meter
    journal: JournalWriter
    store: Store
    shipper: Shipper

    def closed(self) -> list[ClosedEntry]:
        return list(closed_entries(segments(self.journal.folder)))


def in_house(tmp_path: Path, act: Callable[[House], Awaitable[None]]) -> None:
    async def acted() -> None:
        store = await open_store(state_dir=tmp_path)
        journal = JournalWriter.create(tmp_path / "journal", "i_one")
        shipper = Shipper(store, batch_s=0.001)
        shipper.add(journal)
        try:
            await act(House(Meter(journal=journal, store=store, shipper=shipper), journal, store, shipper))
        finally:
            await shipper.aclose()
            await journal.aclose()
            await store.aclose()

    asyncio.run(acted())


EXACT = Usage(100, 20)


def win(
    bill: Bill,
    usage: Usage | None = EXACT,
    text_chars: int = 80,
    broken: str | None = None,
    *,
    to_go_on: bool = False,
) -> None:
    bill.won(usage=usage, text_chars=text_chars, upstream_id="up", reported_model="m", duration_ms=5,
             first_content_ms=None, broken=broken, to_go_on=to_go_on)  # fmt: skip


def fail(
    bill: Bill, kind: FailureKind, status: int | None = None, *, answered_200: bool = False, chars: int = 0
) -> None:
    bill.failed(ProviderFailure(kind, "no", status=status), answered_200=answered_200, text_chars=chars, duration_ms=3)


def limited(**changes: object) -> Principal:
    return principal(team=replace(TEAM, **changes))  # type: ignore[arg-type]


def test_an_answer_is_charged_exactly_and_at_once(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        bill = await house.meter.open(opening())
        assert (bill.max_tokens_set, dict(bill.limit_headers)) == (None, {})
        assert bill.sent(offer()) == 1
        bill.head(200, "up")
        win(bill)
        (use,) = house.closed()
        assert (use.kind, use.number, use.last, use.answered, use.failed) == ("use", 1, True, True, False)
        assert (use.charge_nano_usd, use.provider_cost_nano_usd, use.estimated) == (74_800, 74_800, False)
        assert (use.request_id, use.tags, use.generation, use.upstream_id) == ("caller-1", {"project": "x"}, "g1", "up")
        await bill.close(failed=False)
        await bill.close(failed=True)
        assert len(house.closed()) == 1

    in_house(tmp_path, act)


def test_the_intent_and_the_sending_are_in_the_file_before_a_byte_goes_out(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        bill = await house.meter.open(opening())
        bill.sent(offer())
        (path,) = segments(house.journal.folder)
        found = [decode_entry(one[1]) for one in frames(path.read_bytes()) if isinstance(one, tuple)]
        assert [type(one) for one in found[1:]] == [Intent, Sent]
        assert bytes(found[1].decision) == b'{"order":"preferred"}'  # type: ignore[union-attr]

    in_house(tmp_path, act)


@pytest.mark.parametrize(
    ("kind", "status", "answered_200", "expected"),
    [
        (FailureKind.CONNECT, None, False, ("void", False, False)),
        (FailureKind.RATE_LIMITED, 429, False, ("void", False, False)),
        (FailureKind.TIMEOUT, None, False, ("use", True, False)),
        (FailureKind.RESET, None, False, ("use", True, False)),
        (FailureKind.TRUNCATED, 200, True, ("use", False, True)),
    ],
)
def test_an_attempt_that_failed_is_never_charged(
    tmp_path: Path, kind: FailureKind, status: int | None, answered_200: bool, expected: tuple[object, ...]
) -> None:
    async def act(house: House) -> None:
        bill = await house.meter.open(opening())
        bill.sent(offer())
        fail(bill, kind, status, answered_200=answered_200, chars=120)
        assert house.closed() == []
        await bill.close(failed=True)
        (one,) = house.closed()
        assert (one.last, one.failed, one.answered, one.charge_nano_usd, one.failure) == (
            True,
            True,
            False,
            0,
            kind.value,
        )
        tokens = one.prompt_tokens + one.completion_tokens
        assert (one.kind, one.unknown, one.estimated) == expected
        if answered_200:
            assert (tokens, one.provider_cost_nano_usd) == (130, 59_000 + 23_700)

    in_house(tmp_path, act)


def test_a_fallback_closes_the_first_attempt_with_the_second_ones_sending(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        bill = await house.meter.open(opening())
        bill.sent(offer("cerebras"))
        fail(bill, FailureKind.RATE_LIMITED, 429)
        assert bill.sent(offer("groq")) == 2
        assert [(one.kind, one.provider, one.last) for one in house.closed()] == [("void", "cerebras", False)]
        win(bill)
        await bill.close(failed=False)
        second = house.closed()[1]
        assert (second.number, second.provider, second.last, second.seq, second.prev) == (2, "groq", True, 2, 1)

    in_house(tmp_path, act)


def test_without_usage_the_prompt_and_what_was_sent_are_estimated(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        for broken in ("client_gone", "truncated", None):
            bill = await house.meter.open(opening())
            bill.sent(offer())
            bill.head(200)
            win(bill, usage=None, text_chars=400, broken=broken)
        uses = house.closed()
        assert {(one.prompt_tokens, one.completion_tokens, one.estimated) for one in uses} == {(100, 100, True)}
        assert [(one.failure, one.failed) for one in uses] == [
            ("client_gone", False),
            ("truncated", True),
            (None, False),
        ]

    in_house(tmp_path, act)


@pytest.mark.parametrize("usage", [Usage(100, 10**18), Usage(200_000, 5), Usage(100, 133), Usage(-5, 5)])
def test_usage_that_cannot_be_is_replaced_by_an_estimate(tmp_path: Path, usage: Usage) -> None:
    async def act(house: House) -> None:
        bill = await house.meter.open(opening(max_tokens=100 if usage.completion_tokens == 133 else None))
        bill.sent(offer())
        win(bill, usage=usage)
        (use,) = house.closed()
        assert (use.estimated, use.prompt_tokens, use.completion_tokens) == (True, 100, 20)
        assert house.meter.implausible_usages == 1

    in_house(tmp_path, act)


def test_a_zero_is_a_zero(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        bill = await house.meter.open(opening())
        bill.sent(offer())
        win(bill, usage=Usage(0, 0))
        (use,) = house.closed()
        assert (use.estimated, use.prompt_tokens, use.charge_nano_usd) == (False, 0, 0)

    in_house(tmp_path, act)


def test_tokens_of_a_class_that_no_price_is_for_are_told(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        told: list[object] = []
        house.meter.tell_unpriced = lambda *words: told.append(words)
        bill = await house.meter.open(opening())
        bill.sent(offer())
        win(bill, usage=Usage(100, 20, unpriced=(("audio_tokens", 7),)))
        assert told == [("groq", (("audio_tokens", 7),))]
        assert house.closed()[-1].charge_nano_usd == 74_800

    in_house(tmp_path, act)


def test_an_offer_without_a_price_is_charged_nothing_and_counted(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        bill = await house.meter.open(opening())
        bill.sent(offer(price=None))
        win(bill)
        (use,) = house.closed()
        assert (use.charge_nano_usd, use.provider_cost_nano_usd, use.prompt_tokens) == (None, None, 100)
        assert house.meter.unpriced_requests == 1

    in_house(tmp_path, act)


def test_a_request_that_reached_nobody_leaves_a_void(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        bill = await house.meter.open(opening())
        await bill.close(failed=True)
        (void,) = house.closed()
        assert (void.kind, void.number, void.provider, void.last, void.failed) == ("void", 0, "", True, True)
        assert read_state(house.journal.folder).requests == {}

    in_house(tmp_path, act)


def test_a_sending_of_which_nothing_is_known_is_unknown(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        bill = await house.meter.open(opening())
        bill.sent(offer())
        await bill.close(failed=True)
        (use,) = house.closed()
        assert (use.kind, use.unknown, use.charge_nano_usd) == ("use", True, 0)

    in_house(tmp_path, act)


def test_parts_are_written_with_the_first_content_and_now_and_then(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        bill = await house.meter.open(opening(stream=True))
        bill.sent(offer())
        bill.head(200)
        for chars in range(0, 4000, 10):
            bill.part(chars)
        state = read_state(house.journal.folder)
        (request,) = state.requests.values()
        assert 700 < (request.attempts[1].completion_tokens or 0) < 1000
        assert (house.journal.folder / "1.log").read_bytes().count(b'"e":"part"') == 4

    in_house(tmp_path, act)


def test_when_the_journal_cannot_be_written_nothing_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(house: House) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise JournalFailed("the journal's disk is full")

        bill = await house.meter.open(opening())
        with monkeypatch.context() as patch:
            patch.setattr(writing.JournalWriter, "_write", refuse)
            with pytest.raises(LedgerUnavailable):
                bill.sent(offer())
            await bill.close(failed=True)
        assert house.closed() == []
        assert house.meter.journal_failures == 2

    in_house(tmp_path, act)


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


def test_a_prompt_is_charged_once_also_where_the_worker_died_going_on() -> None:
    intent = Intent("r", 0, "2026-11-24", 0, 0, "t", "k", "m", "r", prompt_tokens=100, deadline_ms=1)
    sent = Sent("r", 2, "together", "m", 0, PriceTaken(590_000_000, 790_000_000, 0, 0), "completion", 454_000)

    outcome = abandoned(intent, sent, status=200, upstream_id=None, completion_tokens=20)

    assert (outcome.charged_for, outcome.charge_nano_usd) == ("completion", 20 * 790)
    assert outcome.provider_cost_nano_usd == 100 * 590 + 20 * 790


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


def test_a_price_that_changes_at_midnight_is_that_of_admission(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        new = offer(prices=(Price(1, 1), Price(9, 9, from_day="2999-01-01")))
        bill = await house.meter.open(opening())
        bill.sent(new)
        win(bill)
        (use,) = house.closed()
        assert use.price is not None
        assert use.price.input == 1

    in_house(tmp_path, act)


class FullDisk:
    """Lets nothing be written while it is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        write = JournalWriter._write

        def writing_or_not(journal: JournalWriter, data: bytes, *, opening: bool = False) -> None:
            if self.full:
                raise JournalFailed("the journal's disk is full")
            write(journal, data, opening=opening)

        monkeypatch.setattr(JournalWriter, "_write", writing_or_not)


def test_a_close_that_could_not_be_written_is_written_before_the_next_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch)

    async def act(house: House) -> None:
        who = limited(limits=Limits(concurrency=1))
        bill = await house.meter.open(opening(who))
        bill.sent(offer())
        disk.full = True
        with pytest.raises(LedgerUnavailable):
            win(bill)
        await bill.close(failed=False)
        assert house.closed() == []
        disk.full = False
        with pytest.raises(RateLimited):
            await house.meter.open(opening(who))  # the slot is given back by the entry that is written first
        (use, *_) = house.closed()
        assert (use.answered, use.prompt_tokens, use.last) == (True, 100, True)
        await house.shipper.drain(5)
        await (await house.meter.open(opening(who))).close(failed=True)
        assert house.journal.requests_open == 0

    in_house(tmp_path, act)


def test_an_answer_that_the_caller_did_not_get_charges_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FullDisk(monkeypatch)

    async def act(house: House) -> None:
        bill = await house.meter.open(opening())
        bill.sent(offer())
        disk.full = True
        with pytest.raises(LedgerUnavailable):
            win(bill)
        disk.full = False
        bill.waive()
        await bill.close(failed=True)
        (use,) = house.closed()
        assert (use.answered, use.charge_nano_usd, use.failed) == (False, 0, True)
        assert use.provider_cost_nano_usd

    in_house(tmp_path, act)


def test_notes_leave_the_room_that_is_kept_for_closes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from_kept_room: list[bool] = []

    async def act(house: House) -> None:
        write = house.journal._write

        def writing_and_telling(data: bytes, *, opening: bool = False) -> None:
            from_kept_room.append(not opening)
            write(data, opening=opening)

        monkeypatch.setattr(house.journal, "_write", writing_and_telling)
        bill = await house.meter.open(opening())
        bill.sent(offer())
        bill.head(200)
        win(bill)
        assert from_kept_room == [False, False, True]

    in_house(tmp_path, act)
