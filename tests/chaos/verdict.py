"""The judge: what providers served against what the gateway exported, against what callers saw, against the store.

A kill of the gateway excuses what was under way at that moment and did not reach its caller whole; a caller who left
excuses an estimate of his own stream. Nothing else is excused.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from gateway.journal.reader import closed_entries, read_state, segments
from gateway.store.base import Store
from gateway.store.fold import Fold
from tests.chaos.havoc import Kill
from tests.chaos.load import Fate
from tests.faults import reconcile

NEVER: Final = ("unmetered", "double", "phantom", "overbilled", "mismatch", "unmarked")
AFTER_KILLS: Final = ("inexact", "off", "unknown")
GRACE_S: Final = 3.0
"""How much longer than its caller the gateway may be at a request."""
EVER: Final[Any] = {"from_ms": 0, "to_ms": 1 << 45}


@dataclass(slots=True)
class Verdict:
    """`counts` are for reading; `faults` are sentences, none where all is well."""

    counts: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def demand(self, true: bool, fault: str) -> None:
        if not true:
            self.faults.append(fault)


def judge_money(
    verdict: Verdict, truths: Sequence[Path], lines: list[dict[str, Any]], fates: Sequence[Fate], kills: Sequence[Kill]
) -> None:
    """Reconciles, and lays each finding beside what its caller saw."""
    report = reconcile.reconcile(records(truths), lines, reconciling())
    found: dict[str, dict[str, Any]] = report["findings"]
    verdict.counts |= {"answers": report["answers"], "lines": len(lines)}
    for kind in (*NEVER, *AFTER_KILLS):
        verdict.counts[kind] = found.get(kind, {"records": 0})["records"]
    for kind in NEVER:
        for record in found.get(kind, {"examples": []})["examples"][:3]:
            verdict.faults.append(f"{kind}: {json.dumps(record)[:600]}")
    seen = {fate.tag: fate for fate in fates}
    tag_of = tags_of_attempts(truths)
    for kind in AFTER_KILLS:
        for record in found.get(kind, {"examples": []})["examples"]:
            tag = record.get("tag") or tag_of.get(record.get("attempt_id", ""))
            fate = seen.get(tag or "")
            # An attempt that no provider ever saw has no tag, and its caller cannot have had an answer of it.
            excused = fate is None if kind == "unknown" and not tag else fate is not None and excuses(fate, kind, kills)
            verdict.demand(excused, f"{kind}, and nothing excuses it: {fate} {json.dumps(record)[:600]}")
    in_flight = sum(kill.running for kill in kills)
    doubtful = sum(verdict.counts[kind] for kind in AFTER_KILLS)
    left = sum(fate.outcome == "abandoned" for fate in fates)
    verdict.counts |= {"in flight at kills": in_flight, "doubtful": doubtful}
    verdict.demand(doubtful <= in_flight + left, f"{doubtful} doubtful lines, {in_flight} requests at the kills")


def reconciling() -> argparse.Namespace:
    """The fault kit's defaults, with every example shown."""
    return argparse.Namespace(
        id="upstream_id",
        rid="attempt_id",
        tag="tag",
        prompt="prompt_tokens",
        completion="completion_tokens",
        estimated="estimated",
        unknown="unknown",
        tolerance=0.25,
        slack=8,
        examples=1 << 30,
    )


def tags_of_attempts(truths: Sequence[Path]) -> dict[str, str]:
    return {record["rid"]: record["tag"] for record in records(truths) if record["rid"] and record["tag"]}


def records(truths: Sequence[Path]) -> list[dict[str, Any]]:
    return list(reconcile.load(truths))  # type: ignore[no-untyped-call]


def excuses(fate: Fate, kind: str, kills: Sequence[Kill]) -> bool:
    if fate.outcome == "abandoned" and kind != "unknown":
        return True
    return fate.outcome != "whole" and any(fate.was_running(kill.from_s, kill.to_s, GRACE_S) for kill in kills)


def judge_callers(verdict: Verdict, fates: Sequence[Fate]) -> None:
    outcomes = Counter(fate.outcome for fate in fates)
    verdict.counts |= {f"callers: {name}": outcomes[name] for name in sorted(outcomes)}
    verdict.demand(outcomes["running"] == 0, f"{outcomes['running']} callers never came back")
    verdict.demand(outcomes["whole"] > len(fates) // 4, f"only {outcomes['whole']} of {len(fates)} were answered whole")


def judge_report(verdict: Verdict, lines: list[dict[str, Any]], report: dict[str, Any]) -> None:
    """`gateway usage` by team against the exported lines, to the nano-dollar."""
    costs: defaultdict[str, Decimal] = defaultdict(Decimal)
    requests: defaultdict[str, set[str]] = defaultdict(set)
    for line in lines:
        costs[line["team"]] += Decimal(line["cost_usd"] or 0)
        requests[line["team"]].add(line["inference_id"])
    for row in report["data"]:
        team = row["team"]
        verdict.demand(
            Decimal(row["cost_usd"]) == costs[team],
            f"team {team}: {row['cost_usd']} USD in the report, {costs[team]} in the export",
        )
        # A request that reached nobody has no line, but counts.
        verdict.demand(row["requests"] >= len(requests[team]), f"team {team}: fewer requests reported than exported")
    verdict.demand({row["team"] for row in report["data"]} >= set(costs), "a team of the export is not in the report")


async def judge_store(verdict: Verdict, store: Store, journals: Path) -> None:
    """The store's counters against a fold of all journals; nothing held, nothing unshipped, no hole."""
    fold, lost = Fold(), 0
    for folder in sorted(journals.iterdir()):
        state = await asyncio.to_thread(read_state, folder, keep_aside=False)
        verdict.demand(not state.requests, f"{folder.name}: {len(state.requests)} requests were never closed")
        verdict.demand(not state.bad_frames, f"{folder.name}: {state.bad_frames} bad frames")
        marks = await store.watermarks(folder.name, state.last)
        behind = {team: (marks.get(team, 0), seq) for team, seq in state.last.items() if marks.get(team, 0) != seq}
        verdict.demand(not behind, f"{folder.name}: the store is not where the journal is: {behind}")
        for entry in closed_entries(segments(folder)):
            fold.add(folder.name, entry)
    cells: defaultdict[Any, Counter[str]] = defaultdict(Counter)
    for cell in await store.usage(**EVER):
        cells[(cell.team_id, (cell.start_ms, cell.key_id, cell.hub_model, cell.provider))].update(cell.counters)
        lost += cell.counters.get("lost_entries", 0)
    folded = {place: counters for place, counters in fold.hours.items() if counters}
    apart = sum(cells.get(place) != folded.get(place) for place in {*cells, *folded})
    verdict.counts |= {"cells": len(folded), "cells apart": apart, "lost entries": lost}
    verdict.demand(apart == 0, f"{apart} of {len(folded)} usage cells are not the fold of the journals")
    verdict.demand(lost == 0, f"{lost} entries were reported lost")


def judge_holds(verdict: Verdict, keys: dict[str, Any]) -> None:
    """`keys`: what Redis keeps of holds and slots, by key, without what is empty."""
    verdict.counts["holds left"] = len(keys)
    verdict.demand(not keys, f"held at the end: {keys}")


def as_table(verdict: Verdict) -> str:
    width = max(map(len, verdict.counts), default=0)
    rows = [f"  {name:<{width}}  {count:>8}" for name, count in verdict.counts.items()]
    return "\n".join([*rows, *(f"  WRONG  {fault}" for fault in verdict.faults)])
