"""One request is found in the journals of a host by its id, whoever wrote what of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import msgspec
import pytest

from gateway.journal.entries import FORMAT, FRAME_HEADER, Intent, Open, Refused, Sent, frame, frame_closed
from gateway.journal.local import LocalJournals, Told
from tests.store.samples import NOW_MS, entry, ids

Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Frames into the first segment of a journal of this name."""

    def into(instance: str, *framed: bytes) -> None:
        (tmp_path / instance).mkdir()
        (tmp_path / instance / "1.log").write_bytes(frame(Open(instance, NOW_MS, FORMAT)) + b"".join(framed))

    return into


def intent(inference_id: str, **changes: object) -> Intent:
    made = Intent(inference_id, NOW_MS, "2026-11-24", 0, 0, "t_a", "k", "m", "r", 1, NOW_MS)
    return msgspec.structs.replace(made, **changes)


def told(root: Path, inference_id: str, *, ended: bool = False) -> Told:
    return LocalJournals(root).told(inference_id, NOW_MS, ended=ended)


def test_the_beginning_and_the_end_may_be_in_two_journals(tmp_path: Path, write: Write) -> None:
    one = ids.next()
    write("i_dead", frame(intent(one)), frame(Sent(one, 1, "groq", "m", NOW_MS)))
    write("i_heir", frame_closed(entry(1, inference_id=one)))
    found = told(tmp_path, one)
    assert found.begun is not None
    assert found.begun.intent.inference_id == one
    assert [closed.inference_id for closed in found.entries] == [one]


def test_the_last_word_of_a_beginning_counts(tmp_path: Path, write: Write) -> None:
    held, refused = ids.next(), ids.next()
    write(
        "i_one",
        frame(intent(held)),
        frame(intent(held, hold_nano_usd=7)),
        frame(intent(refused)),
        frame(Refused(refused, 402, "budget_exceeded")),
    )
    begun = told(tmp_path, held).begun
    assert begun is not None
    assert (begun.intent.hold_nano_usd, begun.refused) == (7, None)
    begun = told(tmp_path, refused).begun
    assert begun is not None
    assert begun.refused == Refused(refused, 402, "budget_exceeded")


def test_a_label_that_is_anothers_id_is_not_that_request(tmp_path: Path, write: Write) -> None:
    one = ids.next()
    write("i_one", frame(intent(ids.next(), request_id=one)), frame_closed(entry(1, request_id=one)))
    assert told(tmp_path, one) == Told(None, [])
    assert len(list(LocalJournals(tmp_path).closed_entries(0, NOW_MS + 1, holding=one))) == 1


def test_what_cannot_be_read_is_passed_over(tmp_path: Path, write: Write) -> None:
    one = ids.next()
    payload = b'{"e":"intent","inference_id":"%b"}' % one.encode()
    fieldless = FRAME_HEADER.pack(len(payload), crc32(payload)) + payload
    damaged = frame_closed(entry(1, inference_id=one))[:-9] + b"x" * 9
    write("i_one", fieldless, damaged, frame(intent(one)))
    assert told(tmp_path, one).begun is not None
    assert len(list(LocalJournals(tmp_path).requests(0))) == 1


def test_only_segments_of_its_own_time_are_read(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    one = ids.next()
    write("i_one", frame(intent(one)))
    read: list[Path] = []

    def noted(path: Path, text: bytes) -> bool:
        read.append(path)
        return False

    monkeypatch.setattr("gateway.journal.local.holds", noted)
    LocalJournals(tmp_path).told(one, NOW_MS - 8_000_000)
    LocalJournals(tmp_path).told(one, NOW_MS + 3_600_000 * 24)
    assert read == []
    LocalJournals(tmp_path).told(one, NOW_MS)
    assert len(read) == 1
