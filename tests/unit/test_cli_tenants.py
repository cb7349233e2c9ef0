"""`gateway teams` and `gateway keys` on a real embedded store: what they print, where, and how they fail."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from gateway.cli import tenants
from gateway.cli.failure import CliFailure
from gateway.keys import parse


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("REDIS_URL", raising=False)


def gateway(*words: str) -> int:
    parser = argparse.ArgumentParser()
    tenants.add_parser(parser.add_subparsers(required=True))
    args = parser.parse_args(words)
    code: int = args.run(args)
    return code


def test_a_team_is_made_shown_changed_listed_and_deleted(capsys: pytest.CaptureFixture[str]) -> None:
    flags = [
        "--budget-usd",
        "100.00",
        "--budget-period",
        "day",
        "--budget-enforce",
        "soft",
        "--warn-at",
        "50,100",
        "--rpm",
        "60",
        "--tpm",
        "1000",
    ]
    flags += [
        "--concurrency",
        "2",
        "--model",
        "meta-llama/*",
        "--model",
        "Qwen/*",
        "--provider",
        "groq",
        "--timezone",
        "Europe/Berlin",
    ]
    flags += ["--when-store-down", "deny", "--unpriced", "refuse", "--accepts-from", "ads", "--json"]
    assert gateway("teams", "create", "search", *flags) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["budget"] == {"usd": "100", "period": "day", "enforce": "soft", "warn_at": [50, 100]}
    assert made["limits"] == {"requests_per_minute": 60, "tokens_per_minute": 1000, "concurrency": 2}
    assert (made["models"], made["providers"]) == (["meta-llama/*", "Qwen/*"], ["groq"])
    assert (made["timezone"], made["when_store_down"], made["unpriced"]) == ("Europe/Berlin", "deny", "refuse")

    gateway("teams", "update", "search", "--budget-usd", "7", "--clear", "models", "--name", "find")
    capsys.readouterr()
    gateway("teams", "show", "find", "--json")
    shown = json.loads(capsys.readouterr().out)
    assert (shown["id"], shown["budget"]["usd"], shown["budget"]["period"]) == (made["id"], "7", "day")
    assert shown["models"] == []

    gateway("teams", "list")
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["TEAM", "BUDGET", "LIMITS", "MODELS", "ID"]
    assert row.startswith("find  7 USD/day soft  60 rpm, 1000 tpm, 2 at a time  all")

    assert gateway("teams", "delete", "find") == 0
    capsys.readouterr()
    gateway("teams", "list", "--json")
    assert json.loads(capsys.readouterr().out) == {"data": []}


def test_a_new_key_stands_alone_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    gateway("teams", "create", "search")
    capsys.readouterr()
    gateway("keys", "create", "--team", "search", "--expires-at", "2099-01-01", "--scope", "usage", "--may-bill", "ads")
    printed = capsys.readouterr()
    text = printed.out.removesuffix("\n")
    key = parse(text)
    assert key is not None
    assert key.id in printed.err
    assert text not in printed.err

    gateway("keys", "list", "--team", "search", "--json")
    [listed] = json.loads(capsys.readouterr().out)["data"]
    assert (listed["id"], listed["expires_at"], listed["scopes"]) == (key.id, "2099-01-01T00:00:00Z", ["usage"])
    assert "key" not in listed

    gateway("keys", "rotate", key.id, "--team", "search", "--overlap", "0")
    rotated = parse(capsys.readouterr().out.strip())
    assert rotated is not None
    assert rotated.id == key.id
    assert rotated.digest != key.digest

    gateway("keys", "revoke", key.id, "--team", "search")
    assert capsys.readouterr().out == ""
    gateway("keys", "list", "--team", "search")
    assert "revoked" in capsys.readouterr().out


def test_a_webhook_gets_a_secret_that_is_told_once_and_not_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    gateway("teams", "create", "search", "--webhook-url", "https://hooks.example.com/x", "--json")
    printed = capsys.readouterr()
    assert json.loads(printed.out)["webhook"] == {"url": "https://hooks.example.com/x"}
    secret = printed.err.split()[-1]
    assert len(secret) >= 32
    assert secret not in printed.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["teams", "create", "Search"], "must be 1 to 63"),
        (["teams", "create", "ads", "--budget-usd", "lots"], "budget.usd"),
        (["teams", "create", "ads", "--budget-period", "day"], "budget.usd is missing"),
        (["teams", "create", "ads", "--warn-at", "80,x"], "budget.usd is missing"),
        (["teams", "create", "ads", "--budget-usd", "1", "--warn-at", "80,x"], "budget.warn_at"),
        (["teams", "create", "search"], "already"),
        (["teams", "show", "serach"], "Did you mean 'search'?"),
        (["teams", "update", "search", "--clear", "bugdet"], "Did you mean 'budget'?"),
        (["keys", "create", "--team", "nobody"], "no team 'nobody'"),
        (["keys", "revoke", "abc", "--team", "search"], "no key 'abc'"),
        (["keys", "create", "--team", "search", "--scope", "admin"], "scopes[0]"),
    ],
)
def test_what_is_wrong_is_said_with_exit_code_two(words: list[str], says: str) -> None:
    gateway("teams", "create", "search")
    with pytest.raises(CliFailure) as caught:
        gateway(*words)
    assert says in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("place", ["file", "file/state"])
def test_a_state_folder_that_is_no_folder_is_bad_input(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GATEWAY_STATE_DIR", str(tmp_path / place))
    with pytest.raises(CliFailure, match=r"^GATEWAY_STATE_DIR: .* expected a folder$") as caught:
        gateway("teams", "list")
    assert caught.value.exit_code == 2
