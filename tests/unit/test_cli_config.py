"""`gateway check` and `gateway init`, run in a folder of their own."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import pytest

from gateway.cli import config
from gateway.cli.failure import CliFailure


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("GATEWAY_", "REDIS_URL", "HTTPS_PROXY")) or name.endswith(("_API_KEY", "HF_TOKEN")):
            monkeypatch.delenv(name)
    return tmp_path


def gateway(*words: str) -> int:
    parser = argparse.ArgumentParser()
    config.add_parser(parser.add_subparsers())
    args = parser.parse_args(words)
    code: int = args.run(args)
    return code


def test_init_then_check_is_fine_and_says_what_lacks_its_key(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gateway("init") == 0
    monkeypatch.setenv("GROQ_API_KEY", "gsk")
    capsys.readouterr()
    assert gateway("check") == 0
    out = capsys.readouterr().out
    assert "1 providers, no faults" in out
    assert "left out: cohere (COHERE_API_KEY is not set)" in out


def test_init_writes_every_key_and_every_setting(folder: Path) -> None:
    gateway("init")
    example = (folder / ".env.example").read_text()
    for name in ("GROQ_API_KEY=\n", "HF_TOKEN=\n", "# GATEWAY_PORT=8000\n", "# REDIS_URL=\n", "# GATEWAY_ADMIN_KEY=\n"):
        assert name in example
    assert (folder / "mappings.yaml").read_text() == config.shipped_table()


def test_init_overwrites_nothing_unless_forced(folder: Path) -> None:
    (folder / ".env.example").write_text("mine")
    with pytest.raises(CliFailure, match=r"\.env\.example exist here already") as caught:
        gateway("init")
    assert caught.value.exit_code == 2
    assert not (folder / "mappings.yaml").exists()
    assert gateway("init", "--force") == 0
    assert (folder / ".env.example").read_text() != "mine"


def test_check_prints_a_line_per_fault_and_exits_with_two(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bad.yaml").write_text("version: 1\nproviders: {grok: {}}\nmodells: {}\nmodels:\n  a b: {}\n")
    assert gateway("check", "--mappings", "bad.yaml") == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[:2] for line in lines] == [["bad.yaml", "2"], ["bad.yaml", "3"], ["bad.yaml", "5"]]


def test_check_tells_faults_of_the_environment_together_with_those_of_the_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_WORKERS", "abc")
    assert gateway("check", "--json") == 2
    told = capsys.readouterr()
    assert "GATEWAY_WORKERS" in told.err
    assert "gateway init" in told.err
    assert [fault["file"] for fault in json.loads(told.out)["faults"]] == [None, "mappings.yaml"]


def test_check_speaks_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    gateway("init")
    monkeypatch.setenv("GATEWAY_PROT", "1")
    capsys.readouterr()
    assert gateway("check", "--json") == 0
    told = capsys.readouterr()
    summary = json.loads(told.out)
    assert summary["ok"] is True
    assert summary["left_out"]["groq"] == "GROQ_API_KEY is not set"
    assert "GATEWAY_PORT" in summary["warnings"][0]
