"""A process that sends journals to a Redis: `python -m tests.store.sender URL ROOT SEED INSTANCE…`.

With one instance it ships that journal in cuts of its own choice, in any order of teams, now and then something once
more. With several it replays all of them: every cut twice, in any order, believing anything.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from gateway.journal.reader import closed_entries, segments
from gateway.records import ClosedEntry, Run
from gateway.store.base import Store
from gateway.store.redis.store import RedisStore
from gateway.store.runs import next_run

CUT_MAX = 17


def entries_of(root: Path, instance: str) -> dict[str, list[ClosedEntry]]:
    """By team, in order."""
    found: dict[str, list[ClosedEntry]] = {}
    for entry in closed_entries(segments(root / instance)):
        found.setdefault(entry.team_id, []).append(entry)
    return found


def cut(team_id: str, instance: str, believed: int, entries: Sequence[ClosedEntry], most: int) -> Run:
    return next_run(team_id, instance, believed, [entry for entry in entries if entry.seq > believed][:most])


async def ship(store: Store, root: Path, instance: str, chance: random.Random) -> None:
    left, believed, sent = entries_of(root, instance), Counter[str](), list[Run]()
    while left:
        team_id = chance.choice(sorted(left))
        run = cut(team_id, instance, believed[team_id], left[team_id], chance.randint(1, CUT_MAX))
        sent.append(run)
        settled = await store.settle(run)
        if chance.random() < 0.8:  # else the reply was lost
            believed[team_id] = settled.watermark
        if chance.random() < 0.3:
            await store.settle(chance.choice(sent))
        if believed[team_id] >= left[team_id][-1].seq:
            del left[team_id]


async def replay(store: Store, root: Path, instances: Sequence[str], chance: random.Random) -> None:
    runs = []
    for instance in instances:
        for team_id, entries in entries_of(root, instance).items():
            believed = 0
            while believed < entries[-1].seq:
                run = cut(team_id, instance, believed, entries, chance.randint(1, CUT_MAX))
                believed = run.entries[-1].seq
                runs += [run, run, Run(team_id, instance, chance.randint(0, entries[-1].seq - 1), run.entries)]
    chance.shuffle(runs)
    outcomes = Counter([(await store.settle(run)).outcome for run in runs])
    print(json.dumps(outcomes))


async def main(url: str, root: Path, seed: int, instances: Sequence[str]) -> None:
    store, chance = RedisStore(url, "single", "gw"), random.Random(seed)
    if len(instances) == 1:
        await ship(store, root, instances[0], chance)
    else:
        await replay(store, root, instances, chance)
    await store.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]))
