"""`gateway reconcile` against a real embedded store and a real journal."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from gateway.administration import Actor, Administration
from gateway.cli.main import main
from gateway.journal.writer import JournalWriter
from gateway.store.open import open_store
from tests.store.samples import entry, run_of


@pytest.fixture(autouse=True)
def _used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt in the store, and one that was not shipped yet."""
    monkeypatch.setenv("GATEWAY_STATE_DIR", str(tmp_path))
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.chdir(tmp_path)

    async def use() -> None:
        store = await open_store(state_dir=tmp_path)
        team = await Administration(store).create_team({"team": "search"}, Actor("cli", "x"))
        shipped, waiting = (entry(seq, team_id=team.id, upstream_id=f"up-{seq}") for seq in (1, 2))
        await store.settle(run_of([shipped]))
        await store.aclose()
        journal = JournalWriter.create(tmp_path / "journal", "i_one", sync="off")
        for one in (shipped, waiting):
            journal.append_closed(one)
        await journal.aclose()

    asyncio.run(use())


def bill(tmp_path: Path, *lines: str) -> str:
    path = tmp_path / "bill.csv"
    path.write_text("\n".join(("id,prompt_tokens,completion_tokens,cost", *lines, "")))
    return str(path)


def test_a_bill_that_agrees_is_exit_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = bill(tmp_path, "up-1,100,20,0.0000748", "up-2,100,20,0.0000748")
    assert main(["reconcile", "--provider", "groq", file]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["matched", "2"]


def test_a_bill_that_differs_is_exit_3_and_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = bill(tmp_path, "up-1,100,20,0.0000749", "up-9,1,1,0.5")
    assert main(["reconcile", "--provider", "groq", file, "--json"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert (told["ledger_total_usd"], told["remainder_usd"]) == ("0.0001496", "0")
    assert told["price_delta"] == {"count": 1, "amount_usd": "0.0000001"}
    assert told["missing_here"] == {"count": 1, "amount_usd": "0.5"}
    assert told["missing_there"] == {"count": 1, "amount_usd": "-0.0000748"}
    assert main(["reconcile", "--provider", "groq", file]) == 3
    assert "up-9" in capsys.readouterr().out


def test_our_own_export_agrees_with_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", "export", "--format", "csv"]) == 0
    path = tmp_path / "own.csv"
    path.write_text(capsys.readouterr().out)
    assert main(["reconcile", "--provider", "groq", str(path)]) == 0


def test_bad_input_is_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reconcile", "--provider", "groq", bill(tmp_path, "up-1,1,1,much")]) == 2
    assert "bill.csv:2: the cost 'much'" in capsys.readouterr().err
    assert main(["reconcile", "--provider", "grok", bill(tmp_path)]) == 2
    assert "provider 'grok'" in capsys.readouterr().err
    assert main(["reconcile", "--provider", "groq", str(tmp_path / "none.csv")]) == 2
    (tmp_path / "latin.csv").write_bytes(b"id,cost\n\xe9,1\n")
    assert main(["reconcile", "--provider", "groq", str(tmp_path / "latin.csv")]) == 2
    assert "latin.csv:2: the file is not in UTF-8" in capsys.readouterr().err
