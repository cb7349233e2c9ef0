"""Segments that the store has, compressed, in a folder beside the journals' own: `archive/<instance>/<n>.log.gz`.

Such a file is two gzip members. The first is small and says up to which sequences the journal was written when the
segment ended; the second is the segment as it was. It appears whole or not at all, and has the segment's time.
Blocking.
"""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from gateway.journal.entries import Archived, BadFrame, decode_entry, frame, frames

ARCHIVED_SUFFIX: Final = ".gz"
CHUNK_BYTES: Final = 1 << 20
_GZIP: Final = 31
"""What zlib calls gzip with its largest window."""

log = logging.getLogger("gateway.journal")


def archive_of(root: Path) -> Path:
    """The archive that belongs to a folder of journals."""
    return root.parent / "archive"


def archived_path(path: Path) -> Path:
    """Where a segment in a journal's own folder lies once it is archived."""
    return archive_of(path.parents[1]) / path.parent.name / f"{path.name}{ARCHIVED_SUFFIX}"


def number_of(path: Path) -> int:
    """`7` of `7.log` and of `7.log.gz`; 0 where it is no segment."""
    number, _, kind = path.name.partition(".")
    return int(number) if number.isdigit() and kind in ("log", f"log{ARCHIVED_SUFFIX}") else 0


def segments_in(folder: Path) -> list[Path]:
    """The segments in one folder, archived or not, oldest first."""
    try:
        return sorted((path for path in folder.iterdir() if number_of(path)), key=number_of)
    except (FileNotFoundError, NotADirectoryError):
        return []


def archive_segment(path: Path, last: Mapping[str, int], folder: Path) -> Path:
    """Writes a sealed segment into an archive's folder; the segment itself stays. Twice gives the same file. Whoever
    calls it holds the journal's lock. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    archived = folder / f"{path.name}{ARCHIVED_SUFFIX}"
    part = folder / f".{archived.name}.{os.getpid()}"
    with path.open("rb") as source, open(part, "wb", opener=_private) as target:
        target.write(_packed(frame(Archived(dict(last)))))
        packer = zlib.compressobj(wbits=_GZIP)
        while chunk := source.read(CHUNK_BYTES):
            target.write(packer.compress(chunk))
        target.write(packer.flush())
        target.flush()
        os.fsync(target.fileno())
        times = os.fstat(source.fileno())
    os.utime(part, ns=(times.st_atime_ns, times.st_mtime_ns))
    part.rename(archived)
    _sync_folder(folder)
    return archived


def read_segment(path: Path) -> bytes:
    """The bytes of a segment, wherever it lies. Of a damaged archive what comes before the damage. Raises OSError."""
    if path.suffix != ARCHIVED_SUFFIX:
        return path.read_bytes()
    return b"".join(_unpacked(path))


def beginning_of(path: Path, most: int) -> bytes:
    """The first bytes of a segment as it was written, wherever it lies. Reads little more. Raises OSError."""
    with path.open("rb") as file:
        if path.suffix != ARCHIVED_SUFFIX:
            return file.read(most)
        mark, segment = zlib.decompressobj(_GZIP), zlib.decompressobj(_GZIP)
        try:
            while not mark.eof and (chunk := file.read(most)):
                mark.decompress(chunk)
            return segment.decompress(mark.unused_data + file.read(most), most)
        except zlib.error:
            return b""


def archived_last(path: Path) -> dict[str, int]:
    """The last sequence by team when an archived segment ended; empty where that part is damaged. Raises OSError."""
    for data in _unpacked(path):
        for found in frames(data):
            if not isinstance(found, BadFrame) and isinstance(entry := decode_entry(found[1]), Archived):
                return dict(entry.last)
            return {}
    return {}


def unpack_into(archived: Path, folder: Path) -> None:
    """Writes archived segments as they were into a new journal's folder. Raises OSError."""
    for path in segments_in(archived):
        times = path.stat()
        target = folder / path.name.removesuffix(ARCHIVED_SUFFIX)
        with open(target, "wb", opener=_private) as file:
            for data in _unpacked(path):
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))


def drop_archived(archive: Path, *, older_than_s: float) -> int:
    """Removes archived segments of that age, and folders that nothing is left in; how many bytes. Raises OSError."""
    dropped = 0
    for folder in archive.iterdir() if archive.is_dir() else ():
        try:
            for path in folder.iterdir():
                facts = path.stat()
                if facts.st_mtime < older_than_s:
                    path.unlink()
                    dropped += facts.st_size
            if not any(folder.iterdir()):
                folder.rmdir()
        except FileNotFoundError:
            continue  # another worker drops them too
        except OSError as error:
            log.warning("the archive of %s was not cleared: %s", folder.name, error.strerror)
    return dropped


def _unpacked(path: Path) -> Iterator[bytes]:
    """What an archived segment holds, piece by piece, up to its end or its first damage, which is logged."""
    unpacker, is_whole = zlib.decompressobj(_GZIP), False
    with path.open("rb") as file:
        try:
            while chunk := file.read(CHUNK_BYTES):
                while chunk:
                    yield unpacker.decompress(chunk)
                    chunk, is_whole = unpacker.unused_data, unpacker.eof
                    if is_whole:
                        unpacker = zlib.decompressobj(_GZIP)
        except zlib.error:
            is_whole = False
    if not is_whole:
        log.error("the archived segment %s is damaged; what comes before the damage is read", path)


def _packed(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=_GZIP)
    return packer.compress(data) + packer.flush()


def _private(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_CLOEXEC, 0o600)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
