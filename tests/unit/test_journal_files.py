"""One writer's folder: what survives it, what a full or failing disk does, and where it must not be kept."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.journal import writer as writing
from gateway.journal.entries import Part, Ship
from gateway.journal.filesystems import NetworkFileSystem, file_system_of, refuse_network
from gateway.journal.lock import take_lock
from gateway.journal.reader import closed_after, read_state, segments
from gateway.journal.writer import JournalFailed, JournalWriter, make_folder
from tests.store.samples import TEAM, entry

MOUNTS = """/dev/vda / ext4 rw 0 0
server:/export /srv nfs4 rw 0 0
tmpfs /srv/fast tmpfs rw 0 0
//host/share /mnt/my\\040share cifs rw 0 0
"""


def new_writer(root: Path, sync: str = "off") -> JournalWriter:
    return JournalWriter.create(root / "journal", "i_one", sync=sync)


def test_a_folder_appears_locked_and_private(tmp_path: Path) -> None:
    folder, lock = make_folder(tmp_path / "journal", "i_one")
    assert folder == tmp_path / "journal" / "i_one"
    assert folder.stat().st_mode & 0o777 == 0o700
    with pytest.raises(BlockingIOError), (folder / "lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert take_lock(folder) is None
    os.close(lock)


def test_what_was_written_is_read_back_and_the_file_is_private(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    for seq in (1, 2, 3):
        assert writer.turn(TEAM) == (seq, seq - 1)
        writer.append_closed(entry(seq), Part("x", 1, seq))
    writer.note_shipped(TEAM, 2)
    (path,) = segments(writer.folder)
    assert path.stat().st_mode & 0o777 == 0o600
    state = read_state(writer.folder)
    assert (state.last, state.shipped, state.bad_frames) == ({TEAM: 3}, {TEAM: 2}, 0)
    found = closed_after(writer.paths_after({TEAM: 1}), {TEAM: 1}, most=10)
    assert [one.seq for one in found.entries[TEAM]] == [2, 3]
    assert found.complete
    writer.release()
    assert path.stat().st_size < 4096  # the space allocated ahead is given back


def test_a_full_segment_is_followed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "SEGMENT_BYTES", 1000)
    writer = new_writer(tmp_path)
    for seq in range(1, 11):
        writer.append_closed(entry(seq))
    assert len(segments(writer.folder)) > 2
    assert len(writer.paths_after({TEAM: 9})) < len(segments(writer.folder))
    assert read_state(writer.folder).last == {TEAM: 10}
    assert writer.acknowledged() == []
    writer.note_shipped(TEAM, 10)
    assert [sealed.path for sealed in writer.acknowledged()] == segments(writer.folder)[:-1]
    assert writer.turn(TEAM) == (11, 10)


def failing_after(count: int, *, short: bool = False) -> Callable[[int, bytes, int], int]:
    """pwrite that fails (or writes half) after so many good ones."""
    real, left = os.pwrite, [count]

    def pwrite(fd: int, data: bytes, offset: int) -> int:
        left[0] -= 1
        if left[0] >= 0:
            return real(fd, data, offset)
        if short:
            return real(fd, data[: len(data) // 2], offset)
        raise OSError(errno.ENOSPC, "No space left on device")

    return pwrite


@pytest.mark.parametrize("short", [True, False])
def test_a_failed_write_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: bool) -> None:
    writer = new_writer(tmp_path)
    writer.append_closed(entry(1))
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", failing_after(0, short=short))
        with pytest.raises(JournalFailed):
            writer.append_closed(entry(2))
    assert writer.failing
    assert writer.turn(TEAM) == (2, 1)
    writer.append_closed(entry(2, prompt_tokens=7))
    assert not writer.failing
    state = read_state(writer.folder)
    assert (state.last, state.bad_frames) == ({TEAM: 2}, 0)


def test_where_cutting_back_fails_too_a_new_segment_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, size: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    writer = new_writer(tmp_path)
    writer.append_closed(entry(1))
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", failing_after(0, short=True))
        patch.setattr(os, "ftruncate", refuse)
        with pytest.raises(JournalFailed):
            writer.append_closed(entry(2))
    writer.append_closed(entry(2))
    assert len(segments(writer.folder)) == 2
    assert read_state(writer.folder).last == {TEAM: 2}
    found = closed_after(writer.paths_after({TEAM: 0}), {TEAM: 0}, most=10)
    assert [one.seq for one in found.entries[TEAM]] == [1, 2]


def test_on_a_full_disk_requests_under_way_end_and_new_ones_do_not_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    writer = new_writer(tmp_path)
    writer.requests_open = 20
    monkeypatch.setattr(os, "posix_fallocate", full)

    def fill() -> None:
        while True:
            writer.append(Part("x", 1, 1), opening=True)

    with pytest.raises(JournalFailed, match="no room"):
        fill()
    for seq in range(1, 21):
        writer.append_closed(entry(seq))
    assert read_state(writer.folder).last == {TEAM: 20}


def test_a_torn_end_is_cut_and_the_numbers_go_on(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    for seq in (1, 2):
        writer.append_closed(entry(seq))
    writer.release()
    (path,) = segments(writer.folder)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 5)
    lock = take_lock(writer.folder)
    assert lock is not None
    state = read_state(writer.folder)
    resumed = JournalWriter.resume(writer.folder, lock, state, sync="off")
    assert resumed.turn(TEAM) == (2, 1)
    resumed.append_closed(entry(2))
    state = read_state(writer.folder)
    assert (state.last, state.bad_frames) == ({TEAM: 2}, 0)


def test_a_damaged_entry_is_kept_aside_and_counted(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    for seq in (1, 2, 3):
        writer.append_closed(entry(seq))
    writer.release()
    (path,) = segments(writer.folder)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    state = read_state(writer.folder)
    assert state.bad_frames == 1
    assert state.last == {TEAM: 3}
    assert path.with_suffix(".bad").stat().st_size > 100


@pytest.mark.parametrize("sync", ["background", "group", "each", "off"])
def test_only_group_makes_a_last_byte_wait(tmp_path: Path, sync: str) -> None:
    async def act() -> None:
        writer = new_writer(tmp_path, sync)
        writer.append_closed(entry(1))
        waiting = writer.synced()
        assert (waiting is not None) == (sync == "group")
        if waiting is not None:
            async with asyncio.timeout(2):
                await waiting
        await writer.aclose()

    asyncio.run(act())


def test_a_failed_sync_moves_on_to_a_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    async def act() -> None:
        writer = new_writer(tmp_path, "group")
        writer.append_closed(entry(1))
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", refuse)
            waiting = writer.synced()
            assert waiting is not None
            await waiting
        assert writer.failures == 1
        writer.append(Ship(TEAM, 1))
        assert len(segments(writer.folder)) == 2
        await writer.aclose()

    asyncio.run(act())


def test_closing_forces_to_disk_and_lets_go(tmp_path: Path) -> None:
    async def act() -> None:
        writer = new_writer(tmp_path, "background")
        writer.append_closed(entry(1))
        await writer.aclose()
        lock = take_lock(writer.folder)
        assert lock is not None
        os.close(lock)

    asyncio.run(act())


def test_the_file_system_is_that_of_the_nearest_mount() -> None:
    assert file_system_of(Path("/var/lib"), MOUNTS) == "ext4"
    assert file_system_of(Path("/srv/gateway"), MOUNTS) == "nfs4"
    assert file_system_of(Path("/srv/fast/x"), MOUNTS) == "tmpfs"
    assert file_system_of(Path("/mnt/my share"), MOUNTS) == "cifs"


def test_network_file_systems_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_network(tmp_path)
    mounts = tmp_path / "mounts"
    mounts.write_text(f"server:/export {tmp_path} nfs rw 0 0\n")
    monkeypatch.setattr("gateway.journal.filesystems.MOUNTS", mounts)
    with pytest.raises(NetworkFileSystem, match="nfs, a network file system"):
        refuse_network(tmp_path / "state")
