"""Liveness, readiness, metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.metrics import CONTENT_TYPE, Metrics
from gateway.web.responses import json_response


@dataclass(slots=True)
class Readiness:
    """What `/readyz` tells of one worker. `checks` are asked each time; `facts` only shown."""

    draining: bool = False
    checks: dict[str, Callable[[], Awaitable[str | None]]] = field(default_factory=dict)
    """By name: None where all is well, else a sentence that makes the worker unready."""
    facts: dict[str, Callable[[], Any]] = field(default_factory=dict)
    """By name: values worth a look that make nothing unready; None is left out."""


def probe_routes(readiness: Readiness) -> list[Route]:
    async def healthz(request: Request) -> Response:
        return json_response({"status": "ok"})

    async def readyz(request: Request) -> Response:
        body: dict[str, Any] = {"status": "ok"}
        faults = {"draining": "shutting down"} if readiness.draining else {}
        for name, check in readiness.checks.items():
            fault = await check()
            if fault is not None:
                faults[name] = fault
        for name, fact in readiness.facts.items():
            value = fact()
            if value is not None:
                body[name] = value
        if faults:
            body.update(status="unready", faults=faults)
        return json_response(body, 503 if faults else 200)

    return [Route("/healthz", healthz), Route("/readyz", readyz)]


def metrics_route(metrics: Metrics) -> Route:
    async def exposition(request: Request) -> Response:
        return Response(metrics.exposition(), headers={"content-type": CONTENT_TYPE})

    return Route("/metrics", exposition)
