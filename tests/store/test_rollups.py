"""Whatever is settled, in runs of whatever length: what the store reports is the fold of the entries."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import cycle
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ids import new_instance_id
from gateway.records import ClosedEntry
from gateway.store.base import Store
from gateway.store.fold import Fold
from gateway.tenants import Team
from tests.store.conftest import OpenStore
from tests.store.samples import NOW_MS, OTHER_TEAM, TEAM, entry, run_of
from tests.store.test_ledger import assert_equals_fold

HOUR_MS: Final = 3_600_000
amounts = st.one_of(st.none(), st.integers(0, 10), st.integers(0, 1 << 50))
tokens = st.integers(0, 10**7)
attempts: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(("use", "use", "void")),
        "at_ms": st.integers(0, 30).map(lambda hours: NOW_MS - hours * HOUR_MS),
        "key_id": st.sampled_from(("k_one", "k_two")),
        "provider": st.sampled_from(("groq", "together", "")),
        "last": st.booleans(),
        "answered": st.booleans(),
        "failed": st.booleans(),
        "estimated": st.booleans(),
        "unknown": st.booleans(),
        "prompt_tokens": tokens,
        "completion_tokens": tokens,
        "charge_nano_usd": amounts,
        "provider_cost_nano_usd": amounts,
        "overrun_nano_usd": st.integers(0, 10**6),
        "tags": st.dictionaries(st.sampled_from(("env", "project")), st.sampled_from(("a", "b")), max_size=2),
    }
)


def test_reports_are_the_fold_of_the_entries(store_at: OpenStore) -> None:
    """Each example adds a journal to the same store."""
    fold = Fold()

    async def settle(store: Store, instance: str, entries: list[ClosedEntry], lengths: Iterator[int]) -> None:
        while entries:
            length = next(lengths)
            run = [one for one in entries[:length] if one.day == entries[0].day]
            assert (await store.settle(run_of(run, instance=instance))).outcome == "applied"
            entries = entries[len(run) :]

    @settings(max_examples=25, deadline=None)
    @given(
        drawn=st.lists(st.tuples(st.sampled_from((TEAM, OTHER_TEAM)), attempts), min_size=1, max_size=30),
        lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    )
    def each(drawn: list[tuple[str, dict[str, Any]]], lengths: list[int]) -> None:
        instance = new_instance_id()
        for team_id in (TEAM, OTHER_TEAM):
            # A run is of one day, so a journal's days must not go to and fro for it to have more than one entry.
            mine = sorted((fields for team, fields in drawn if team == team_id), key=lambda fields: fields["at_ms"])
            entries = [entry(seq, team_id=team_id, **fields) for seq, fields in enumerate(mine, 1)]
            for one in entries:
                fold.add(instance, one)
            runner.run(settle(store, instance, entries, cycle(lengths)))
        runner.run(assert_equals_fold(store, fold))

    with asyncio.Runner() as runner:
        store = runner.run(opened(store_at))
        try:
            each()
        finally:
            runner.run(store.aclose())


async def opened(store_at: OpenStore) -> Store:
    store = await store_at()
    for team_id in (TEAM, OTHER_TEAM):
        await store.create_team(Team(team_id, team_id, 0))
    return store
