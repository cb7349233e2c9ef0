"""Which entries travel together: consecutive ones of one team and journal, of one day, all admitted by the store or all
without it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.records import ClosedEntry, Run

RUN_ENTRIES_MAX: Final = 200
STORE_AWAY: Final = "store_away"
LATE_JOURNAL: Final = "late_journal"
STORE_LOST: Final = "store_lost"
OVERRUN_CAUSES: Final = (STORE_AWAY, LATE_JOURNAL, STORE_LOST)
"""A team chose to go on while the store was away; a dead worker's journal came back after the leases of its holds; the
store lost holds that it had acknowledged."""


def next_run(team_id: str, instance: str, believed: int, queue: Sequence[ClosedEntry]) -> Run:
    """The next run of a queue that begins behind the watermark `believed`, with a `lost` entry first where the journal
    has a hole before it."""
    first = queue[0]
    entries: list[ClosedEntry] = []
    reached = believed
    if first.prev > reached:
        entries.append(lost_before(first, reached))
        reached = first.prev
    for entry in queue:
        if entry.day != first.day or entry.away != first.away:
            break
        if entry.prev > reached or len(entries) >= RUN_ENTRIES_MAX:
            break
        entries.append(entry)
        reached = entry.seq
    return Run(team_id, instance, believed, tuple(entries))


def overrun_cause(run: Run, *, adopted: bool) -> str:
    """Why a run could go past a strict budget, which no hold lets happen: its requests had none any more."""
    if run.entries[-1].away:
        return STORE_AWAY
    return LATE_JOURNAL if adopted else STORE_LOST


def lost_before(entry: ClosedEntry, watermark: int) -> ClosedEntry:
    """What stands for the sequences between a watermark and an entry: charged nothing, counted and shown."""
    return ClosedEntry(
        kind="lost",
        seq=entry.prev,
        prev=watermark,
        inference_id="",
        number=0,
        last=False,
        at_ms=entry.at_ms,
        day=entry.day,
        team_id=entry.team_id,
        key_id="",
        hub_model="",
        provider="",
        provider_model="",
        request_id="",
        lost_from=watermark + 1,
        lost_to=entry.prev,
        hour_start_ms=entry.hour_start_ms,
        day_start_ms=entry.day_start_ms,
    )


def mark_at(team_id: str, seq: int) -> ClosedEntry:
    """Adds nothing; moves a watermark to where it was."""
    return ClosedEntry(
        kind="void", seq=seq, prev=0, inference_id="", number=0, last=False, at_ms=0, day="1970-01-01", team_id=team_id,
        key_id="", hub_model="", provider="", provider_model="", request_id="",
    )  # fmt: skip
