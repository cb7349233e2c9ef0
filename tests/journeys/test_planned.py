"""What a changed table would do, from the journal of a gateway that served; nobody is asked anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.cli.main import main
from tests.journeys.caller import ask
from tests.journeys.fault_provider import FaultProvider
from tests.journeys.gateway_process import GatewayProcess, running, table_of

Plan = Callable[..., tuple[int, str, str]]
PRICES = {"first": {"input": "3", "output": "6"}, "second": {"input": "1", "output": "2"}}


def table(*providers: str, **model: object) -> str:
    rows = {name: {"pricing": PRICES[name], **model} for name in providers}
    return table_of(dict.fromkeys(providers, "http://127.0.0.1:9/v1"), models={"acme/chat": rows})


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Six requests of two teams: four answered by the first provider, two by the second, which it failed."""
    with FaultProvider() as first, FaultProvider() as second:
        made = table_of(
            {"first": first.base_url, "second": second.base_url},
            models={"acme/chat": {name: {"pricing": price} for name, price in PRICES.items()}},
        )
        with running(tmp_path_factory.mktemp("served"), made) as gateway:
            for team in ("search", "search", "ads"):
                assert ask(gateway, headers=gateway.headers(team)).headers["x-inference-provider"] == "first"
            assert ask(gateway, tools=[TOOL]).headers["x-inference-provider"] == "first"
            first.next("503", "503")
            for _ in range(2):
                assert ask(gateway).headers["x-inference-provider"] == "second"
            assert gateway.stop() == 0
            asked = first.requests, second.requests
            yield gateway
            assert (first.requests, second.requests) == asked


TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


@pytest.fixture
def plan(
    served: GatewayProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Plan:
    monkeypatch.setenv("GATEWAY_STATE_DIR", str(served.state_dir))
    monkeypatch.setenv("GATEWAY_MAPPINGS", str(served.table_path))

    def run(text: str, *words: str) -> tuple[int, str, str]:
        new = tmp_path / "new.yaml"
        new.write_text(text)
        code = main(["plan", str(new), *words])
        return code, *capsys.readouterr()

    return run


def test_the_table_in_force_would_change_nothing(served: GatewayProcess, plan: Plan) -> None:
    code, told, _ = plan(served.table_path.read_text())
    assert code == 0
    assert told.startswith("6 requests of 2")
    assert "0 would be answered by another provider (0.0%)" in told
    assert "TEAM" not in told


def test_a_cheaper_order_moves_a_share_and_saves_money(plan: Plan) -> None:
    code, told, _ = plan(table("second", "first"), "--json")
    assert code == 0
    made = json.loads(told)
    assert (made["requests"], made["moved"], made["newly_refused"]) == (6, 4, 0)
    shares = {one["provider"]: (one["share_before"], one["share_after"]) for one in made["providers"]}
    assert shares == {"first": (0.6667, 0.0), "second": (0.3333, 1.0)}
    # Five tokens of the prompt and sixteen of the answer each, at a third of the price.
    assert (made["cost_before_usd"], made["cost_after_usd"]) == ("0.000518", "0.000222")
    assert {one["team"]: (one["requests"], one["moved"]) for one in made["teams"]} == {"search": (5, 3), "ads": (1, 1)}

    code, told, _ = plan(table("second", "first"))
    assert "4 would be answered by another provider (66.7%)" in told
    assert "they cost $0.000518, and would cost $0.000222" in told


def test_what_would_be_refused_is_exit_3_with_an_example(plan: Plan) -> None:
    code, told, _ = plan(table("second", supports={"tools": False}))
    assert code == 3
    assert "1 would be refused (16.7%)" in told
    assert "second: the model does not support tools there" in told
    assert plan(table("first", "second", supports={"tools": False}), "--team", "ads")[0] == 0


def test_a_team_and_a_time_narrow_it(plan: Plan) -> None:
    assert json.loads(plan(table("first"), "--json", "--team", "ads")[1])["requests"] == 1
    code, told, _ = plan(table("first"), "--since", "2100-01-01")
    assert (code, told) == (0, "no requests in this host's journals to route again\n")
    assert plan(table("first"), "--since", "yesterday")[0] == 2
    assert plan(table("first"), "--team", "nobody")[0] == 2


def test_a_bad_table_is_what_check_says_of_it(plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told, faults = plan(table("first").replace('"routing"', '"ruoting"'))
    assert (code, told) == (2, "")
    assert main(["check", "--mappings", str(tmp_path / "new.yaml")]) == 2
    assert capsys.readouterr().err == faults
    assert "new.yaml:" in faults


def test_keys_that_are_not_set_here_are_taken_to_be_set_there(plan: Plan) -> None:
    text = table("first", "second").replace("sk-the-secret-of-first", "${A_KEY_THAT_IS_NOT_SET}")
    assert "0 would be answered by another provider" in plan(text)[1]
