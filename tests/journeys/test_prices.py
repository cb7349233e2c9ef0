"""Prices: of whoever answered, as they were at admission, from a table that every worker has at the same time."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import httpx
import pytest

from gateway.records import PriceTaken
from tests.journeys.caller import ask
from tests.journeys.conftest import Town
from tests.journeys.fault_provider import FaultProvider
from tests.journeys.gateway_process import PATIENCE_S, GatewayProcess, running, table_of, until

RELOADED_S = 1.0


@pytest.mark.parametrize("stream", [False, True])
def test_a_fallback_is_charged_at_its_own_price(town: Town, stream: bool) -> None:
    town.first.next("500")

    answer = ask(town.gateway, stream=stream)

    assert answer.headers["x-inference-provider"] == "second"
    assert answer.headers["x-gateway-attempts"] == "first:500,second:200"
    failed, won = town.gateway.story(answer.headers["inference-id"])
    assert (failed.price, failed.charge_nano_usd) == (price(3, 6), 0)
    assert (won.price, won.charge_nano_usd) == (price(1, 2), 5 * 1_000 + 16 * 2_000)
    assert (won.hub_model, won.provider, won.provider_model) == ("acme/chat", "second", "chat")


def test_a_new_price_is_every_workers_within_a_second_and_rewrites_nothing(tmp_path: Path) -> None:
    with FaultProvider() as provider:
        with running(tmp_path, one_price(provider, "1", "2"), workers=3) as gateway:
            before = ask(gateway).headers["inference-id"]
            (old,) = generations(gateway)

            gateway.table_path.write_text(one_price(provider, "4", "8"))
            gateway.process.send_signal(signal.SIGHUP)
            told_s = time.monotonic()
            (new,) = until(lambda: found if old not in (found := generations(gateway)) else None, "the new table")

            assert time.monotonic() - told_s < RELOADED_S
            after = ask(gateway).headers["inference-id"]
            (cheap,), (dear,) = gateway.story(before), gateway.story(after)
            assert (cheap.generation, cheap.price, cheap.charge_nano_usd) == (old, price(1, 2), 37_000)
            assert (dear.generation, dear.price, dear.charge_nano_usd) == (new, price(4, 8), 148_000)


def test_a_table_with_a_bad_price_is_refused_and_the_old_one_charges(tmp_path: Path) -> None:
    with FaultProvider() as provider, running(tmp_path, one_price(provider, "1", "2")) as gateway:
        gateway.table_path.write_text(one_price(provider, "-4", "8"))

        fault = until(lambda: gateway.readyz().get("mapping_fault"), "the fault in /readyz")

        assert "pricing" in fault
        (entry,) = gateway.story(ask(gateway).headers["inference-id"])
        assert (entry.price, entry.charge_nano_usd) == (price(1, 2), 37_000)


def one_price(provider: FaultProvider, prompt: str, answer: str) -> str:
    offer = {"pricing": {"input": prompt, "output": answer}}
    return table_of({"only": provider.base_url}, models={"acme/chat": {"only": offer}})


def price(prompt_usd: int, answer_usd: int) -> PriceTaken:
    of_prompt, of_answer = prompt_usd * 10**9, answer_usd * 10**9
    return PriceTaken(of_prompt, of_answer, of_prompt, of_prompt)


def generations(gateway: GatewayProcess) -> set[str]:
    """Of the tables of all workers: each question is a new connection, which any of them may take."""
    found = set()
    for _ in range(30):
        with httpx.Client(verify=False, timeout=PATIENCE_S) as client:
            found.add(client.get(f"{gateway.url}/readyz").json()["generation"])
    return found
