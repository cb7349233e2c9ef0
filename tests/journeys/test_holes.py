"""A journal that lost entries, by a disk or a hand: what is there is booked, and what is not is counted."""

from __future__ import annotations

import json
from pathlib import Path

from gateway.journal.writer import JournalWriter
from tests.journeys.gateway_process import running, table_of, until
from tests.store.samples import entry


def test_a_hole_in_a_dead_workers_journal_is_told(tmp_path: Path) -> None:
    with running(tmp_path, table_of({"only": "http://127.0.0.1:1/v1"})) as gateway:
        gateway.key()
        (team,) = gateway.with_store(lambda store: store.teams())
        assert "lost_entries" not in gateway.readyz()
        gateway.stop()
        writer = JournalWriter.create(gateway.state_dir / "journal", "i_damaged", sync="off")
        for seq, prev in ((1, 0), (2, 1), (6, 5)):
            writer.append_closed(entry(seq, prev=prev, team_id=team.id))
        writer.release()

        gateway.start()

        assert until(lambda: gateway.readyz().get("lost_entries"), "the hole in /readyz") == 3
        gateway.stop()
        (row,) = json.loads(gateway.command("usage", "--json"))["data"]
        assert (row["requests"], row["lost_entries"]) == (3, 3)
