"""`gateway invoice` against a real embedded store: its total is that of `gateway usage`."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gateway.administration import Actor, Administration
from gateway.cli.main import main
from gateway.invoice import month_named
from gateway.money import parse_usd
from gateway.periods import hour_of
from gateway.records import ClosedEntry
from gateway.store.open import open_store
from tests.store.samples import NOW_MS, entry, run_of

ZONE = "Asia/Tokyo"
MONTH = datetime.fromtimestamp(NOW_MS / 1000, ZoneInfo(ZONE)).strftime("%Y-%m")


def local(seq: int, team_id: str, at_ms: int, charge: int) -> ClosedEntry:
    hour = hour_of(at_ms, ZONE)
    return entry(
        seq, team_id=team_id, at_ms=at_ms, day=hour.day, hour_start_ms=hour.start_ms, day_start_ms=hour.day_start_ms,
        charge_nano_usd=charge,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A team in Tokyo that used something in the first second of its month, and in the last of the one before."""
    monkeypatch.setenv("GATEWAY_STATE_DIR", str(tmp_path))
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    start_ms = month_named(MONTH, ZONE).from_ms

    async def use() -> None:
        store = await open_store(state_dir=tmp_path)
        acts, actor = Administration(store), Actor("cli", "x")
        team = await acts.create_team({"team": "search", "timezone": ZONE}, actor)
        await store.settle(run_of([local(1, team.id, start_ms - 1000, 70)]))
        await store.settle(run_of([local(2, team.id, start_ms, 5), local(3, team.id, start_ms + 1, 6)]))
        await store.aclose()

    asyncio.run(use())


def test_the_total_is_that_of_usage_in_the_teams_own_month(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["invoice", "--team", "search", "--month", MONTH, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["total_usd"], told["timezone"]) == ("0.000000011", ZONE)
    assert main(["usage", "--team", "search", "--json", "--from", told["from"], "--to", told["to"]]) == 0
    assert json.loads(capsys.readouterr().out)["total"]["cost_usd"] == told["total_usd"]
    assert main(["invoice", "--team", "search", "--month", MONTH, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert sum(parse_usd(row["amount_usd"]) for row in rows) == 11


def test_a_page_is_written_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "november.html"
    assert main(["invoice", "--team", "search", "--month", MONTH, "--output", str(page)]) == 0
    assert page.read_text().startswith("<!doctype html>")
    assert "USD 0.000000011" in capsys.readouterr().err
    assert main(["invoice", "--team", "search", "--month", MONTH, "--output", str(tmp_path / "no" / "x")]) == 1


def test_a_deleted_team_still_gets_its_invoice(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["teams", "delete", "search"]) == 0
    assert main(["invoice", "--team", "search", "--month", MONTH, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total_usd"] == "0.000000011"


@pytest.mark.parametrize(
    ("team", "month", "says"),
    [("serch", MONTH, "no team 'serch'"), ("search", "november", "'november' is no")],
)
def test_a_wrong_question_is_bad_input(team: str, month: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["invoice", "--team", team, "--month", month]) == 2
    assert says in capsys.readouterr().err
