"""The deadline ends a request whatever holds it up: a provider that drips, or a caller that does not read. It is ours:
whoever had too little of it left is not to blame."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gateway.exchange import DEADLINE_CAME
from tests.journeys.caller import ask, listen
from tests.journeys.fault_provider import FaultProvider
from tests.journeys.gateway_process import GatewayProcess, running, table_of, until

DEADLINE_S = 2


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatewayProcess, FaultProvider]]:
    with FaultProvider() as provider:
        table = table_of({"only": provider.base_url}, routing={"deadline": DEADLINE_S})
        with running(tmp_path_factory.mktemp("hurried"), table) as gateway:
            yield gateway, provider


def test_a_provider_that_drips_does_not_earn_more_time(hurried: tuple[GatewayProcess, FaultProvider]) -> None:
    gateway, provider = hurried
    provider.next("slow-drip-100ms")
    begun_s = time.monotonic()
    answer = ask(gateway, max_tokens=50)
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "timeout"
    assert time.monotonic() - begun_s < DEADLINE_S + 1


def test_a_caller_that_stops_reading_is_let_go_at_the_deadline(
    hurried: tuple[GatewayProcess, FaultProvider],
) -> None:
    gateway, provider = hurried
    provider.next("endless")
    url = urlsplit(gateway.url)
    body = json.dumps(
        {"model": "acme/chat", "stream": True, "messages": [{"role": "user", "content": "go on"}]}
    ).encode()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((url.hostname or "", url.port or 80))
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: {gateway.headers()['authorization']}\r\n"
        )
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        begun_s = time.monotonic()
        line = until(lambda: next((line for line in gateway.log_lines() if line.get("status") == 499), None), "its end")
        assert time.monotonic() - begun_s < DEADLINE_S + 2
    (entry,) = gateway.story(line["id"])
    assert (entry.answered, entry.estimated, entry.failure) == (True, True, "client_gone")
    assert entry.charge_nano_usd is not None


def test_a_good_stream_is_no_499_however_late_its_framing_ends(
    hurried: tuple[GatewayProcess, FaultProvider],
) -> None:
    gateway, provider = hurried
    provider.next("sse-byte-by-byte")
    heard = listen(gateway, max_tokens=2)
    assert heard.is_done
    line = until(lambda: next((x for x in gateway.log_lines() if x.get("id") == heard.inference_id), None), "its line")
    assert line["status"] == 200


def test_who_had_too_little_time_left_is_not_blamed_for_it(tmp_path: Path) -> None:
    breaker = {"failures": 3, "percent": 50, "window": 30, "open": 15}
    with FaultProvider() as silent, FaultProvider() as slow:
        table = table_of(
            {"silent": silent.base_url, "slow": slow.base_url},
            routing={"deadline": 1, "breaker": breaker},
            timeouts={"firstToken": 0.8},
        )
        with running(tmp_path, table) as gateway:
            silent.next(*["hang"] * 3)
            slow.next(*["slow-ttft-500ms"] * 6)
            for _ in range(3):
                answer = ask(gateway, stream=True)
                assert answer.status_code == 504
                assert answer.headers["x-gateway-attempts"] == "silent:timeout,slow:deadline"
                assert answer.json()["error"]["attempts"][1]["reason"] == DEADLINE_CAME
            # The silent one is out by now; the slow one is asked at once, and answers in its time.
            assert ask(gateway, stream=True).headers["x-gateway-attempts"] == "slow:200"
            # So it is with a stream that has begun: the deadline ends it while it flows.
            slow.reset()
            slow.next("gap-300ms")
            heard = listen(gateway, max_tokens=50)
            assert heard.error is not None
            assert (heard.error["code"], heard.error["attempts"][0]["reason"]) == ("timeout", DEADLINE_CAME)
            assert gateway.story(heard.inference_id)[-1].failure == "deadline"
            assert 'gateway_open_breakers{provider="slow",provider_model="chat"} 1.0' not in metrics(gateway)


@pytest.mark.parametrize("streams", [False, True])
def test_who_had_the_whole_deadline_is_to_blame(tmp_path: Path, streams: bool) -> None:
    breaker = {"failures": 3, "percent": 50, "window": 30, "open": 15}
    with FaultProvider() as provider:
        table = table_of(
            {"silent": provider.base_url},
            routing={"deadline": 0.5, "breaker": breaker},
            timeouts={"firstToken": 0.5, "total": 0.5},
        )
        with running(tmp_path, table) as gateway:
            provider.next(*["hang"] * 3)
            for _ in range(3):
                answer = ask(gateway, stream=streams)
                assert (answer.status_code, answer.headers["x-gateway-attempts"]) == (504, "silent:timeout")
            until(
                lambda: 'gateway_open_breakers{provider="silent",provider_model="chat"} 1.0' in metrics(gateway),
                "the breaker",
            )


def metrics(gateway: GatewayProcess) -> str:
    return gateway.http.get(f"{gateway.url}/metrics").text
