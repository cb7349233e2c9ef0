"""CORS for the inference routes: any page may call them with a key, unless the operator names the origins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.web.responses import RawHeaders

EXPOSED: Final = (
    b"inference-id, x-request-id, x-inference-provider, x-gateway-attempts, x-gateway-dropped, "
    b"x-gateway-max-tokens, x-gateway-budget-warning, idempotent-replayed, x-error-message, retry-after"
)
METHODS: Final = b"GET, POST, OPTIONS"
PREFLIGHT_AGE_S: Final = b"86400"


class Cors:
    """`origins` as in GATEWAY_CORS_ORIGINS: `*`, or the allowed ones."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._any = "*" in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    def headers(self, origin: bytes | None) -> RawHeaders:
        """For an answer to a request that carried this Origin; nothing for one that carried none."""
        if origin is None:
            return []
        if self._any:
            return [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", EXPOSED)]
        if origin in self._origins:
            return [
                (b"access-control-allow-origin", origin),
                (b"access-control-expose-headers", EXPOSED),
                (b"vary", b"Origin"),
            ]
        return [(b"vary", b"Origin")]

    def preflight(self, origin: bytes | None, asked: bytes | None) -> RawHeaders:
        """For an OPTIONS request; `asked` is its Access-Control-Request-Headers."""
        headers = self.headers(origin)
        if any(name == b"access-control-allow-origin" for name, _ in headers):
            headers.append((b"access-control-allow-methods", METHODS))
            headers.append((b"access-control-allow-headers", asked or b"authorization, content-type"))
            headers.append((b"access-control-max-age", PREFLIGHT_AGE_S))
        return headers
