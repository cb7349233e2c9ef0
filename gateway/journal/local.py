"""What all journals of this host hold, for reports: closed entries, shipped or not, and why a request went where it
went. What was archived is read as well. Reads only; blocking, so callers on an event loop use a thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.journal.archive import archived_path
from gateway.journal.entries import Intent, Open, Refused, closed_of, decode_entry, is_closed
from gateway.journal.reader import all_segments, first_entry, holds, journals_under, payloads
from gateway.records import ClosedEntry

BEFORE_MS: Final = 60_000
"""The host's clock was set back by at most this much while a request was under way."""
WAIT_MS: Final = 900_000
"""A request waits for at most this long until its journal knows of it."""
RUN_MS: Final = 7_200_000
"""And runs for at most this long, where its journal is to tell how it ended."""
_BEGINNINGS: Final = (b'{"e":"intent"', b'{"e":"refused"')
"""What all others are not decoded for."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A request as a journal knows it from its beginning, and how it was refused, if it was."""

    intent: Intent
    refused: Refused | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What the journals of a host know of one request: its beginning, if it is there, and its closed attempts."""

    begun: Begun | None
    entries: list[ClosedEntry]


class LocalJournals:
    """The folders under one root, whoever writes them. A file that goes away meanwhile is passed over."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def closed_entries(self, from_ms: int, to_ms: int, *, holding: str = "") -> Iterator[ClosedEntry]:
        """Those admitted in a period, `to_ms` exclusive; with `holding` only those with this text in any field."""
        for _, entry in self.entries_by_journal(from_ms, to_ms, holding=holding):
            yield entry

    def entries_by_journal(self, from_ms: int, to_ms: int, *, holding: str = "") -> Iterator[tuple[str, ClosedEntry]]:
        """The same with the instance whose journal each is from."""
        wanted = holding.encode()
        for path in self._segments(from_ms):
            try:
                if wanted and not holds(path, wanted):
                    continue
                for payload in payloads(path):
                    if is_closed(payload) and wanted in payload:
                        entry = _decoded(payload)
                        if isinstance(entry, ClosedEntry) and from_ms <= entry.at_ms < to_ms:
                            yield path.parent.name, entry
            except FileNotFoundError:
                continue

    def requests(self, from_ms: int) -> Iterator[Intent | Refused | ClosedEntry]:
        """How requests that were admitted since then began and ended, each journal's in the order in which it was
        written. Bad frames are passed over."""
        for path in self._segments(from_ms):
            try:
                yield from (entry for payload in payloads(path) if (entry := _decoded(payload)) is not None)
            except FileNotFoundError:
                continue

    def told(self, inference_id: str, at_ms: int, *, ended: bool = False) -> Told:
        """Of a request whose id was made at this time. `ended`: how it ended is known, only its beginning is wanted."""
        wanted, begun, entries = inference_id.encode(), None, []
        until_ms = at_ms + (WAIT_MS if ended else RUN_MS)
        for path in self._segments(at_ms - BEFORE_MS):
            try:
                if _begins_ms(path) > until_ms or not holds(path, wanted):
                    continue
                # Looked for as text first: decoding every entry of a day would take minutes.
                found = [_decoded(payload) for payload in payloads(path) if wanted in payload]
            except FileNotFoundError:
                continue
            mine = [entry for entry in found if entry is not None and entry.inference_id == inference_id]
            for entry in mine:
                if isinstance(entry, ClosedEntry):
                    entries.append(entry)
                elif isinstance(entry, Intent):
                    begun = Begun(entry)
                else:
                    begun = begun and Begun(begun.intent, entry)
            if begun is not None and (ended or any(entry.last for entry in entries)):
                break
        return Told(begun, entries)

    def _segments(self, from_ms: int) -> Iterator[Path]:
        """Every segment that was still written to at `from_ms`, each journal's in order."""
        for folder in journals_under(self._root):
            for path in all_segments(folder):
                try:
                    if path.stat().st_mtime_ns // 1_000_000 >= from_ms:
                        yield path
                except FileNotFoundError:
                    # Between the look into the folder and this one it may have gone into the archive.
                    archived = archived_path(path)
                    if archived.exists():
                        yield archived


def _decoded(payload: bytes) -> Intent | Refused | ClosedEntry | None:
    """The beginning or the end of a request; None for all else, and for what cannot be read: `read_state` counts it."""
    try:
        if is_closed(payload):
            return closed_of(payload)
        entry = decode_entry(payload) if payload.startswith(_BEGINNINGS) else None
    except ValueError:
        return None
    return entry if isinstance(entry, Intent | Refused) else None


def _begins_ms(path: Path) -> int:
    """When a segment was begun; 0 where it does not say."""
    first = first_entry(path)
    return first.at_ms if isinstance(first, Open) else 0
