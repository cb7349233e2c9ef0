"""What an administrator changes holds at once: in the worker that was asked, and a moment later in every other one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from gateway.tenant_watch import LOOK_EVERY_S
from tests.journeys.caller import body
from tests.journeys.fault_provider import FaultProvider
from tests.journeys.gateway_process import ADMIN_KEY, GatewayProcess, running, table_of
from tests.store.redis_server import RedisServer

WORKERS = 2
BUSY_S = 1.0


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder: Path = tmp_path_factory.mktemp("changed")
    with ExitStack() as stack:
        environ = {}
        if request.param == "redis":
            environ = {"REDIS_URL": stack.enter_context(RedisServer(persist=False)).url}
        provider = stack.enter_context(FaultProvider())
        table = table_of({"only": provider.base_url})
        yield stack.enter_context(running(folder, table, workers=WORKERS, environ=environ))


def status(gateway: GatewayProcess, headers: dict[str, str]) -> int:
    """Over a new connection, which any of the workers may take."""
    url = f"{gateway.url}/v1/chat/completions"
    return httpx.post(url, json=body(max_tokens=1), headers=headers, timeout=10).status_code


@pytest.mark.parametrize("by", ["api", "cli"])
def test_a_deleted_teams_keys_are_dead(gateway: GatewayProcess, by: str) -> None:
    team = f"gone-{by}"
    headers = gateway.headers(team)
    assert {status(gateway, headers) for _ in range(10)} == {200}

    if by == "api":
        admin = {"authorization": f"Bearer {ADMIN_KEY}"}
        assert httpx.delete(f"{gateway.url}/admin/v1/teams/{team}", headers=admin).status_code == 204
    else:
        gateway.command("teams", "delete", team)
    begun_s = time.monotonic()
    while status(gateway, headers) == 200:
        assert time.monotonic() - begun_s < LOOK_EVERY_S + BUSY_S
    time.sleep(max(0.0, begun_s + LOOK_EVERY_S + BUSY_S - time.monotonic()))
    assert {status(gateway, headers) for _ in range(10)} == {401}


def test_the_worker_that_was_asked_knows_at_once(gateway: GatewayProcess) -> None:
    headers, admin = gateway.headers("at-once"), {"authorization": f"Bearer {ADMIN_KEY}"}
    with httpx.Client() as client:  # one connection, one worker
        url = f"{gateway.url}/v1/chat/completions"
        assert client.post(url, json=body(max_tokens=1), headers=headers).status_code == 200
        patched = client.patch(f"{gateway.url}/admin/v1/teams/at-once", json={"models": ["other/*"]}, headers=admin)
        assert patched.status_code == 200
        assert client.post(url, json=body(max_tokens=1), headers=headers).status_code == 403
