"""What all journals of this host hold, for reports: closed entries, shipped or not, and why a request went where it
went. What was archived is read as well. Reads only; blocking, so callers on an event loop use a thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.journal.archive import archived_path
from gateway.journal.entries import Intent, Open, Refused, closed_of, decode_entry, is_closed
from gateway.journal.reader import all_segments, closed_entries, first_entry, holds, journals_under, payloads
from gateway.records import ClosedEntry

CLOCKS_MS: Final = 3_600_000
"""A request's own time and the host's clock are at most this far apart."""
_BEGINNINGS: Final = (b'{"e":"intent"', b'{"e":"refused"')
"""What all others are not decoded for."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A request as a journal knows it from its beginning. `refused`: the store admitted nothing."""

    intent: Intent
    refused: bool


class LocalJournals:
    """The folders under one root, whoever writes them. A file that goes away meanwhile is passed over."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def closed_entries(self, from_ms: int, to_ms: int) -> Iterator[ClosedEntry]:
        """Those admitted in a period, `to_ms` exclusive."""
        for _, entry in self.entries_by_journal(from_ms, to_ms):
            yield entry

    def entries_by_journal(self, from_ms: int, to_ms: int) -> Iterator[tuple[str, ClosedEntry]]:
        """The same with the instance whose journal each is from."""
        for path in self._segments(from_ms):
            try:
                for entry in closed_entries([path]):
                    if from_ms <= entry.at_ms < to_ms:
                        yield path.parent.name, entry
            except FileNotFoundError:
                continue

    def requests(self, from_ms: int) -> Iterator[Intent | Refused | ClosedEntry]:
        """How requests that were admitted since then began and ended, each journal's in the order in which it was
        written. Bad frames are passed over."""
        for path in self._segments(from_ms):
            try:
                for payload in payloads(path):
                    with suppress(ValueError):  # `read_state` counts it and keeps it aside
                        if is_closed(payload):
                            yield closed_of(payload)
                        elif payload.startswith(_BEGINNINGS):
                            entry = decode_entry(payload)
                            if isinstance(entry, Intent | Refused):
                                yield entry
            except FileNotFoundError:
                continue

    def begun(self, inference_id: str, at_ms: int) -> Begun | None:
        """A request that began at about this time; None where no journal here has it."""
        wanted = inference_id.encode()
        for path in self._segments(at_ms - CLOCKS_MS):
            try:
                if _begins_ms(path) > at_ms + CLOCKS_MS or not holds(path, wanted):
                    continue
                # Looked for as text first: decoding every entry of a day would take minutes.
                found = [decode_entry(payload) for payload in payloads(path) if wanted in payload]
            except FileNotFoundError:
                continue
            intents = [entry for entry in found if isinstance(entry, Intent)]
            if intents:
                return Begun(intents[-1], any(isinstance(entry, Refused) for entry in found))
        return None

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


def _begins_ms(path: Path) -> int:
    """When a segment was begun; 0 where it does not say."""
    first = first_entry(path)
    return first.at_ms if isinstance(first, Open) else 0
