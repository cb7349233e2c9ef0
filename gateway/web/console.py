"""The console's page and its files, with strict headers: nothing inline, nothing from elsewhere, no framing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_TYPES: Final = {"css": "text/css; charset=utf-8", "html": "text/html; charset=utf-8", "js": "text/javascript"}
_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}
FILES: Final = ("console.css", "console.js")


def console_routes() -> list[Route]:
    """Read once: there are few of them, and they change with the version only."""
    return [Route("/", _page("index.html")), *(Route(f"/static/{name}", _page(name)) for name in FILES)]


def _page(name: str) -> Callable[[Request], Awaitable[Response]]:
    body = (resources.files("gateway.web") / "static" / name).read_bytes()
    headers = {**_HEADERS, "content-type": _TYPES[name.rsplit(".", 1)[1]]}

    async def page(request: Request) -> Response:
        return Response(body, headers=headers)

    return page
