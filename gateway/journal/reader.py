"""Reads a journal's folder: segments in order, the state of every request in it, and closed entries to be shipped.

Blocking; callers on an event loop use a thread. Nothing is written here but bad frames, which are kept aside.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gateway.journal.archive import (
    ARCHIVED_SUFFIX,
    archive_of,
    archived_last,
    beginning_of,
    number_of,
    read_segment,
    segments_in,
)
from gateway.journal.entries import (
    BadFrame,
    Crossed,
    Entry,
    Head,
    Intent,
    Part,
    Refused,
    Sent,
    Ship,
    Told,
    closed_of,
    decode_entry,
    frames,
    is_closed,
)
from gateway.records import ClosedEntry, Crossing

SHIPPED_NAME: Final = "shipped"
"""A file of this name in a journal's folder: every request closed, every entry acknowledged."""
LOCK_NAME: Final = "lock"
FIRST_BYTES: Final = 4096
"""More than the first entry of a segment takes."""


def segments(folder: Path) -> list[Path]:
    """The segment files in a journal's own folder, oldest first."""
    return [path for path in segments_in(folder) if path.suffix == ".log"]


def journals_under(root: Path) -> list[Path]:
    """Of every journal under a root its own folder, which is not there where it has gone wholly into the archive."""
    names: set[str] = set()
    for place in (root, archive_of(root)):
        if place.is_dir():
            names.update(path.name for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [root / name for name in sorted(names)]


def all_segments(folder: Path) -> list[Path]:
    """The segments of a journal, each once, wherever they lie, oldest first."""
    here = segments(folder)  # before the archive, since that is where they go
    numbers = {number_of(path) for path in here}
    archived = segments_in(archive_of(folder.parent) / folder.name)
    return [*(path for path in archived if number_of(path) not in numbers), *here]


@dataclass(slots=True)
class OpenAttempt:
    sent: Sent
    status: int | None = None
    upstream_id: str | None = None
    completion_tokens: int | None = None
    """Of the last `part`; None where no content was noted."""


@dataclass(slots=True)
class OpenRequest:
    """A request whose last entry was never written, with its attempts that were never closed."""

    intent: Intent
    attempts: dict[int, OpenAttempt] = field(default_factory=dict)


@dataclass(slots=True)
class JournalState:
    """What a journal says: open requests in the order of their intents, and per team the last sequence written and
    the last one acknowledged. `bad_frames` were passed over."""

    requests: dict[str, OpenRequest] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)
    shipped: dict[str, int] = field(default_factory=dict)
    crossed: dict[tuple[str, str], Crossing] = field(default_factory=dict)
    """Thresholds that somebody has still to be told of, by team id and mark."""
    bad_frames: int = 0
    segments: list[tuple[Path, dict[str, int]]] = field(default_factory=list)
    """Each segment with the last sequences written when it ended."""

    def see_closed(self, entry: ClosedEntry) -> None:
        self.last[entry.team_id] = max(entry.seq, self.last.get(entry.team_id, 0))
        if entry.last:
            self.requests.pop(entry.inference_id, None)
        elif (request := self.requests.get(entry.inference_id)) is not None:
            request.attempts.pop(entry.number, None)

    def see(self, entry: object) -> None:
        match entry:
            case Intent(inference_id=inference_id):
                self.requests[inference_id] = OpenRequest(entry)
            case Refused(inference_id=inference_id):
                self.requests.pop(inference_id, None)
            case Sent(inference_id=inference_id, number=number):
                if (request := self.requests.get(inference_id)) is not None:
                    request.attempts[number] = OpenAttempt(entry)
            case Head(inference_id=inference_id, number=number):
                if (attempt := self._attempt(inference_id, number)) is not None:
                    attempt.status, attempt.upstream_id = entry.status, entry.upstream_id
            case Part(inference_id=inference_id, number=number):
                if (attempt := self._attempt(inference_id, number)) is not None:
                    attempt.completion_tokens = entry.completion_tokens
            case Ship(team_id=team_id, seq=seq):
                self.shipped[team_id] = max(seq, self.shipped.get(team_id, 0))
            case Crossed(crossing=crossing):
                self.crossed[crossing.team_id, crossing.mark] = crossing
            case Told(team_id=team_id, mark=mark):
                self.crossed.pop((team_id, mark), None)

    def _attempt(self, inference_id: str, number: int) -> OpenAttempt | None:
        request = self.requests.get(inference_id)
        return None if request is None else request.attempts.get(number)


