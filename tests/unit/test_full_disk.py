"""Bills when the journal's disk is full: nothing is sent unwritten, and what is owed is written later."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import LedgerUnavailable, RateLimited
from gateway.journal import writer as writing
from gateway.journal.writer import JournalFailed, JournalWriter
from gateway.tenants import Limits
from tests.unit.metered_house import House, in_house, limited, win
from tests.unit.offers import offer, opening


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
