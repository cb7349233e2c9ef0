"""SIGTERM under load: nobody new, everybody who is here gets an answer or one clean error, and the books are whole."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
from collections import Counter
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from tests.journeys.gateway_process import PATIENCE_S, GatewayProcess, running, table_of
from tests.journeys.turn_provider import TurnProvider

STREAMS: Final = 200
GRACE_S: Final = 2


def request(gateway: GatewayProcess, path: str = "/v1/chat/completions", **fields: object) -> bytes:
    body = json.dumps({"model": "acme/chat", "messages": [{"role": "user", "content": "Aye?"}], **fields}).encode()
    head = f"POST {path} HTTP/1.1" if fields else f"GET {path} HTTP/1.1"
    return (
        f"{head}\r\nhost: x\r\nauthorization: {gateway.headers()['authorization']}\r\n"
        f"content-length: {len(body) if fields else 0}\r\n\r\n"
    ).encode() + (body if fields else b"")


async def connect(gateway: GatewayProcess) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    url = urlsplit(gateway.url)
    return await asyncio.open_connection(url.hostname, url.port)


async def hear(gateway: GatewayProcess) -> bytes:
    """A whole stream, to the hanging up that ends it."""
    reader, writer = await connect(gateway)
    writer.write(request(gateway, stream=True))
    heard = await reader.read()
    writer.close()
    return heard


async def refused(gateway: GatewayProcess) -> None:
    """Waits until nobody new is let in."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                _, writer = await connect(gateway)
            except ConnectionRefusedError:
                return
            writer.close()
            await asyncio.sleep(0.01)


def outcome(heard: bytes) -> str:
    """How a stream ended; anything but one of two clean ways is told in full."""
    is_done, errors = heard.count(b"data: [DONE]"), heard.count(b'data: {"error"')
    ended = heard.endswith(b"\r\n0\r\n\r\n")
    if (is_done, errors, ended) == (1, 0, True):
        return "done"
    if (is_done, errors, ended) == (0, 1, True) and b'"code":"shutting_down"' in heard:
        return "told"
    return heard.decode()


@pytest.mark.parametrize("workers", [1, 2])
def test_two_hundred_streams_end_or_are_told(tmp_path: Path, workers: int) -> None:
    """Half of them end within the grace; the rest hears of it once, and is charged for what it was sent."""
    with socket.create_server(("127.0.0.1", 0), backlog=STREAMS) as listener:
        table = table_of(
            {"only": f"http://127.0.0.1:{listener.getsockname()[1]}/v1"},
            # Two hundred connections at once: on a busy machine the provider may take a while to accept them.
            timeouts=dict.fromkeys(("connect", "firstToken", "betweenTokens", "total"), PATIENCE_S),
            routing={"deadline": PATIENCE_S},
        )
        environ = {"GATEWAY_DRAIN_SECONDS": str(GRACE_S)}
        with running(tmp_path, table, workers=workers, environ=environ) as gateway:
            gateway.key(budget={"usd": "1000", "period": "total"})

            async def story() -> list[bytes]:
                async with TurnProvider(listener) as provider:
                    streams = [asyncio.create_task(hear(gateway)) for _ in range(STREAMS)]
                    await provider.until_came(STREAMS)
                    gateway.process.send_signal(signal.SIGTERM)
                    await refused(gateway)
                    provider.answer(STREAMS // 2)
                    return await asyncio.gather(*streams)

            heard = asyncio.run(story())
            begun_s = time.monotonic()
            assert gateway.process.wait(PATIENCE_S) == 0
            assert time.monotonic() - begun_s < 5

            assert Counter(map(outcome, heard)) == {"done": STREAMS // 2, "told": STREAMS // 2}
            lines = gateway.export()
            assert len(lines) == STREAMS
            assert Counter(line["estimated"] for line in lines) == {False: STREAMS // 2, True: STREAMS // 2}
            assert "Traceback" not in gateway.log()
            assert "Exception in ASGI" not in gateway.log()


def test_what_still_arrives_is_served_and_the_connection_closed(tmp_path: Path) -> None:
    """Requests that are half here when the signal comes: readiness is red, and a completion is answered."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        table = table_of({"only": f"http://127.0.0.1:{listener.getsockname()[1]}/v1"})
        with running(tmp_path, table) as gateway:
            gateway.key()

            async def story() -> tuple[bytes, bytes]:
                async with TurnProvider(listener, serve_s=0) as provider:
                    probe, question = request(gateway, "/readyz"), request(gateway, stream=False)
                    lines = [await connect(gateway) for _ in range(2)]
                    for (_, writer), content in zip(lines, (probe, question), strict=True):
                        writer.write(content[:20])
                    assert gateway.readyz()["status"] == "ok"  # by then the halves have arrived
                    gateway.process.send_signal(signal.SIGTERM)
                    await refused(gateway)
                    for (_, writer), content in zip(lines, (probe, question), strict=True):
                        writer.write(content[20:])
                    answers = [await reader.read() for reader, _ in lines]
                    for _, writer in lines:
                        writer.close()
                    assert provider.came == ["Aye?"]
                    return answers[0], answers[1]

            ready, answer = asyncio.run(story())
            assert gateway.process.wait(PATIENCE_S) == 0

    assert ready.startswith(b"HTTP/1.1 503 ")
    assert b"shutting down" in ready
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close\r\n" in ready.lower()
    assert b"connection: close\r\n" in answer.lower()
