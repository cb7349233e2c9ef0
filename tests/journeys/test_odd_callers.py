"""Callers that do what no client of ours does: each gets a proper answer, and nobody else is harmed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.caller import ask, body, listen
from tests.journeys.conftest import Town
from tests.journeys.gateway_process import PATIENCE_S, running
from tests.journeys.raw_http import send_raw
from tests.journeys.simulator_process import simulators


def request_bytes(town: Town, *headers: str, path: str = "/v1/chat/completions", **fields: Any) -> bytes:
    content = json.dumps(body(**fields)).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: {town.gateway.headers()['authorization']}", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""]).encode() + content


def test_an_offer_to_speak_http2_is_passed_over(town: Town) -> None:
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAA")
    whole = request_bytes(town, *offer)
    assert send_raw(town.gateway, whole).status == 200
    head, _, content = whole.partition(b"\r\n\r\n")
    assert send_raw(town.gateway, head + b"\r\n\r\n", content).status == 200


@pytest.mark.parametrize("stream", [False, True])
def test_names_of_dropped_fields_are_told_in_bearable_form(tmp_path: Path, stream: bool) -> None:
    odd = {"a\r\nb": 1, "x\u0000": 2, **{f"field_{i}": i for i in range(500)}}
    with simulators() as providers, running(tmp_path, providers.shipped_table()) as gateway:
        fields: dict[str, Any] = {"model": "meta-llama/Llama-3.3-70B-Instruct:groq", **odd}
        answer = listen(gateway, **fields).response if stream else ask(gateway, **fields)
    assert answer.status_code == 200
    told = answer.headers["x-gateway-dropped"]
    assert told.startswith("a??b, x?, field_0")
    assert told.endswith("and 482 more")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": "x", "name": {}}]}, "messages[0].name"),
        (
            {"tools": [{"type": "function", "function": {"name": "x", "parameters": 5}}]},
            "tools[0].function.parameters",
        ),
        ({"logit_bias": {"5": "x"}}, "logit_bias"),
    ],
)
def test_a_field_of_an_odd_type_is_named_and_sent_to_nobody(town: Town, fields: dict[str, Any], param: str) -> None:
    answer = ask(town.gateway, **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert town.asked == (0, 0, 0)


def test_a_trailing_slash_leads_nowhere(town: Town) -> None:
    answer = send_raw(town.gateway, b"GET /v1/models/ HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
    assert answer.status == 404
    assert "location" not in answer.head


@pytest.mark.parametrize(
    "head",
    [
        b"GET /healthz HTTP/1.1\r\nHost: x/health?",
        b"GET /healthz HTTP/1.1\r\nHost: ",
        b"GET http://evil/healthz HTTP/1.1\r\nHost: x",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked",
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(town: Town, head: bytes) -> None:
    answer = send_raw(town.gateway, head + b"\r\nConnection: close\r\n\r\n")
    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"


def test_an_old_probe_needs_no_host(town: Town) -> None:
    assert send_raw(town.gateway, b"GET /healthz HTTP/1.0\r\n\r\n").status == 200


def test_a_second_demo_leaves_the_first_alone(tmp_path: Path) -> None:
    def demo() -> subprocess.Popen[bytes]:
        environ = {**os.environ, "GATEWAY_PORT": "0"}
        command = [sys.executable, "-m", "gateway", "demo"]
        return subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    first = demo()
    try:
        assert first.stdout is not None
        assert b"http://" in first.stdout.readline()
        second = demo()
        _, told = second.communicate(timeout=PATIENCE_S)
        assert second.returncode == 1
        assert b"another demo is running" in told
    finally:
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=PATIENCE_S)
    assert first.returncode == 0
