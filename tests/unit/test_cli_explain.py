"""`gateway explain MODEL`: where a request would go, by the code that routes requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.administration import Actor, Administration
from gateway.cli.main import main
from gateway.store.open import open_store

MODEL = "acme/chat"
Explain = Callable[..., tuple[int, str, str]]


@pytest.fixture
def explain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Explain:
    row = {"providerModelId": "chat", "task": "conversational", "status": "live"}
    table = {
        "version": 1,
        "providers": {
            "dear": {"adapter": "openai", "baseUrl": "http://127.0.0.1:9/v1"},
            "cheap": {"adapter": "openai", "baseUrl": "http://127.0.0.1:9/v1"},
            "groq": {"apiKey": "${A_KEY_THAT_IS_NOT_SET}"},
        },
        "models": {
            MODEL: {
                "providersMapping": {
                    "dear": {**row, "pricing": {"input": "3", "output": "6"}},
                    "cheap": {**row, "pricing": {"input": "1", "output": "2"}, "supports": {"tools": False}},
                    "groq": row,
                }
            }
        },
        "aliases": {"default": MODEL},
    }
    (tmp_path / "mappings.yaml").write_text(json.dumps(table))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REDIS_URL", raising=False)

    async def make_team() -> None:
        store = await open_store(state_dir=tmp_path / ".gateway")
        await Administration(store).create_team({"team": "frugal", "providers": ["cheap"]}, Actor("cli", "here"))
        await store.aclose()

    asyncio.run(make_team())

    def run(*words: str) -> tuple[int, str, str]:
        code = main(["explain", *words])
        return code, *capsys.readouterr()

    return run


def test_candidates_come_in_order_and_the_others_with_their_reason(explain: Explain) -> None:
    assert explain("default") == (
        0,
        f"{MODEL}, policy preferred\n"
        "  1. dear as chat: $3 in and $6 out a million tokens\n"
        "  2. cheap as chat: $1 in and $2 out a million tokens\n"
        "  -  groq: A_KEY_THAT_IS_NOT_SET is not set\n",
        "",
    )


@pytest.mark.parametrize(
    ("words", "order"),
    [
        ((MODEL,), ["dear", "cheap"]),
        ((f"{MODEL}:cheapest",), ["cheap", "dear"]),
        ((f"{MODEL}:cheap",), ["cheap"]),
        ((MODEL, "--tools"), ["dear"]),
        ((MODEL, "--team", "frugal"), ["cheap"]),
        ((MODEL, "--team", "frugal", "--tools"), []),
    ],
)
def test_it_can_be_read_by_a_program(explain: Explain, words: tuple[str, ...], order: list[str]) -> None:
    code, told, _ = explain(*words, "--json")
    made = json.loads(told)
    assert (code, made["model"]) == (0, MODEL)
    assert [candidate["provider"] for candidate in made["candidates"]] == order
    assert {candidate["provider"] for candidate in made["candidates"] + made["skipped"]} == {"dear", "cheap", "groq"}
    assert all(skip["reason"] and skip["code"] for skip in made["skipped"])


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("acme/chap",), "Did you mean 'acme/chat'"),
        ((f"{MODEL}:nobody",), "'nobody' is no known provider or policy"),
        ((MODEL, "--team", "nobody"), "there is no team 'nobody'"),
        ((MODEL, "--replay"), "--replay needs --request"),
        ((MODEL, "--request", "id"), "Either a MODEL, or --request ID"),
        (("--request", "my-own-label"), "'my-own-label' is no inference-id; with --team"),
        (("--request", "id", "--tools"), "--tools and --mappings go with a MODEL"),
        ((MODEL, "--mappings", "nowhere.yaml"), "nowhere.yaml: there is no such file"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(explain: Explain, words: tuple[str, ...], complaint: str) -> None:
    code, told, said = explain(*words)
    assert (code, told) == (2, "")
    assert complaint in said
    assert said.startswith("gateway: ")
    assert said.count("\n") == 1
