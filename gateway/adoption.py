"""Takes over the journals of workers that died: closes what was open in them, and hands them to the shipper.

A journal is free when its lock is. Whoever adopts it closes the same attempts with the same entries, so an adopter may
die half way and another goes on. Runs in the background; no readiness waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from gateway.journal.entries import NewerFormat
from gateway.journal.lock import note_adopter, take_lock
from gateway.journal.reader import SHIPPED_NAME, JournalState, OpenRequest, read_state
from gateway.journal.shipped import mark_shipped
from gateway.journal.writer import JournalFailed, JournalWriter
from gateway.outcomes import Outcome, abandoned, closed_entry
from gateway.records import Crossing
from gateway.store.base import Ledger, StoreAway

ADOPT_EVERY_S: Final = 10.0
AWAY_RETRY_S: Final = 1.0

log = logging.getLogger("gateway.journal")


class Ships(Protocol):
    """What adoption asks of the shipper."""

    def add(self, writer: JournalWriter) -> None: ...
    def remove(self, writer: JournalWriter) -> None: ...
    def is_shipped(self, writer: JournalWriter) -> bool: ...
    async def retry_parked(self) -> None: ...


class TakesOver(Protocol):
    """What adoption does with thresholds that a journal had still to tell."""

    async def take_over(self, writer: JournalWriter, crossings: Iterable[Crossing]) -> None: ...


class Adoption:
    """One per worker. `bad_frames` counts what could not be read in adopted journals."""

    def __init__(
        self,
        root: Path,
        own: JournalWriter,
        shipper: Ships,
        ledger: Ledger,
        *,
        budget_warnings: TakesOver | None = None,
    ) -> None:
        self.bad_frames = 0
        self._root = root
        self._own = own
        self._shipper = shipper
        self._ledger = ledger
        self._budget_warnings = budget_warnings
        self._adopted: list[JournalWriter] = []
        self._refused: set[str] = set()
        self._cut_short = False

    @property
    def writers(self) -> list[JournalWriter]:
        """The worker's own journal, and those it took over and has not wholly shipped."""
        return [self._own, *self._adopted]

    async def run(self) -> None:
        """Adopts at once and then every ten seconds, or sooner where the store was away; until it is cancelled."""
        while True:
            try:
                await self.adopt()
            except OSError as error:
                # A disk that is full now may have room in ten seconds; journals wait.
                log.error("journals could not be looked after: %s", error)
            await asyncio.sleep(AWAY_RETRY_S if self._cut_short else ADOPT_EVERY_S)

    async def adopt(self) -> int:
        """One round: how many journals were taken over."""
        with suppress(StoreAway):
            await self._shipper.retry_parked()
        self._finish_shipped()
        self._cut_short = False
        count = 0
        for folder in await asyncio.to_thread(_free_folders, self._root, self._own.folder):
            if folder.name in self._refused:
                continue
            try:
                count += await self._adopt(folder)
            except StoreAway:
                self._cut_short = True
                break  # the next round tries again
            except (OSError, JournalFailed, NewerFormat) as error:
                log.error("the journal %s cannot be adopted: %s", folder.name, error)
                if isinstance(error, NewerFormat):
                    self._refused.add(folder.name)
        return count

    async def aclose(self) -> None:
        """Lets go of adopted journals; another worker goes on with what is not shipped."""
        self._finish_shipped()
        for writer in self._adopted:
            self._shipper.remove(writer)
            await writer.aclose()
        self._adopted.clear()

    async def _adopt(self, folder: Path) -> bool:
        lock = take_lock(folder)
        if lock is None:
            return False
        try:
            state = await asyncio.to_thread(read_state, folder)
            # What the store has must never be numbered again, also where the journal's end went with a machine's power.
            teams = {*state.last, *(request.intent.team_id for request in state.requests.values())}
            marks = await self._ledger.watermarks(folder.name, teams)
            for team_id in teams:
                # Its word counts also where it has none: what the journal noted may since have been lost.
                state.shipped[team_id] = marks.get(team_id, 0)
                state.last[team_id] = max(state.shipped[team_id], state.last.get(team_id, 0))
            untold = await self._ledger.crossings(folder.name, teams)
            note_adopter(lock, self._own.instance)
            writer = JournalWriter.resume(folder, lock, state)
        except BaseException:
            os.close(lock)
            raise
        closed = len(state.requests)
        try:
            close_open(writer, state)
        except BaseException:
            await writer.aclose()
            raise
        if self._budget_warnings is not None:
            await self._budget_warnings.take_over(writer, [*state.crossed.values(), *untold])
        self.bad_frames += state.bad_frames
        self._adopted.append(writer)
        self._shipper.add(writer)
        log.info("adopted the journal %s: %d requests closed, %d bad entries", folder.name, closed, state.bad_frames)
        return True

    def _finish_shipped(self) -> None:
        """Marks journals that are wholly in the store, and lets go of them."""
        for writer in [writer for writer in self._adopted if self._shipper.is_shipped(writer)]:
            mark_shipped(writer.folder, writer.last)
            self._shipper.remove(writer)
            self._adopted.remove(writer)
            writer.release()


def close_open(writer: JournalWriter, state: JournalState) -> None:
    """Closes every open attempt, in the order of the intents. Raises JournalFailed; what was closed stays closed."""
    for request in state.requests.values():
        for outcome_index, (number, outcome) in enumerate(outcomes := _outcomes_of(request)):
            last = outcome_index == len(outcomes) - 1
            attempt = request.attempts.get(number)
            sent = None if attempt is None else attempt.sent
            turn = writer.turn(request.intent.team_id)
            writer.append_closed(closed_entry(request.intent, sent, outcome, turn, last=last, failed=last))
    state.requests.clear()


def _outcomes_of(request: OpenRequest) -> list[tuple[int, Outcome]]:
    """By attempt number; number 0 where nothing was sent, so that a hold that may exist ends."""
    if not request.attempts:
        return [(0, Outcome("void", failure="worker_died"))]
    return [
        (
            number,
            abandoned(
                request.intent,
                attempt.sent,
                status=attempt.status,
                upstream_id=attempt.upstream_id,
                completion_tokens=attempt.completion_tokens,
            ),
        )
        for number, attempt in sorted(request.attempts.items())
    ]


def _free_folders(root: Path, own: Path) -> list[Path]:
    """Journals that may be free, oldest first. Their locks tell."""
    folders = [
        path
        for path in root.iterdir()
        if path != own and path.is_dir() and not path.name.startswith(".") and not (path / SHIPPED_NAME).exists()
    ]
    return sorted(folders, key=lambda path: path.stat().st_mtime)
