"""Journals that the store has: compressed after a day, read from there, brought back where they are needed, removed
after a month; whoever dies meanwhile, and whatever breaks."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from gateway.adoption import Adoption
from gateway.cli.main import main
from gateway.journal import writer as writing
from gateway.journal.archive import archive_of, archive_segment, archived_last, segments_in
from gateway.journal.entries import Intent, Open
from gateway.journal.local import LocalJournals
from gateway.journal.reader import SHIPPED_NAME, closed_entries, first_entry, segments
from gateway.journal.shipped import mark_shipped
from gateway.journal.writer import JournalWriter
from gateway.ledger_period import read_period
from gateway.losses import losses
from gateway.periods import hour_of
from gateway.records import PriceTaken
from gateway.retirement import Kept, Retirement, bring_back, retire_folders
from gateway.rollbacks import Rollbacks
from gateway.store.base import Store
from gateway.store.open import open_store
from gateway.store.redis.names import TeamNames
from gateway.store.shipper import Shipper
from gateway.tenants import Team
from tests.store.redis_server import RedisServer
from tests.store.samples import NOW_MS, TEAM, entry
from tests.store.samples import ids as inference_ids
from tests.store.test_ledger import assert_equals_fold
from tests.store.test_shipping import fold_of, journal, ship, write

DAY_S = 86_400.0
LATER_S = NOW_MS / 1000 + 25 * 3600
"""A day after everything here was written."""
KEPT = Kept()
PRICE = PriceTaken(590_000_000, 790_000_000, 300_000_000, 590_000_000)
SHOWN_PRICE = {"input": "0.59", "cached_input": "0.3", "cache_write": "0.59", "output": "0.79"}


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "SEGMENT_BYTES", 2_000)


def shipped_journal(root: Path, count: int, instance: str = "i_one") -> JournalWriter:
    writer = journal(root, instance)
    write(writer, count)
    writer.release()
    mark_shipped(writer.folder, writer.last)
    return writer


def seqs(root: Path) -> list[int]:
    return sorted(one.seq for one in LocalJournals(root / "journal").closed_entries(0, NOW_MS + 1))


def test_a_segment_comes_back_as_it_was(tmp_path: Path) -> None:
    writer = shipped_journal(tmp_path, 50)
    (path,) = segments(writer.folder)
    os.utime(path, (1_000, 1_000))
    folder = tmp_path / "archive" / "i_one"
    archived = archive_segment(path, {TEAM: 50}, folder)
    before = archived.read_bytes()
    assert archive_segment(path, {TEAM: 50}, folder).read_bytes() == before
    assert [one.name for one in folder.iterdir()] == ["1.log.gz"]
    assert (archived.stat().st_mode & 0o777, archived.stat().st_mtime) == (0o600, 1_000)
    assert archived_last(archived) == {TEAM: 50}
    assert list(closed_entries([archived])) == list(closed_entries([path]))
    assert len(before) < path.stat().st_size / 4


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, list[Any]]:
    root = tmp_path_factory.mktemp("whole")
    writer = shipped_journal(root, 40)
    (path,) = segments(writer.folder)
    archived = archive_segment(path, {TEAM: 40}, root / "archive" / "i_one")
    return root / "torn.log.gz", archived.read_bytes(), list(closed_entries([path]))


@given(cut=st.integers(0, 1 << 16), flip=st.integers(0, 1 << 16), is_cut=st.booleans())
def test_of_a_torn_archive_what_comes_before_is_read(
    whole: tuple[Path, bytes, list[Any]], cut: int, flip: int, is_cut: bool
) -> None:
    path, data, entries = whole
    broken = bytearray(data[: cut % len(data)] if is_cut else data)
    if not is_cut:
        broken[flip % len(data)] ^= 0xFF
    path.write_bytes(bytes(broken))
    logging.disable(logging.ERROR)
    try:
        found = list(closed_entries([path]))
        archived_last(path)
    finally:
        logging.disable(logging.NOTSET)
    assert found == entries[: len(found)]


def test_a_torn_archive_is_told_and_the_rest_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for instance in ("i_one", "i_two"):
        shipped_journal(tmp_path, 200, instance)
    retire_folders(tmp_path / "journal", KEPT, 0, LATER_S)
    torn = tmp_path / "archive" / "i_one" / "1.log.gz"
    torn.write_bytes(torn.read_bytes()[:-20])
    found = seqs(tmp_path)
    assert 200 <= len(found) < 400
    assert f"{torn} is damaged" in caplog.text


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.usefixtures("small_segments")
def test_killed_at_any_step_nothing_is_lost_or_doubled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "journal"
    shipped_journal(tmp_path, 20)
    (root / "i_one" / "1.bad").write_bytes(b"kept aside")
    steps = survived = 0

    def dying(act: Callable[..., Any]) -> Callable[..., Any]:
        def acting(*args: Any, **kwargs: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps > survived:
                raise Killed
            return act(*args, **kwargs)

        return acting

    with monkeypatch.context() as patched:
        for place, name in ((os, "fsync"), (os, "utime"), (Path, "rename"), (Path, "replace"), (shutil, "rmtree")):
            patched.setattr(place, name, dying(getattr(place, name)))
        while True:
            steps = 0
            try:
                retire_folders(root, KEPT, 0, LATER_S)
                break
            except Killed:
                survived += 1
                assert sorted(set(seqs(tmp_path))) == list(range(1, 21))
    assert survived > 10
    retire_folders(root, KEPT, 0, LATER_S)
    assert list(root.iterdir()) == []
    assert seqs(tmp_path) == list(range(1, 21))
    assert (tmp_path / "archive" / "i_one" / "1.bad").read_bytes() == b"kept aside"


def test_two_workers_at_once_archive_a_journal_once(tmp_path: Path) -> None:
    for number in range(6):
        shipped_journal(tmp_path, 30, f"i_{number}")
    retiring = [
        threading.Thread(target=retire_folders, args=(tmp_path / "journal", KEPT, 0, LATER_S)) for _ in range(3)
    ]
    for thread in retiring:
        thread.start()
    for thread in retiring:
        thread.join()
    assert list((tmp_path / "journal").iterdir()) == []
    assert len(seqs(tmp_path)) == 6 * 30


def test_what_is_young_or_not_shipped_stays_and_the_oldest_makes_room(tmp_path: Path) -> None:
    root = tmp_path / "journal"
    for number, age_s in enumerate((100.0, 300.0, 200.0)):
        writer = shipped_journal(tmp_path, 1, f"i_{number}")
        os.utime(writer.folder / SHIPPED_NAME, (LATER_S - age_s, LATER_S - age_s))
    waiting = journal(tmp_path, "i_waiting")
    write(waiting, 1)
    waiting.release()
    unfinished = root / ".new-i_x"
    unfinished.mkdir()
    (unfinished / "lock").touch()
    os.utime(unfinished, (0, 0))
    retire_folders(root, KEPT, -1, LATER_S)
    assert sorted(path.name for path in root.iterdir()) == ["i_0", "i_1", "i_2", "i_waiting"]
    retire_folders(root, KEPT, 1, LATER_S)
    assert sorted(path.name for path in root.iterdir()) == ["i_0", "i_2", "i_waiting"]
    assert [path.name for path in archive_of(root).iterdir()] == ["i_1"]


@pytest.mark.usefixtures("small_segments")
def test_a_living_workers_old_segments_are_archived_and_shipped_again_from_there(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    redis_server.command("FLUSHALL")

    async def act(store: Store, shipper: Shipper) -> None:
        writer = journal(tmp_path)
        retirement = Retirement(tmp_path / "journal", lambda: [writer], KEPT)
        write(writer, 50)
        await retirement.retire(LATER_S)
        assert segments_in(tmp_path / "archive" / "i_one") == []
        shipper.add(writer)
        assert await shipper.drain(10)
        fold = fold_of(writer)
        await retirement.retire(NOW_MS / 1000)
        assert segments_in(tmp_path / "archive" / "i_one") == []
        await retirement.retire(LATER_S)
        assert len(segments(writer.folder)) == 1
        assert len(segments_in(tmp_path / "archive" / "i_one")) > 2
        assert seqs(tmp_path) == list(range(1, 51))

        redis_server.command("FLUSHALL")
        await store.create_team(Team(TEAM, "search", 0))
        await shipper.compare(writer)
        assert await shipper.drain(10)
        await assert_equals_fold(store, fold)
        assert shipper.lost_entries == 0

        # A month later, when even the archive has let go of it, what is missing is said to be.
        await retirement.retire(LATER_S + 36 * DAY_S)
        redis_server.command("FLUSHALL")
        await store.create_team(Team(TEAM, "search", 0))
        await shipper.compare(writer)
        assert await shipper.drain(10)
        assert shipper.lost_entries > 0
        writer.release()

    ship(lambda: open_store(state_dir=tmp_path, redis_url=redis_server.url), act)


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("wholly", [True, False])
def test_a_dead_workers_archive_is_shipped_again_where_the_store_was_set_back(
    redis_server: RedisServer, tmp_path: Path, wholly: bool
) -> None:
    """Of a journal that went there wholly, and of one whose last segments did not."""
    redis_server.command("FLUSHALL")
    root = tmp_path / "journal"

    async def act(store: Store, shipper: Shipper) -> None:
        dead = shipped_journal(tmp_path, 20, "i_dead")
        fold = fold_of(dead)
        if wholly:
            retire_folders(root, KEPT, 0, LATER_S)
        else:
            (dead.folder / SHIPPED_NAME).unlink()
            for sealed in dead.sealed[:-1]:
                archive_segment(sealed.path, sealed.last, tmp_path / "archive" / "i_dead")
                sealed.path.unlink()
        own = journal(tmp_path, "i_own")
        adoption = Adoption(root, own, shipper, store)
        rollbacks = Rollbacks(
            root, adoption, shipper, store, hold_again=lambda: asyncio.sleep(0), pause=lambda: None, resume=lambda: None
        )
        await rollbacks.compare()
        await adoption.adopt()
        assert await shipper.drain(10)
        await assert_equals_fold(store, fold)
        assert shipper.lost_entries == 0
        await adoption.adopt()
        assert (dead.folder / SHIPPED_NAME).exists()
        assert rollbacks.found == int(wholly)
        await rollbacks.compare()
        assert rollbacks.found == int(wholly)
        assert sorted(set(seqs(tmp_path))) == list(range(1, 21))
        await adoption.aclose()
        own.release()

    ship(lambda: open_store(state_dir=tmp_path, redis_url=redis_server.url), act)


def test_a_journal_is_brought_back_by_one_of_several(tmp_path: Path) -> None:
    root = tmp_path / "journal"
    shipped_journal(tmp_path, 3)
    retire_folders(root, KEPT, 0, LATER_S)
    assert bring_back(root, "i_one")
    assert not bring_back(root, "i_one")
    assert seqs(tmp_path) == [1, 2, 3]


def test_reports_find_in_the_archive_what_the_store_no_longer_has(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    redis_server.command("FLUSHALL")
    root = tmp_path / "journal"

    async def act(store: Store, shipper: Shipper) -> None:
        writer = journal(tmp_path)
        shipper.add(writer)
        for seq in range(1, 6):
            writer.append_closed(
                entry(seq, charge_nano_usd=100, provider_cost_nano_usd=140, overrun_nano_usd=40, price=PRICE)
            )
        writer.append_closed(entry(6, answered=False, charge_nano_usd=0, provider_cost_nano_usd=9, failure="timeout"))
        assert await shipper.drain(10)
        shipper.remove(writer)
        write(writer, 2)  # not shipped: in no sum, and so in no report that explains sums
        writer.release()
        mark_shipped(writer.folder, writer.last)
        retire_folders(root, KEPT, 0, LATER_S)
        redis_server.command("DEL", TeamNames("gw", TEAM).entries)
        period = (NOW_MS - 3_600_000, NOW_MS + 3_600_000)
        assert losses(await read_period(store, *period)).total.parts["not_itemised"] == 9
        found = await read_period(store, *period, None, LocalJournals(root))
        assert sorted(one.seq for one in found.entries) == [1, 2, 3, 4, 5, 6]
        parts = losses(found).total.parts
        assert (parts["overrun"], parts["failed"], parts["not_itemised"]) == (200, 9, 0)

    ship(lambda: open_store(state_dir=tmp_path, redis_url=redis_server.url), act)
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    month = ["invoice", "--team", "search", "--month", hour_of(NOW_MS, "UTC").day[:7], "--json"]

    def invoiced(state_dir: Path) -> tuple[list[Any], str]:
        monkeypatch.setenv("GATEWAY_STATE_DIR", str(state_dir))
        assert main(month) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["total_usd"] == "0.0000005"
        return [line["price"] for line in told["data"] if line["amount_usd"] != "0"], " ".join(told["notes"])

    # Sums by price are kept as long as the ledger, and so on any host; before there were any, archives tell.
    elsewhere = tmp_path / "another-host"
    for state_dir in (tmp_path, elsewhere):
        prices, notes = invoiced(state_dir)
        assert prices == [SHOWN_PRICE]
        assert "no longer kept" not in notes
    redis_server.command("DEL", TeamNames("gw", TEAM).lines(month[4]))
    assert invoiced(tmp_path)[0] == [SHOWN_PRICE]
    prices, notes = invoiced(elsewhere)
    assert prices == [None]
    assert "no longer kept" in notes


def test_how_a_request_began_is_found_in_the_archive(tmp_path: Path) -> None:
    root = tmp_path / "journal"
    writer = journal(tmp_path)
    inference_id = inference_ids.next()
    intent = Intent(inference_id, NOW_MS, "2026-11-24", 0, 0, TEAM, "k", "m", "r", 1, NOW_MS, decision=Raw(b"{}"))
    writer.append(intent)
    write(writer, 1)
    writer.release()
    mark_shipped(writer.folder, {})
    live = list(LocalJournals(root).requests(0))
    retire_folders(root, KEPT, 0, LATER_S)
    assert list(LocalJournals(root).requests(0)) == live
    begun = LocalJournals(root).told(inference_id, NOW_MS).begun
    assert begun is not None
    assert (begun.intent.inference_id, begun.refused) == (inference_id, None)
    (archived,) = segments_in(archive_of(root) / "i_one")
    assert isinstance(first_entry(archived), Open)
