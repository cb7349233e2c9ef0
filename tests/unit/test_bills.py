"""The bill of one request: which entries it leaves, and what each charges."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.catalog import Price
from gateway.journal.entries import Intent, Sent, decode_entry, frames
from gateway.journal.reader import read_state, segments
from gateway.outcomes import abandoned
from gateway.records import PriceTaken
from providers.wire import FailureKind, Usage
from tests.unit.metered_house import House, fail, in_house, win
from tests.unit.offers import offer, opening


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


def test_a_prompt_is_charged_once_also_where_the_worker_died_going_on() -> None:
    intent = Intent("r", 0, "2026-11-24", 0, 0, "t", "k", "m", "r", prompt_tokens=100, deadline_ms=1)
    sent = Sent("r", 2, "together", "m", 0, PriceTaken(590_000_000, 790_000_000, 0, 0), "completion", 454_000)

    outcome = abandoned(intent, sent, status=200, upstream_id=None, completion_tokens=20)

    assert (outcome.charged_for, outcome.charge_nano_usd) == ("completion", 20 * 790)
    assert outcome.provider_cost_nano_usd == 100 * 590 + 20 * 790


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
