"""What all journals of this host hold, for reports: closed entries, shipped or not, and why a request went where it
went. Reads only; blocking, so callers on an event loop use a thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gateway.journal.entries import Intent, decode_entry
from gateway.journal.reader import closed_entries, payloads, segments
from gateway.records import ClosedEntry


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

    def decision(self, inference_id: str) -> bytes | None:
        """The decision in a request's intent, as routing wrote it; None where no journal here has it."""
        wanted = inference_id.encode()
        for path in self._segments(0):
            try:
                for payload in payloads(path):
                    # Looked for as text first: decoding every entry of a day would take minutes.
                    if wanted in payload and isinstance(entry := decode_entry(payload), Intent):
                        return bytes(entry.decision)
            except FileNotFoundError:
                continue
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
