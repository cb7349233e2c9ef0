"""`gateway budget --org` on a real embedded store."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from gateway.cli import budget
from gateway.cli.failure import CliFailure


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("GATEWAY_MAPPINGS", str(tmp_path / "none.yaml"))
    monkeypatch.delenv("REDIS_URL", raising=False)


def gateway(*words: str) -> int:
    parser = argparse.ArgumentParser()
    budget.add_parser(parser.add_subparsers(required=True))
    return budget.run(parser.parse_args(["budget", *words]))


def test_it_is_set_shown_and_cleared(capsys: pytest.CaptureFixture[str]) -> None:
    assert gateway("--org", "--usd", "1000.00", "--period", "total", "--warn-at", "50,90", "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert made == {
        "budget": {"usd": "1000", "period": "total", "enforce": "soft", "warn_at": [50, 90]},
        "webhook": None,
        "spent_usd": "0",
        "percent": 0,
        "resets_at": None,
    }
    assert gateway("--org", "--webhook-url", "https://example.org/hook", "--json") == 0
    told = capsys.readouterr()
    assert json.loads(told.out) == {**made, "webhook": {"url": "https://example.org/hook"}}
    assert "secret, shown this once" in told.err
    assert gateway("--org") == 0
    shown = capsys.readouterr().out
    assert "1000 USD / total" in shown
    assert "0 USD (0 %)" in shown
    assert gateway("--org", "--clear") == 0
    assert capsys.readouterr().out == "the organisation has no budget\n"


def test_no_share_is_told_of_a_budget_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    gateway("--org", "--usd", "0", "--json")
    assert json.loads(capsys.readouterr().out)["percent"] is None
    gateway("--org")
    assert "%)" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "say --org"),
        (("--org", "--clear", "--usd", "1"), "--clear stands alone"),
        (("--org", "--period", "day"), r"budget\.usd is missing"),
        (("--org", "--usd", "much"), r"budget\.usd: 'much' is not an amount"),
        (("--org", "--usd", "9" * 18), "is more than 9007199.254740992 USD"),
        (("--org", "--usd", "1", "--period", "week"), r"budget\.period must be one of: day, month, total"),
        (("--org", "--webhook-url", "ftp://x"), r"webhook\.url must be a http"),
    ],
)
def test_what_is_wrong_is_named(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(CliFailure, match=message) as failure:
        gateway(*words)
    assert failure.value.exit_code == 2


def test_the_help_says_that_it_is_not_exact(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gateway("--help")
    assert "It is not\nexact" in capsys.readouterr().out
