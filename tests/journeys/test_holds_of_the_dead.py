"""What a process or a whole host held when it died can be spent again, and what it may have cost is told.

Leases end here by moving them in Redis; FULL_LENGTH=1 waits for them instead, a minute and a half.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from gateway.admission import LEASE_SLACK_S
from gateway.store.redis.names import TeamNames, TenantNames
from tests.journeys.caller import ask, body, listening
from tests.journeys.fault_provider import FaultProvider
from tests.journeys.gateway_process import PATIENCE_S, GatewayProcess, running, table_of, until
from tests.store.redis_server import RedisServer

FULL_LENGTH: Final = bool(os.environ.get("FULL_LENGTH"))
DEADLINE_S: Final = 20
ADOPTED_S: Final = 15.0
BUDGET_USD: Final = "0.14"
ALL_TOKENS: Final = 690
"""Of output, whose hold is nearly the whole budget: any other hold beside it is too much."""
SOME_TOKENS: Final = 10
"""The hold of fifty such requests is nearly the whole budget too."""


@contextmanager
def budgeted(folder: Path, *, workers: int) -> Iterator[tuple[GatewayProcess, FaultProvider, RedisServer]]:
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(persist=False))
        provider = stack.enter_context(FaultProvider())
        patient = {"firstToken": 2 * DEADLINE_S, "betweenTokens": 2 * DEADLINE_S, "total": 2 * DEADLINE_S}
        table = table_of(
            {"only": provider.base_url},
            routing={"deadline": DEADLINE_S},
            timeouts=patient,
            models={"acme/chat": {"only": {"pricing": {"input": "1", "output": "200"}}}},
        )
        environ = {"REDIS_URL": redis.url}
        gateway = stack.enter_context(running(folder, table, workers=workers, environ=environ))
        gateway.key("search", budget={"usd": BUDGET_USD, "period": "total"})
        yield gateway, provider, redis


def send(gateway: GatewayProcess, stack: ExitStack, count: int) -> None:
    """That many requests, whose answers nobody waits for."""
    url = urlsplit(gateway.url)
    content = json.dumps(body(max_tokens=SOME_TOKENS)).encode()
    head = [
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: application/json",
        *(f"{name}: {value}" for name, value in gateway.headers().items()),
        f"Content-Length: {len(content)}\r\n\r\n",
    ]
    for _ in range(count):
        peer = stack.enter_context(socket.create_connection((url.hostname or "", url.port or 80)))
        peer.sendall("\r\n".join(head).encode() + content)


def takes_the_whole_budget(gateway: GatewayProcess) -> bool:
    with httpx.Client(verify=False, timeout=PATIENCE_S) as client:  # of its own: whoever held a connection may be dead
        answer = client.post(
            f"{gateway.url}/v1/chat/completions", json=body(max_tokens=ALL_TOKENS), headers=gateway.headers()
        )
    assert answer.status_code in (200, 402), answer.text
    return answer.status_code == 200


def test_after_kill_9_a_living_worker_gives_fifty_holds_back(tmp_path: Path) -> None:
    with budgeted(tmp_path, workers=2) as (gateway, provider, _), ExitStack() as stack:
        victim, other = gateway.worker_pids()
        provider.next(*["hang"] * 50)
        os.kill(other, signal.SIGSTOP)  # so that one worker has them all
        send(gateway, stack, 50)
        until(lambda: provider.requests == 50, "fifty requests at the provider")
        os.kill(other, signal.SIGCONT)
        assert not takes_the_whole_budget(gateway)

        os.kill(victim, signal.SIGKILL)

        until(lambda: takes_the_whole_budget(gateway), "the whole budget", ADOPTED_S)


def test_a_lost_host_is_a_loss_until_its_folder_comes_back(tmp_path: Path) -> None:
    with budgeted(tmp_path, workers=1) as (gateway, provider, redis), ExitStack() as stack:
        finished = ask(gateway, max_tokens=1)
        provider.next("hang-after-5-chunks", "hang", "hang", "hang")
        response, chunks = stack.enter_context(listening(gateway, max_tokens=SOME_TOKENS))
        next(chunks)
        send(gateway, stack, 3)
        until(lambda: provider.requests == 5, "the requests at the provider")
        begun_s = time.monotonic()
        gateway.story(finished.headers["inference-id"])
        gateway.kill()
        stack.close()
        away = gateway.state_dir.rename(tmp_path / "away")

        names = TeamNames("gw", redis.command("HGET", "gw:{tenants}:name", "search"))
        assert redis.command("ZCARD", names.leases) == "4"
        let_leases_end(redis, names, begun_s)
        gateway.start()  # as another host: it has nothing of the first one's disk
        until(lambda: redis.command("EXISTS", names.held, names.holds, names.leases) == "0", "the end of all holds")
        assert takes_the_whole_budget(gateway)
        lost = losses(gateway)
        assert len(lost["expired_holds"]) == 4
        assert response.headers["inference-id"] in {hold["inference_id"] for hold in lost["expired_holds"]}
        assert {(hold["team"], hold["cost_usd"]) for hold in lost["expired_holds"]} == {("search", "0")}
        assert nano_usd(lost["expired_holds_usd_max"]) >= 4 * SOME_TOKENS * 200_000
        assert nano_usd(lost["total"]["lost_usd"]) == 0

        assert gateway.stop() == 0
        for journal in (away / "journal").iterdir():
            shutil.move(journal, gateway.state_dir / "journal")
        gateway.start()
        until(lambda: losses(gateway)["expired_holds"] == [], "the lost host's journal in the ledger")
        found = losses(gateway)
        attempts = gateway.export()
        assert len(attempts) == provider.requests
        assert sum(bool(line["unknown"]) for line in attempts) == found["total"]["unknown_attempts"] == 3
        cost = sum(nano_usd(line["provider_cost_usd"]) for line in attempts)
        charge = sum(nano_usd(line["cost_usd"]) for line in attempts)
        assert (nano_usd(found["total"]["provider_cost_usd"]), nano_usd(found["total"]["cost_usd"])) == (cost, charge)
        assert nano_usd(found["total"]["lost_usd"]) == cost - charge
        (cut,) = [line for line in attempts if line["inference_id"] == response.headers["inference-id"]]
        assert cut["estimated"]
        assert nano_usd(cut["cost_usd"]) > 0
        assert redis.command("EXISTS", names.held, names.holds, names.expired) == "0"


def let_leases_end(redis: RedisServer, names: TeamNames, begun_s: float) -> None:
    """Until a minute after the requests' deadlines."""
    if FULL_LENGTH:
        time.sleep(max(0.0, begun_s + DEADLINE_S + LEASE_SLACK_S - time.monotonic()))
        return
    redis.command("DEL", TenantNames("gw").sweep)  # somebody swept a moment ago, by the clock that did not move
    for inference_id in redis.command("ZRANGE", names.leases, "0", "-1").split():
        redis.command("ZINCRBY", names.leases, str(-1000 * (DEADLINE_S + int(LEASE_SLACK_S))), inference_id)


def losses(gateway: GatewayProcess) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gateway.command("usage", "--losses", "--json"))
    return found


def nano_usd(text: str) -> int:
    whole, _, part = text.partition(".")
    return int(whole) * 10**9 + int(part.ljust(9, "0"))
