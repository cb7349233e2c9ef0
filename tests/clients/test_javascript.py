"""The grid through the JavaScript clients, `openai` and `@huggingface/inference`.

Skipped where node or the packages are missing: `npm ci` in `tests/clients/js` brings them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.clients.grid import (
    PLACES,
    QUESTION,
    REFUSALS,
    Answer,
    Call,
    Refused,
    assert_answers,
    assert_refuses,
    cells,
    fields,
)
from tests.journeys.simulator_process import SimulatorProcess

FOLDER: Final = Path(__file__).parent / "js"
NODE: Final = shutil.which("node")
PATIENCE_S: Final = 60.0

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="there is no node here"),
    pytest.mark.skipif(not (FOLDER / "node_modules").is_dir(), reason="npm ci in tests/clients/js brings the packages"),
]


@pytest.fixture(params=["openai", "huggingface"])
def client(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def ask_all(client: str, base_url: str, key: str, asks: list[dict[str, Any]]) -> list[Answer | Refused]:
    """What one client made of these requests, asked one after the other in one process."""
    assert NODE is not None
    done = subprocess.run(
        [NODE, "ask.mjs", client],
        cwd=FOLDER,
        input=json.dumps({"baseUrl": base_url, "key": key, "asks": asks}),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [_read(told) for told in json.loads(done.stdout)]


def _read(told: dict[str, Any]) -> Answer | Refused:
    if "status" in told:
        return Refused(told["status"], told["error"])
    calls = tuple(Call(name, arguments) for name, arguments in told["calls"])
    tokens = told["tokens"] and tuple(told["tokens"])
    return Answer(told["text"], told["finishReason"], calls, tokens, told["pieces"])


def test_the_grid(client: str, base_url: str, key: str, providers: SimulatorProcess) -> None:
    asked = [(place, feature, row) for place, feature in cells() for row in place.rows(feature)]
    answers = ask_all(
        client,
        base_url,
        key,
        [
            {"stream": feature == "streamed", "model": f"{row.hub_model}:{place.provider}", "fields": fields(feature)}
            for place, feature, row in asked
        ],
    )

    reached = []
    for (place, feature, row), answer in zip(asked, answers, strict=True):
        refusal = REFUSALS.get((place.provider, feature))
        if refusal is not None:
            assert isinstance(answer, Refused), (place.provider, feature)
            assert_refuses(answer, refusal)
        else:
            assert isinstance(answer, Answer), (place.provider, feature, answer)
            assert_answers(answer, place, feature)
            reached.append((place.provider, row.provider_model))
    assert {provider for provider, _ in reached} == set(PLACES)
    assert [(seen["provider"], seen["body"]["model"]) for seen in providers.requests()] == reached


def test_nobody_answers_and_the_client_asks_once(
    client: str, base_url: str, key: str, providers: SimulatorProcess
) -> None:
    """OpenAI's repeats most errors of a server, Hugging Face's a 503, at once and without end."""
    alone = {"openai": "katanemo/Arch-Router-1.5B", "huggingface": "HuggingFaceBio/Carbon-3B"}[client]
    providers.behave("hf-inference", "status=500", model=alone)
    plain = {"stream": False, "model": alone, "fields": {"messages": [{"role": "user", "content": QUESTION}]}}

    (failed,) = ask_all(client, base_url, key, [plain])

    assert isinstance(failed, Refused)
    assert failed.status == 502
    assert failed.error["code"] == "all_providers_failed"
    assert len(providers.requests()) == len(failed.error["attempts"])


def test_an_unknown_model_and_a_wrong_key_are_told(client: str, base_url: str, key: str) -> None:
    asks = [
        {"stream": stream, "model": "no-such/model", "fields": {"messages": [{"role": "user", "content": "?"}]}}
        for stream in (False, True)
    ]
    for unknown in ask_all(client, base_url, key, asks):
        assert isinstance(unknown, Refused)
        assert (unknown.status, unknown.error["code"]) == (404, "model_not_found")
    for stranger in ask_all(client, base_url, "hf_gw_nobody", asks):
        assert isinstance(stranger, Refused)
        assert (stranger.status, stranger.error["code"]) == (401, "invalid_api_key")