def read_state(folder: Path, *, keep_aside: bool = True) -> JournalState:
    """Everything a journal says. Raises NewerFormat, or OSError. Bad frames go to `<n>.bad` beside their segment. Of
    what is archived only the sequences are read that it ends with: all of it was acknowledged."""
    state = JournalState()
    for path in all_segments(folder):
        if path.suffix == ARCHIVED_SUFFIX:
            state.last.update(archived_last(path))
            state.segments.append((path, dict(state.last)))
            continue
        bad: list[bytes] = []
        for payload in _payloads(path, bad):
            try:
                if is_closed(payload):
                    state.see_closed(closed_of(payload))
                else:
                    state.see(decode_entry(payload))
            except ValueError:
                bad.append(payload)
        state.segments.append((path, dict(state.last)))
        if bad:
            state.bad_frames += len(bad)
            if keep_aside:
                path.with_suffix(".bad").write_bytes(b"".join(bad))
    return state


@dataclass(frozen=True, slots=True)
class Found:
    """Closed entries by team, in order. `complete`: the files hold no more of them."""

    entries: dict[str, list[ClosedEntry]]
    complete: bool


def closed_after(paths: Iterable[Path], after: Mapping[str, int], *, most: int) -> Found:
    """The closed entries of each team in `after` whose sequence is above the given one, from the given segments; at
    most `most` in all, the earliest first. Raises OSError."""
    found: dict[str, dict[int, ClosedEntry]] = {team_id: {} for team_id in after}
    count = 0
    for entry in closed_entries(paths):
        held = found.get(entry.team_id)
        if held is None or entry.seq <= after[entry.team_id] or entry.seq in held:
            continue
        if count == most:
            break
        held[entry.seq] = entry
        count += 1
    return Found({team_id: list(entries.values()) for team_id, entries in found.items()}, count < most)


def closed_entries(paths: Iterable[Path]) -> Iterator[ClosedEntry]:
    """Every closed entry of some segments, in the order in which it was written. Bad frames are passed over."""
    for path in paths:
        for payload in _payloads(path, []):
            if is_closed(payload):
                try:
                    yield closed_of(payload)
                except ValueError:
                    continue  # `read_state` counts it and keeps it aside


def payloads(path: Path) -> Iterator[bytes]:
    """Every whole payload of a segment. Bad frames are passed over."""
    return _payloads(path, [])


def holds(path: Path, text: bytes) -> bool:
    """Whether a segment holds a text anywhere, found without looking at its frames. Raises OSError."""
    return text in read_segment(path)


def first_entry(path: Path) -> Entry | None:
    """The entry that a segment begins with; None where there is none. Reads no further."""
    for found in frames(beginning_of(path, FIRST_BYTES)):
        if not isinstance(found, BadFrame):
            return decode_entry(found[1])
        break
    return None


def _payloads(path: Path, bad: list[bytes]) -> Iterator[bytes]:
    for found in frames(read_segment(path)):
        if isinstance(found, BadFrame):
            bad.append(found.data)
        else:
            yield found[1]


def end_of_frames(path: Path) -> int:
    """The offset behind the last whole frame of a segment."""
    end = 0
    for found in frames(path.read_bytes()):
        end = found.offset + len(found.data) if isinstance(found, BadFrame) else found[0] + 8 + len(found[1])
    return end
