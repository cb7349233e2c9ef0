"""Why did my request go there: over HTTP for the team and the operator, and in words on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.cli.main import main
from gateway.ids import InferenceIds
from gateway.journal.entries import Intent, decode_entry, frame, frames
from gateway.routing.decision import Decision, is_the_same, replay, unpack
from tests.journeys.caller import ask
from tests.journeys.conftest import Town
from tests.journeys.gateway_process import ADMIN_KEY, GatewayProcess, table_of, until

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(town: Town, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`gateway …` on the town's host: exit code, standard output, standard error."""
    monkeypatch.setenv("GATEWAY_STATE_DIR", str(town.gateway.state_dir))
    monkeypatch.setenv("GATEWAY_MAPPINGS", str(town.gateway.table_path))

    def run(*words: str) -> tuple[int, str, str]:
        code = main(words)
        return code, *capsys.readouterr()

    return run


def fallen_back(town: Town, **more: Any) -> str:
    """A request that the second provider answered after the first could not; its inference id."""
    town.first.next("503")
    answer = ask(town.gateway, provider={"ignore": ["third"]}, max_tokens=100, **more)
    assert answer.headers["x-gateway-attempts"] == "first:503,second:200"
    return answer.headers["inference-id"]


def story(gateway: GatewayProcess, path: str, key: str) -> dict[str, Any]:
    """Once it has ended."""

    def ended() -> dict[str, Any] | None:
        answer = gateway.http.get(gateway.url + path, headers={"authorization": f"Bearer {key}"})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found if found["finished"] else None

    return until(ended, "the end of the story")


def test_a_team_reads_why_its_request_went_where_it_went(town: Town) -> None:
    inference_id = fallen_back(town, headers={"x-request-id": "mine"})

    told = story(town.gateway, f"/v1/requests/{inference_id}", town.gateway.key())

    assert told == story(town.gateway, "/v1/requests/mine", town.gateway.key())
    assert (told["state"], told["cost_usd"], told["generation"]) == (
        "answered",
        "0.000205",
        town.gateway.readyz()["generation"],
    )
    first, second = told["attempts"]
    assert (first["provider"], first["status"], first["failure"]) == ("first", 503, "overloaded")
    assert (second["provider"], second["status"], second["failure"]) == ("second", 200, None)
    assert (second["prompt_tokens"], second["completion_tokens"], first["cost_usd"]) == (5, 100, "0")
    assert told["at"] <= first["at"] <= second["at"]
    assert told["route"] == {"candidates": ["first", "second"], "skipped": {"third": "wish"}}
    decision = told["decision"]
    assert (decision["policy"], decision["max_tokens"], decision["wishes"]) == ("preferred", 100, {"ignore": ["third"]})
    assert [candidate["provider"] for candidate in decision["candidates"]] == ["first", "second"]
    assert decision["candidates"][0]["price"] == {"input": "3", "output": "6"}
    assert {"state", "in_flight", "first_content_ms", "tokens_per_s", "score"} <= decision["candidates"][0].keys()
    assert decision["skipped"] == [{"provider": "third", "code": "wish", "reason": "in provider.ignore"}]
    assert "provider_cost_usd" not in json.dumps(told)


def test_an_operator_sees_what_the_provider_bills(town: Town) -> None:
    told = story(town.gateway, f"/admin/v1/requests/{fallen_back(town)}", ADMIN_KEY)

    assert [attempt["provider_cost_usd"] for attempt in told["attempts"]] == ["0", "0.000205"]


def test_nobody_reads_another_teams_story(town: Town) -> None:
    inference_id = fallen_back(town)
    other = {"authorization": f"Bearer {town.gateway.key('ads')}"}

    answer = town.gateway.http.get(f"{town.gateway.url}/v1/requests/{inference_id}", headers=other)

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "request_not_found")


def test_the_command_line_tells_it_in_words(town: Town, command: Command) -> None:
    inference_id = fallen_back(town, headers={"x-request-id": "mine-too"})
    town.gateway.story(inference_id)

    code, told, _ = command("explain", "--request", inference_id)

    assert code == 0
    for words in (
        f"Request {inference_id}, which its caller calls mine-too",
        "of team search",
        "answered by second, the second that was asked",
        "$0.000205 charged",
        "Policy preferred, as the table says",
        "of the prompt and 100 of an answer",
        "Its field `provider` says ignore third.",
        "1. first as chat: $3 in and $6 out a million tokens",
        "-  third: in provider.ignore",
        "first: 503, overloaded after",
        "second: 200, done after",
    ):
        assert words in told
    assert command("explain", "--request", "mine-too", "--team", "search")[1] == told
    assert json.loads(command("explain", "--request", inference_id, "--json")[1])["inference_id"] == inference_id


