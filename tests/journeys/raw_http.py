"""Requests that no client library would send: bytes out, bytes in."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.journeys.gateway_process import PATIENCE_S, GatewayProcess


@dataclass(frozen=True, slots=True)
class RawAnswer:
    status: int
    head: str
    """Header lines in lower case."""
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)["error"]
        return found


def send_raw(gateway: GatewayProcess, *parts: bytes) -> RawAnswer:
    """Sends the parts as far as they are taken, and reads until the gateway hangs up or has nothing more to say."""
    url = urlsplit(gateway.url)
    with socket.create_connection((url.hostname or "", url.port or 80), timeout=PATIENCE_S) as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except OSError:
            pass  # it has heard enough, and says why
        received = b""
        while not _is_whole(received):
            data = connection.recv(65536)
            if not data:
                break
            received += data
    head, _, content = received.partition(b"\r\n\r\n")
    line, _, headers = head.decode("latin-1").lower().partition("\r\n")
    return RawAnswer(int(line.split()[1]), headers, content)


def _is_whole(received: bytes) -> bool:
    head, gap, content = received.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if gap and line.startswith(b"content-length:"):
            return len(content) >= int(line[15:])
    return False
