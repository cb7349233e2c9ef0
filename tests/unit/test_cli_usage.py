"""`gateway usage` and its export on a real embedded store and a real journal."""

from __future__ import annotations

import argparse
import asyncio
import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.administration import Actor, Administration, wall_clock_ms
from gateway.cli import usage
from gateway.cli.failure import CliFailure
from gateway.journal.writer import JournalWriter
from gateway.periods import day_start_ms, hour_of
from gateway.records import ClosedEntry, Run
from gateway.store.open import open_store
from gateway.usage_export import FIELDS


def entry(team_id: str, seq: int, inference_id: str, **fields: Any) -> ClosedEntry:
    now_ms = wall_clock_ms()
    hour = hour_of(now_ms, "UTC")
    return ClosedEntry(
        kind="use", seq=seq, prev=seq - 1, inference_id=inference_id, number=1, last=True, at_ms=now_ms,
        day=hour.day, hour_start_ms=hour.start_ms, day_start_ms=day_start_ms(hour.day, "UTC"), team_id=team_id,
        key_id="k1", hub_model="org/m", provider="groq", provider_model="pm", request_id="r",
        **{"answered": True, "charge_nano_usd": 5, "prompt_tokens": 3, **fields},
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two teams; one request of each in the store, and one more in a journal, of which the first was shipped."""
    monkeypatch.setenv("GATEWAY_STATE_DIR", str(tmp_path))
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.chdir(tmp_path)

    async def use() -> None:
        store = await open_store(state_dir=tmp_path)
        teams = [
            await Administration(store).create_team({"team": name}, Actor("cli", "x")) for name in ("ads", "search")
        ]
        shipped = [entry(team.id, 1, f"{team.name}-1") for team in teams]
        for one in shipped:
            await store.settle(Run(one.team_id, "i_test", 0, (one,)))
        await store.aclose()
        journal = JournalWriter.create(tmp_path / "journal", "i_test", sync="off")
        for one in (*shipped, entry(teams[0].id, 2, "ads-2", tags={"env": "prod"})):
            journal.append_closed(one)
        await journal.aclose()

    asyncio.run(use())


def gateway(*words: str) -> int:
    parser = argparse.ArgumentParser()
    usage.add_parser(parser.add_subparsers(required=True))
    args = parser.parse_args(words)
    code: int = args.run(args)
    return code


def test_a_person_reads_a_table_with_a_total(capsys: pytest.CaptureFixture[str]) -> None:
    assert gateway("usage") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == ["TEAM", "ads", "search", "total"]
    assert (lines[3][1], lines[3][3], lines[3][5]) == ("2", "6", "0.00000001")


def test_a_program_reads_json_or_csv(capsys: pytest.CaptureFixture[str]) -> None:
    gateway("usage", "--json", "--group-by", "model,day", "--team", "ads")
    found = json.loads(capsys.readouterr().out)
    assert [(row["model"], row["requests"], row["cost_usd"]) for row in found["data"]] == [("org/m", 1, "0.000000005")]
    gateway("usage", "--format", "csv")
    assert [row["team"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))] == ["ads", "search"]


def test_an_export_has_every_attempt_once_shipped_or_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert gateway("usage", "export", "--format", "jsonl") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(line["attempt_id"] for line in lines) == ["ads-1.1", "ads-2.1", "search-1.1"]
    assert {line["team"] for line in lines} == {"ads", "search"}
    gateway("usage", "export", "--format", "csv", "--team", "ads", "--from", "2020-01-01")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert tuple(rows[0]) == FIELDS
    assert sorted((row["inference_id"], row["tags"]) for row in rows) == [("ads-1", ""), ("ads-2", "env=prod")]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--group-by", "modle"], "'model'"),
        (["--from", "yesterday"], "from: 'yesterday'"),
        (["--team", "nobody"], "no team 'nobody'"),
        (["export", "--to", "2020-01-01"], "to must be later"),
        (["--losses", "--group-by", "model"], "--losses is by provider"),
        (["--losses", "--format", "csv"], "--losses is printed as"),
    ],
)
def test_a_wrong_question_is_bad_input(words: list[str], says: str) -> None:
    with pytest.raises(CliFailure, match=says) as caught:
        gateway("usage", *words)
    assert caught.value.exit_code == 2


def test_losses_add_up_and_tell_what_is_not_shipped(capsys: pytest.CaptureFixture[str]) -> None:
    assert gateway("usage", "--losses", "--json") == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert [row["provider"] for row in found["data"]] == ["groq"]
    # These samples were charged and cost nothing, so what is lost is below zero, and still explained.
    assert (found["total"]["cost_usd"], found["total"]["lost_usd"]) == ("0.00000001", "-0.00000001")
    assert "1 entries of this host" in told.err
    gateway("usage", "--losses")
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["PROVIDER", "groq", "total"]


def test_a_state_folder_that_was_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong path would be a report of nothing, and look like one of no usage."""
    monkeypatch.setenv("GATEWAY_STATE_DIR", str(tmp_path / "mistyped"))
    assert gateway("usage") == 0
    assert capsys.readouterr().err.startswith(f"note: there is no folder {tmp_path / 'mistyped'} yet; it is made")
    gateway("usage")
    assert not capsys.readouterr().err
