"""What all journals of this host hold, for reports: closed entries, shipped or not, and why a request went where it
went. Reads only; blocking, so callers on an event loop use a thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.journal.entries import Intent, Open, Refused, closed_of, decode_entry, is_closed
from gateway.journal.reader import closed_entries, first_entry, holds, payloads, segments
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
        for path in self._segments(from_ms):
            try:
                yield from (entry for entry in closed_entries([path]) if from_ms <= entry.at_ms < to_ms)
            except FileNotFoundError:
                continue

    def requests(self, from_ms: int) -> Iterator[Intent | Refused | ClosedEntry]:
        """How requests that were admitted since then began and ended, each journal's in the order in which it was
        written. Bad frames are passed over."""
        for path in self._segments(from_ms):
            try:
                for payload in payloads(path):
                    if is_closed(payload):
                        yield closed_of(payload)
                    elif payload.startswith(_BEGINNINGS) and isinstance(
                        entry := decode_entry(payload), Intent | Refused
                    ):
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
        """Every segment that was still written to at `from_ms`."""
        if not self._root.is_dir():
            return
        for folder in sorted(self._root.iterdir()):
            for path in segments(folder):
                try:
                    if path.stat().st_mtime_ns // 1_000_000 >= from_ms:
                        yield path
                except FileNotFoundError:
                    continue


def _begins_ms(path: Path) -> int:
    """When a segment was begun; 0 where it does not say."""
    first = first_entry(path)
    return first.at_ms if isinstance(first, Open) else 0
