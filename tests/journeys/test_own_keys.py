"""A provider that repeats our key to us: neither the caller nor the log may learn it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.journeys.caller import ask
from tests.journeys.gateway_process import GatewayProcess, provider_key, running, table_of

KEYS = (
    "7d1c0f9e-58b3-4a0e-9b1e-3c44aa10bbcc",
    "correct-horse-battery-staple",
    "Zk9-plain_key.42/x",
    "sk-first",
    # Of these a part is taken for a key, an address or too much.
    "sk-live99/Zk9-correct-horse-battery",
    "9f8e7d6c5b4a39281706f5e4d3c2b1a0-horse-battery-staple",
    "key.example.com-horse-battery",
)
"""What nobody takes for a key, all of it, who does not know it."""
PART_CHARS = 8


class Parrot(BaseHTTPRequestHandler):
    """Answers as the prompt says, and repeats the key wherever a provider could."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        key = self.headers["authorization"].removeprefix("Bearer ")
        # Once in the open, and once where a message is cut in its middle.
        said = f"invalid credentials {key} supplied ".ljust(480, ".") + key
        error = json.dumps({"error": {"message": said, "type": "server_error"}})
        how = body["messages"][0]["content"]
        status, kind = (int(how), "application/json") if how.isdigit() else (200, "application/json")
        if how == "stream":
            kind = "text/event-stream"
            chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "chat"}
            first = {**chunk, "choices": [{"index": 0, "delta": {"content": "Aye"}, "finish_reason": None}]}
            error = f"data: {json.dumps(first)}\n\ndata: {error}\n\n"
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(error)))
        self.end_headers()
        self.wfile.write(error.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module", params=KEYS)
def repeated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Parrot) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        table = table_of({"parrot": f"http://127.0.0.1:{server.server_port}/v1"})
        assert provider_key("parrot") in table
        folder: Path = tmp_path_factory.mktemp("parrot")
        with running(folder, table.replace(provider_key("parrot"), request.param)) as gateway:
            yield gateway
        server.shutdown()


def test_nobody_reads_our_key(repeated: GatewayProcess, request: pytest.FixtureRequest) -> None:
    for how in ("400", "500", "stream", "error in a 200", "401"):
        answer = ask(repeated, messages=[{"role": "user", "content": how}], stream=how == "stream")
        assert "invalid credentials [" in answer.text, how
        told = repeated.told(answer.headers["inference-id"])
        key = request.node.callspec.params["repeated"]
        parts = [key[i : i + PART_CHARS] for i in range(len(key) - PART_CHARS + 1)]
        for text in (answer.text, str(answer.headers), json.dumps(told), repeated.log()):
            assert [part for part in parts if part in text] == [], how
    assert any(line.get("event") == "provider_key_refused" for line in repeated.log_lines())