def test_the_choice_is_made_again_though_the_table_is_another_now(
    town: Town, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inference_id = fallen_back(town)
    town.gateway.story(inference_id)
    (tmp_path / "other.yaml").write_text(table_of({"somebody-else": town.first.base_url}))
    monkeypatch.setenv("GATEWAY_MAPPINGS", str(tmp_path / "other.yaml"))

    code, told, _ = command("explain", "--request", inference_id, "--replay")

    assert code == 0
    assert "the choice is the same: first, then second, without third (wish)." in told


def test_every_decision_of_a_run_is_made_again(town: Town) -> None:
    for wishes in ({}, {"sort": "price"}, {"sort": "throughput"}, {"order": ["third"]}, {"allow_fallbacks": False}):
        for _ in range(4):
            assert ask(town.gateway, provider=wishes, model="default").status_code == 200
    made = [Decision(unpack(bytes(one.decision)), one.route) for one in intents(town.gateway.state_dir)]
    assert len(made) >= 20
    assert all(is_the_same(decision, replay(decision)) for decision in made)


def test_a_choice_that_was_not_made_is_exit_3(
    town: Town, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inference_id = fallen_back(town)
    town.gateway.story(inference_id)
    # Another host's journal, in which somebody has put the other provider first.
    folder = tmp_path / "journal" / "i_other"
    folder.mkdir(parents=True)
    (found,) = [one for one in intents(town.gateway.state_dir) if one.inference_id == inference_id]
    (folder / "1.log").write_bytes(frame(msgspec.structs.replace(found, route="second,first;third:wish")))
    (tmp_path / "store.db").symlink_to(town.gateway.state_dir / "store.db")
    monkeypatch.setenv("GATEWAY_STATE_DIR", str(tmp_path))

    code, told, _ = command("explain", "--request", inference_id, "--replay")
    assert code == 3
    assert "it was second, then first, without third (wish); it is first, then second, without third (wish)." in told
    assert json.loads(command("explain", "--request", inference_id, "--replay", "--json")[1])["replay"]["same"] is False

    (folder / "1.log").unlink()
    code, told, _ = command("explain", "--request", inference_id)
    assert code == 0
    assert "The order was first, then second." in told
    assert "Left out were third (wish)." in told
    assert "No more is kept on this host" in told
    assert "answered by second" in told
    code, _, complaint = command("explain", "--request", inference_id, "--replay")
    assert code == 1
    assert "ask on the host that served it" in complaint


def test_without_the_store_the_journals_tell_it(town: Town, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    inference_id = fallen_back(town)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")

    code, told, note = command("explain", "--request", inference_id)

    assert code == 0
    assert "answered by second, the second that was asked" in told
    assert "1. first as chat:" in told
    assert "by this host's journals alone" in note
    assert command("explain", "--request", InferenceIds().next())[0] == 1


def intents(state_dir: Path) -> list[Intent]:
    return [
        entry
        for path in state_dir.glob("journal/*/*.log")
        for one in frames(path.read_bytes())
        if isinstance(one, tuple) and isinstance(entry := decode_entry(one[1]), Intent)
    ]


@pytest.mark.parametrize("words", [("--request", InferenceIds().next()), ("--request", "nonsense"), ()])
def test_what_there_is_not_is_a_clear_error(command: Command, words: tuple[str, ...]) -> None:
    code, told, complaint = command("explain", *words)

    assert (code, told) == (2, "")
    assert complaint.startswith("gateway: ")
    assert len(complaint.splitlines()) == 1


def test_a_request_that_a_limit_refused_has_a_story(town: Town, command: Command) -> None:
    team = {"budget": {"usd": "0.000001", "period": "day"}}
    poor = {"authorization": f"Bearer {town.gateway.key('poor', **team)}"}

    answer = ask(town.gateway, headers=poor)

    assert answer.status_code == 402
    code, told, _ = command("explain", "--request", answer.headers["inference-id"])
    assert code == 0
    assert "refused by a budget or a limit (402 budget_exceeded); nothing was sent" in told
    assert "A strict budget pays for it." in told


def test_a_request_of_which_nobody_could_be_asked_has_a_story(town: Town, command: Command) -> None:
    wishes = {"only": ["first"], "ignore": ["first"]}

    answer = ask(town.gateway, provider=wishes, headers={"x-request-id": "in-vain"})

    assert answer.status_code == 400
    inference_id = answer.headers["inference-id"]
    told = story(town.gateway, f"/v1/requests/{inference_id}", town.gateway.key())
    assert (told["state"], told["refusal"], told["attempts"]) == ("refused", {"status": 400, "code": None}, [])
    assert told["route"] == {"candidates": [], "skipped": {"first": "wish", "second": "wish", "third": "wish"}}
    assert {skip["reason"] for skip in told["decision"]["skipped"]} == {"in provider.ignore", "not in provider.only"}
    code, words, _ = command("explain", "--request", inference_id)
    assert code == 0
    assert "refused as nobody could be asked (400); nothing was sent" in words
    assert "-  first: in provider.ignore" in words
    assert "the choice is the same: nobody" in command("explain", "--request", inference_id, "--replay")[1]
    assert inference_id not in {line["inference_id"] for line in town.gateway.export()}
